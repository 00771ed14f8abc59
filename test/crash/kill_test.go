package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

// reader is a user with an IMAP session that works all the time, and what the
// ledger knows of the account.
type reader struct {
	name   string
	model  *model
	flight *operation // sent, and not answered when the connection broke
	ops    int
}

// siege is the load on a program and its ledger.
type siege struct {
	*testing.T
	p       *program
	sums    digests
	readers []*reader
	tags    atomic.Int64
	rng     *rand.Rand

	mu    sync.Mutex
	sent  map[string]bool
	acked [][]string // letters by reader
	all   int        // acknowledged
}

// TestKill kills the real program again and again while letters come in and
// IMAP sessions work, and compares after each restart all that IMAP shows with
// the ledger (QU2, QU3, QU10). POSTINO_KILLS says how often: 5, in the long form
// 300.
func TestKill(t *testing.T) {
	cycles := 5
	if long() {
		cycles = 300
	}
	if cycles = setting("POSTINO_KILLS", cycles); testing.Short() {
		cycles = 2
	}
	s := newSiege(t, newProgram(t, filepath.Join(t.TempDir(), "data")))
	var slowest time.Duration
	for cycle := range cycles {
		s.load(time.Duration(50+s.rng.IntN(700)) * time.Millisecond)
		slowest = max(slowest, s.p.begin())
		s.verify(fmt.Sprintf("cycle %d", cycle))
		if t.Failed() {
			t.Fatalf("cycle %d\n%s", cycle, s.p.log())
		}
		if cycle%25 == 24 {
			t.Logf("%d cycles: %d letters acknowledged, slowest start %v", cycle+1, s.all, slowest.Round(time.Millisecond))
		}
	}
	ops := 0
	for _, r := range s.readers {
		ops += r.ops
	}
	s.p.kill()
	s.checkStores()
	t.Logf("kill -9: %d cycles, %d letters and %d IMAP operations acknowledged: lost 0, duplicated 0; slowest start %v", cycles, s.all, ops, slowest.Round(time.Millisecond))
}

// newSiege looks at the accounts as they are at the beginning.
func newSiege(t *testing.T, p *program) *siege {
	t.Helper()
	s := &siege{T: t, p: p, sent: map[string]bool{}, acked: make([][]string, len(users)), rng: rand.New(rand.NewPCG(uint64(setting("POSTINO_SEED", 1)), 77))}
	for _, name := range users {
		c, err := dialIMAP(p.imap, name+"@b.example")
		must(t, err)
		got, err := c.look(&s.sums)
		must(t, err)
		c.Close()
		s.readers = append(s.readers, &reader{name: name, model: firstModel(got)})
	}
	return s
}

// load lets clients work until the program is killed.
func (s *siege) load(d time.Duration) {
	var wg sync.WaitGroup
	for i, r := range s.readers {
		seed := s.rng.Uint64()
		wg.Go(func() { s.read(r, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	for range 3 {
		seed := s.rng.Uint64()
		wg.Go(func() { s.send(rand.New(rand.NewPCG(seed, 9))) })
	}
	time.Sleep(d)
	s.p.kill()
	wg.Wait()
}

// tag makes a name for a text.
func (s *siege) tag(class string) string { return fmt.Sprintf("%d%s", s.tags.Add(1), class) }

// send posts letters until the connection breaks. A letter whose reply did not
// come is not sent again, so that any second copy is the server's doing.
func (s *siege) send(rng *rand.Rand) {
	c, err := dialSMTP(s.p.smtp)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		tag := "L" + s.tag([]string{small, small, small, small, edge, large}[rng.IntN(6)])
		first := rng.IntN(len(users))
		to := []int{first}
		if rng.IntN(2) == 0 {
			to = append(to, (first+1)%len(users))
		}
		s.mu.Lock()
		s.sent[tag] = true
		s.mu.Unlock()
		var addrs []string
		for _, i := range to {
			addrs = append(addrs, users[i]+"@b.example")
		}
		reply, err := c.post(textOf(tag), addrs...)
		if err != nil {
			return
		}
		if !strings.HasPrefix(reply, "250 ") {
			s.Errorf("letter %s: %s", tag, reply)
			return
		}
		s.mu.Lock()
		for _, i := range to {
			s.acked[i] = append(s.acked[i], tag)
		}
		s.all++
		s.mu.Unlock()
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
	}
}

// read works in an account until the connection breaks.
func (s *siege) read(r *reader, rng *rand.Rand) {
	c, err := dialIMAP(s.p.imap, r.name+"@b.example")
	if err != nil {
		return
	}
	defer c.Close()
	for {
		uids, tags, err := c.letters(r.model)
		if err != nil {
			s.fault(r, "looking for letters", err)
			return
		}
		r.model = s.arrived(r, uids, tags)
		o := r.model.nextOperation(rng, s.tag)
		got, err := c.run(o)
		if err != nil {
			if !errors.As(err, new(*before)) && !errors.Is(err, errRefused) {
				r.flight = o
			}
			s.fault(r, o.String(), err)
			return
		}
		if strings.Contains("append copy move", o.kind) && len(got) == 0 {
			s.Errorf("%s: %v told no UIDs", r.name, o)
			return
		}
		r.model = r.model.apply(o, got)
		r.ops++
		if o.kind == "create" || o.kind == "rename" { // the new names' numbers are yet to be known
			if r.model, err = s.shown(r, c); err != nil {
				s.fault(r, "looking", err)
				return
			}
		}
	}
}

// fault reports what a killed server does not explain.
func (s *siege) fault(r *reader, what string, err error) {
	if errors.Is(err, errRefused) {
		s.Errorf("%s: %s: %v", r.name, what, err)
	}
}

// arrived notes letters that were shown in INBOX.
func (s *siege) arrived(r *reader, uids []uint32, tags []string) *model {
	if len(uids) == 0 {
		return r.model
	}
	m := r.model.clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, tag := range tags {
		if m.seen[tag] || !s.sent[tag] {
			s.Errorf("%s: UID %d is letter %q, which was delivered before or never sent", r.name, uids[i], tag)
		}
		m.folders["INBOX"].put(uids, i, mail{tag: tag})
		m.seen[tag] = true
	}
	return m
}

// shown judges the whole account in the midst of the work.
func (s *siege) shown(r *reader, c *imapConn) (*model, error) {
	got, err := c.look(&s.sums)
	if err != nil {
		return r.model, err
	}
	s.mu.Lock()
	_, problems := r.model.judge(got, nil, s.sent)
	s.mu.Unlock()
	if len(problems) > 0 {
		s.Errorf("%s: %s", r.name, strings.Join(problems, "; "))
	}
	return r.model.observe(got), nil
}

// verify compares every account with the ledger, and takes what it finds as the
// new start. Letters on the queue may take a moment.
func (s *siege) verify(when string) {
	s.Helper()
	for i, r := range s.readers {
		c, err := dialIMAP(s.p.imap, r.name+"@b.example")
		must(s, err)
		defer c.Close()
		candidates := []*model{r.model}
		if r.flight != nil {
			candidates = append(candidates, r.model.apply(r.flight, nil))
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got, err := c.look(&s.sums)
			must(s, err)
			var missing, problems []string
			var fits *model
			for _, m := range candidates {
				var p []string
				if missing, p = m.judge(got, s.acked[i], s.sent); len(p) == 0 {
					fits = m
					break
				}
				problems = append(problems, p...)
			}
			if fits != nil && len(missing) == 0 {
				r.model, r.flight = fits.observe(got), nil
				break
			}
			if fits == nil || time.Now().After(end) {
				s.Errorf("%s: %s, under way %v: letters lost: %v; %s", when, r.name, r.flight, missing, strings.Join(problems, "; "))
				break
			}
		}
	}
}

// checkStores opens what the program left and checks all accounts and bodies
// (ST2, ST3).
func (s *siege) checkStores() {
	ctx := context.Background()
	db, err := lsm.Open(vfs.OS(), filepath.Join(s.p.data, "kv"), lsm.Options{})
	must(s, err)
	defer db.Close()
	blobs, err := blob.New(db, vfs.OS(), filepath.Join(s.p.data, "blobs"), blob.Options{})
	must(s, err)
	boxes := mailbox.New(db, blobs, mailbox.Options{})
	for id := range len(users) {
		problems, err := boxes.Check(ctx, mailbox.AccountID(id+1))
		if err != nil || len(problems) > 0 {
			s.Errorf("account %d: %v %v", id+1, problems, err)
		}
	}
	must(s, blobs.Scrub(ctx, nil))
}
