package imap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is what all sessions of a history together know: which messages were
// acknowledged to be stored, and which were told to be removed.
type ledger struct {
	mu            sync.Mutex
	n             int
	stored, taken map[string]bool // by mailbox and UID
	unknown       int             // removed, and their UID had not been told
}

func newLedger() *ledger { return &ledger{stored: map[string]bool{}, taken: map[string]bool{}} }

// unique makes a body that there is only once.
func (l *ledger) unique(body string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return body + fmt.Sprintf("un%d.\r\n", l.n)
}

// place is the one name of a mailbox, whoever calls it what.
func (s *session) place(name string) string {
	name = strings.Trim(name, `"`)
	if rest, ok := strings.CutPrefix(name, "Other Users/"); ok {
		return strings.Replace(rest, "@"+domain, "", 1)
	}
	return s.who + "/" + name
}

func (l *ledger) add(s *session, name string, uids []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, uid := range uids {
		l.stored[fmt.Sprint(s.place(name), " ", uid)] = true
	}
}

func (l *ledger) copied(s *session, name string, r *reply) {
	if code := r.coded("COPYUID"); code != nil && r.ok() {
		l.add(s, name, expand(code.sets[1]))
	}
}

func (l *ledger) appended(s *session, name string, r *reply) {
	if code := r.coded("APPENDUID"); code != nil && r.ok() {
		l.add(s, name, expand(code.sets[0]))
	}
}

func (l *ledger) removed(s *session, uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if uid == 0 {
		l.unknown++
		return
	}
	l.taken[fmt.Sprint(s.place(s.tell), " ", uid)] = true
}

// settle compares what should be there with what is.
func (l *ledger) settle(t *testing.T, there map[string]bool) {
	t.Helper()
	for k := range there {
		if !l.stored[k] {
			t.Errorf("%s is there, and no command was acknowledged that stored it", k)
		}
		if l.taken[k] {
			t.Errorf("%s is there, and was told to be removed", k)
		}
	}
	lost := 0
	for k := range l.stored {
		if !there[k] && !l.taken[k] {
			lost++
		}
	}
	if lost > l.unknown {
		t.Errorf("%d messages are lost", lost-l.unknown)
	}
	t.Logf("%d stored, %d removed, %d there, %d removed unseen", len(l.stored), len(l.taken), len(there), l.unknown)
}

// length is how many operations a history has.
func length(t *testing.T, short int) (n int, seed uint64) {
	n, seed = short, uint64(time.Now().UnixNano())
	if os.Getenv("POSTINO_LONG") != "" {
		n = 100_000
	}
	if v, err := strconv.Atoi(os.Getenv("POSTINO_OPS")); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("POSTINO_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("POSTINO_SEED=%d POSTINO_OPS=%d", seed, n)
	return n, seed
}

// sessions are one of each kind.
func (w *world) sessions(rng *rand.Rand, m *model, l *ledger) []*session {
	var list []*session
	for i, k := range kinds {
		c := connect(fmt.Sprintf("%d %s %v", i, k.who, k.enable), w.dial())
		s := &session{client: c, who: k.who, rng: rand.New(rand.NewPCG(rng.Uint64(), 1)), m: m, saved: map[string]*belief{}, w: w, log: l}
		s.open()
		if m == nil {
			s.removed = func(uid uint32) { l.removed(s, uid) }
		}
		list = append(list, s)
	}
	return list
}

// TestOneAtATime: every session's belief equals the model, whoever did what.
func TestOneAtATime(t *testing.T) {
	n, seed := length(t, 4000)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, settings{users: userNames})
	m := newModel(userNames...)
	var all []*session
	defer func() {
		for _, s := range all {
			if t.Failed() { // what the others did just before
				t.Logf("%s: %s", s.name, tail(s.client.log.Bytes(), 1500))
			}
		}
	}()
	guard(t, func() {
		all = w.sessions(rng, m, newLedger())
		for i := range n {
			s := pick(rng, all)
			s.step()
			if i%4 == 0 {
				pick(rng, all).compare()
			}
		}
		for _, s := range all {
			s.compare()
		}
	})
}

// TestAllAtOnce: when it is quiet all sessions agree, with each other and with a
// new session, and nothing that was acknowledged and never removed is lost.
func TestAllAtOnce(t *testing.T) {
	n, seed := length(t, 4000)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, settings{users: userNames})
	ok := guard(t, func() {
		for _, u := range userNames {
			c := connect("maker", w.dial()).login(u)
			for _, b := range boxNames[1:] {
				c.must("CREATE " + b)
			}
			for _, o := range userNames {
				if o != u {
					c.mustf("SETACL A %s@%s lrswipte", o, domain)
				}
			}
		}
	})
	if !ok {
		return
	}
	var all []*session
	l := newLedger()
	guard(t, func() { all = w.sessions(rng, nil, l) })
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			guard(t, func() {
				for range n / len(all) {
					s.step()
				}
			})
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	there := map[string]bool{}
	guard(t, func() {
		for _, u := range userNames {
			fresh := connect("fresh", w.dial()).login(u, "IMAP4rev2")
			for _, b := range boxNames {
				fresh.must("EXAMINE " + b)
				fresh.resolve()
				view := fresh.box.String()
				for _, m := range fresh.box.msgs {
					there[fmt.Sprint(u, "/", b, " ", m.uid)] = true
				}
				for _, s := range all {
					mb := &mbox{owner: u, name: b}
					if s.box == nil || s.tell != quote(mb.called(s.who)) {
						continue
					}
					s.must("NOOP")
					s.resolve()
					view, got := view, s.box.String()
					if s.who != u { // \Seen is everybody's own
						without := strings.NewReplacer(`\seen `, "", ` \seen`, "", `\seen`, "")
						view, got = without.Replace(view), without.Replace(got)
					}
					if got != view {
						s.fail("%s of %s: a new session sees\n%s, this one\n%s", b, u, view, got)
					}
				}
			}
		}
	})
	if !t.Failed() {
		l.settle(t, there)
	}
}
