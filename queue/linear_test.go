package queue

import (
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// TestLinear: a record of a thousand times as many recipients costs no more
// than 2.6 times the allocations per recipient (G2); time is for the eye.
func TestLinear(t *testing.T) {
	var per []float64
	for _, n := range []int{64, 64 << 10} {
		it := &Item{Transport: Local, State: StateNew, Rcpts: make([]Rcpt, n)}
		for i := range it.Rcpts {
			it.Rcpts[i].Address = postino.Address{Local: "someone", Domain: "example.org"}
			it.Rcpts[i].User = it.Rcpts[i].Address
		}
		b := it.appendRecord(nil)
		begin := time.Now()
		allocs := testing.AllocsPerRun(2, func() {
			if _, err := decodeItem(1, b); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%d octets: %v", len(b), time.Since(begin)/3)
		per = append(per, (allocs+1)/float64(n))
	}
	if per[1] > 2.6*per[0] {
		t.Errorf("allocations per recipient grow: %v", per)
	}
}
