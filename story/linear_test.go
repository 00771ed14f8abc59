package story

import (
	"strings"
	"testing"
	"time"
)

// TestLinear: an event with a thousand times as many facts costs no more than
// 2.6 times the allocations for each (G2); time is for the eye.
func TestLinear(t *testing.T) {
	var per []float64
	for _, n := range []int{64, 64 << 10} {
		b := []byte("\x01\x01" + strings.Repeat("\x01\x0aana@a.test", n))
		begin := time.Now()
		allocs := testing.AllocsPerRun(2, func() {
			e, err := decode(1, 2, b)
			if err != nil {
				t.Fatal(err)
			}
			facts := 0
			for range e.Facts() {
				facts++
			}
			if facts != n {
				t.Fatalf("%d facts of %d", facts, n)
			}
		})
		t.Logf("%d octets: %v", len(b), time.Since(begin)/3)
		per = append(per, (allocs+1)/float64(n))
	}
	if per[1] > 2.6*per[0] {
		t.Errorf("allocations per fact grow: %v", per)
	}
}
