package crash

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/vfs"
)

// crashText is letter n; every fifth is large, so that its body is a file.
func crashText(n int) string {
	text := letter(n)
	if isJunk(n) {
		text = strings.Replace(text, "a.example", "junk.example", 1)
	}
	if n%5 == 4 {
		text += strings.Repeat(fmt.Sprintf("line of letter %d\r\n", n), 5000)
	}
	return text
}

// isJunk tells which letters are of a domain that wants them quarantined.
func isJunk(n int) bool { return n%3 == 1 }

// point is a file system as a power cut leaves it, and what was acknowledged
// before that moment.
type point struct {
	name  string
	fs    *vfs.Mem
	acked []int
}

// deliverLetters sends n letters on each of several connections at once and
// calls acked with each that was answered with 250. Even ones go to bob, odd ones
// to bob and ana.
func deliverLetters(h *house, conns, n int, acked func(int)) {
	var wg sync.WaitGroup
	for c := range conns {
		wg.Go(func() {
			cl := h.dial(receive.MX)
			cl.talk(hello)
			for i := range n {
				number := i*conns + c
				cl.talk("C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<" + []string{"bob", "team"}[number%2] + "@b.example>\nS: 250\nC: DATA\nS: 354")
				cl.send(crashText(number) + ".\r\n")
				if strings.HasPrefix(cl.reply(), "250") {
					acked(number)
				}
			}
		})
	}
	wg.Wait()
}

// TestCrash cuts the power before every operation that writes, keeping none, a
// part and all of what was not synced, while letters are received and
// delivered. What was acknowledged must be there after the restart, exactly
// once: QU1, QU2, QU3, SS21.
func TestCrash(t *testing.T) {
	rounds, stride := 1, int64(1)
	if testing.Short() {
		stride = 5
	}
	if n, err := strconv.Atoi(os.Getenv("POSTINO_CRASH")); err == nil {
		rounds = n
	}
	total := 0
	for range rounds {
		total += crashRound(t, stride)
	}
	t.Logf("%d crash points", total)
}

func crashRound(t *testing.T, stride int64) int {
	const conns, letters = 3, 8
	mem := vfs.Memory()
	var mu sync.Mutex
	var acked []int
	var points []point
	var on atomic.Bool
	h, err := build(t, vfs.Hook(mem, func(op vfs.Op) error {
		if !on.Load() || !op.Writes() || op.N%stride != 0 {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		known := slices.Clone(acked) // before the cut
		for _, percent := range []int{0, 50, 100} {
			points = append(points, point{fmt.Sprintf("write %d, %d %% kept", op.N, percent), mem.Crash(percent, uint64(op.N)), known})
		}
		return nil
	}), plan{})
	must(t, err)
	defer h.close()
	h.populate(0)
	h.removeJunk("bob@b.example") // so that it is made again
	h.listen(receive.MX, plan{names: junkNames(t)})
	on.Store(true)
	deliverLetters(h, conns, letters, func(n int) {
		mu.Lock()
		acked = append(acked, n)
		mu.Unlock()
	})
	h.settled()
	on.Store(false)
	if len(acked) != conns*letters {
		t.Fatalf("%d of %d letters were accepted", len(acked), conns*letters)
	}
	if len(points) == 0 {
		t.Fatal("no crash points")
	}
	for _, p := range points {
		verifyCrash(t, p, conns*letters)
	}
	return len(points)
}

// verifyCrash starts on what a crash left and compares it with the ledger.
func verifyCrash(t *testing.T, p point, letters int) {
	t.Helper()
	h, err := build(t, p.fs, plan{})
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	defer h.close()
	h.settled()
	for _, user := range []string{"bob", "ana"} {
		count := make([]int, letters)
		for _, box := range []string{"INBOX", "Junk"} {
			texts, err := h.mails(user+"@b.example", box)
			if err != nil && !postino.Is(err, postino.NotFound) { // Junk comes with the first that it holds
				t.Fatal(err)
			}
			for _, text := range texts {
				var n int
				_, rest, _ := strings.Cut(text, "Subject: letter ")
				fmt.Sscan(rest, &n)
				if count[n]++; !strings.HasSuffix(text, crashText(n)) {
					t.Errorf("%s: letter %d is damaged", p.name, n)
				}
				if isJunk(n) != (box == "Junk") {
					t.Errorf("%s: letter %d is in %s", p.name, n, box)
				}
			}
		}
		for n, c := range count {
			if c > 1 || c == 1 && user == "ana" && n%2 == 0 {
				t.Errorf("%s: %s has letter %d %d times", p.name, user, n, c)
			}
		}
		for _, n := range p.acked {
			if count[n] == 0 && (user == "bob" || n%2 == 1) {
				t.Errorf("%s: %s has lost letter %d, which was acknowledged", p.name, user, n)
			}
		}
	}
	if held, err := h.queue.List(t.Context(), queue.Filter{}); err != nil || len(held) > 0 {
		t.Errorf("%s: left on the queue: %v, %v", p.name, held, err)
	}
}

// junkNames are those that make junk of junk.example.
func junkNames(t *testing.T) dns.Resolver {
	names := dns.NewFake()
	must(t, names.AddZone("junk.example", "_dmarc TXT \"v=DMARC1; p=quarantine\"\n", dns.Insecure))
	return names
}

// removeJunk deletes a user's mailbox for junk.
func (h *house) removeJunk(user string) {
	h.Helper()
	u, err := h.users.User(context.Background(), address(user))
	must(h, err)
	a, err := h.mailboxes.Account(context.Background(), mailbox.AccountID(u.ID))
	must(h, err)
	defer a.Close()
	junk, err := a.Mailbox("Junk")
	must(h, err)
	must(h, a.Delete(context.Background(), junk.ID))
}

// TestFailedSync lets syncs fail at some moment: what was acknowledged before is
// there after a restart, and nothing is acknowledged that is not (QU4).
func TestFailedSync(t *testing.T) {
	for _, nth := range []int{1, 2, 5, 9, 14} {
		mem := vfs.Memory()
		faults := vfs.NewFaults(mem)
		h, err := build(t, faults, plan{})
		must(t, err)
		h.populate(0)
		h.listen(receive.MX, plan{names: junkNames(t)})
		syncs := 0
		var mu sync.Mutex
		faults.FailIf(func(op vfs.Op) bool {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind == vfs.OpSync {
				syncs++
			}
			return op.Kind == vfs.OpSync && syncs >= nth
		}, syscall.EIO)
		var acked []int
		refused := false
		for n := range 12 {
			c := h.dial(receive.MX)
			c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<" + []string{"bob", "team"}[n%2] + "@b.example>\nS: 250\nC: DATA\nS: 354")
			c.send(crashText(n) + ".\r\n")
			if got := c.reply(); strings.HasPrefix(got, "250") {
				acked = append(acked, n)
			} else if refused = true; !strings.HasPrefix(got, "4") {
				t.Errorf("a failed sync is answered with %s", got)
			}
			c.Close()
		}
		if !refused {
			t.Errorf("sync %d failed and nothing was refused", nth)
		}
		verifyCrash(t, point{fmt.Sprintf("failed sync %d", nth), mem.Crash(0, 1), slices.Clone(acked)}, 12)
		h.close()
	}
}

// A disk that is nearly full is answered with 452; what was accepted before is
// delivered all the same, and mail flows again when there is room (QU5).
func TestFullDisk(t *testing.T) {
	mem := vfs.Memory()
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h, err := build(t, mem, plan{idle: true})
	must(t, err)
	t.Cleanup(h.close)
	h.populate(0)
	h.listen(receive.MX, plan{})
	send := func(n int) string {
		c := h.dial(receive.MX)
		defer c.Close()
		c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<team@b.example>\nS: 250\nC: DATA\nS: 354")
		c.send(crashText(n) + ".\r\n")
		return c.reply()
	}
	if got := send(0); !strings.HasPrefix(got, "250") {
		t.Fatal(got)
	}
	mem.SetUsage(vfs.Usage{Free: 700 << 20, Total: 100 << 30})
	h.eventually("small and large ones are refused", func() bool {
		return strings.HasPrefix(send(1), "452 4.3.1") && strings.HasPrefix(send(4), "452 4.3.1")
	})
	h.queue.Start()
	h.settled()
	if got := h.inbox("ana@b.example"); len(got) == 0 {
		t.Error("what was accepted is not delivered")
	}
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h.eventually("service resumes", func() bool { return strings.HasPrefix(send(2), "250") })
}
