package pop3

import (
	"strings"
	"testing"
	"time"
)

// TestLinear: a message a thousand times as long costs no more allocations for an
// octet, stuffed dots and a header that has to be put into ASCII included (G2);
// time is for the eye.
func TestLinear(t *testing.T) {
	for name, make := range map[string]func(n int) string{
		"dots":   func(n int) string { return "Subject: x\r\n\r\n" + strings.Repeat("\n.", n/2) },
		"header": func(n int) string { return strings.Repeat("Subject: \xc3\xa9\r\n", min(n, 1<<20)/13) + "\r\nx" },
	} {
		var allocs []float64
		for _, n := range []int{4 << 10, 4 << 20} {
			store := newMemStore(make(n))
			drop, _ := store.open("ann")
			c := newConn(NewServer(Options{}), &canned{in: strings.NewReader("")})
			c.out.conn = discard{c.raw.(*canned)}
			c.drop, c.deleted, c.retrieved = drop, newBitset(1), newBitset(1)
			begin := time.Now()
			allocs = append(allocs, testing.AllocsPerRun(2, func() {
				if err := c.send(0, allLines); err != nil {
					t.Fatal(err)
				}
			}))
			t.Logf("%s, %d octets: %v", name, n, time.Since(begin)/3)
			c.leave()
		}
		if allocs[1] > 1024*2.6*(allocs[0]+1) {
			t.Errorf("%s: allocations %v", name, allocs)
		}
	}
}
