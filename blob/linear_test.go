package blob

import (
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// TestLinear: the record of a body a thousand times as large costs no more
// allocations (G2); time is for the eye.
func TestLinear(t *testing.T) {
	var allocs []float64
	for _, n := range []int64{1 << 10, 1 << 20} {
		r := record{size: n * blockSize, sums: make([]byte, 4*n)}
		b := r.append(nil)
		begin := time.Now()
		allocs = append(allocs, testing.AllocsPerRun(2, func() {
			if _, err := decodeRecord(postino.BlobID{}, b); err != nil {
				t.Fatal(err)
			}
		}))
		t.Logf("%d octets: %v", len(b), time.Since(begin)/3)
	}
	if allocs[1] > 2.6*(allocs[0]+1) {
		t.Errorf("allocations: %v", allocs)
	}
}
