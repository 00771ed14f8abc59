package directory

import (
	"strings"
	"testing"
	"time"
)

// TestLinear: a user name a thousand times as long costs no more than 2.6 times
// the allocations per octet (G2); time is for the eye.
func TestLinear(t *testing.T) {
	for name, unit := range map[string]string{"ascii": "ab", "wide": "ｊ", "marks": "e\u0301", "at": "@", "dots": "a."} {
		var per []float64
		for _, n := range []int{4 << 10, 4 << 20} {
			s := strings.Repeat(unit, n/len(unit)) + "@example.org"
			begin := time.Now()
			allocs := testing.AllocsPerRun(1, func() { parseUser(s) })
			t.Logf("%s, %d octets: %v", name, n, time.Since(begin)/2)
			per = append(per, (allocs+1)/float64(n))
		}
		if per[1] > 2.6*per[0] {
			t.Errorf("%s: allocations per octet grow: %v", name, per)
		}
	}
}
