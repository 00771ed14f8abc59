package mailbox

import (
	"bytes"
	"testing"
	"time"
)

// TestLinear: octets that begin like each stored record and go on for long cost
// no more allocations per octet than short ones (G2); time is for the eye.
func TestLinear(t *testing.T) {
	for name, f := range formats() {
		for _, fill := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			var per []float64
			for _, n := range []int{4 << 10, 4 << 20} {
				b := append(bytes.Clone(f.sample), bytes.Repeat([]byte{fill}, n)...)
				begin := time.Now()
				allocs := testing.AllocsPerRun(1, func() { _, _ = f.again(b) })
				if spent := time.Since(begin); spent > time.Second {
					t.Logf("%s, %#x, %d octets: %v", name, fill, n, spent/2)
				}
				per = append(per, (allocs+1)/float64(n))
			}
			if per[1] > 2.6*per[0] {
				t.Errorf("%s, filled with %#x: allocations per octet grow: %v", name, fill, per)
			}
		}
	}
}
