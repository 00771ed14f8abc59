package sasl

import (
	"strings"
	"testing"
	"time"
)

// TestLinear: what is decoded, a thousand times as long, costs no more
// allocations (G2); time is for the eye. Responses are bounded anyway (AU4).
func TestLinear(t *testing.T) {
	var allocs []float64
	for _, n := range []int{4 << 10, 4 << 20} {
		src, dst := []byte(strings.Repeat("QUJD", n/4)), make([]byte, 0, n)
		begin := time.Now()
		allocs = append(allocs, testing.AllocsPerRun(2, func() { _, _ = Decode(dst, src) }))
		t.Logf("%d octets: %v", n, time.Since(begin)/3)
	}
	if allocs[1] > 2.6*(allocs[0]+1) {
		t.Errorf("allocations: %v", allocs)
	}
}
