package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/vfs"
)

// long tells that the long forms of the tests are asked for (make crash).
func long() bool { return os.Getenv("POSTINO_LONG") != "" }

// setting is n, or what the environment says.
func setting(name string, n int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return n
}

// busyStores are the stores of a house whose upkeep has much to do: small
// memtables, early checkpoints, short logs, no grace.
func busyStores(t testing.TB, fs vfs.FS) (*house, error) {
	db, err := lsm.Open(fs, "db", lsm.Options{MemTableBytes: 512 << 10, CacheBytes: 4 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	if err != nil {
		return nil, err
	}
	h := &house{TB: t, db: db, ids: new(postino.IDs), addr: map[receive.Profile]string{}}
	h.later(func() { db.Close() })
	if h.blobs, err = blob.New(db, fs, "blobs", blob.Options{IDs: h.ids, Grace: time.Millisecond}); err != nil {
		h.close()
		return nil, err
	}
	h.stories = story.New(db, story.Options{IDs: h.ids})
	h.later(h.stories.Close)
	h.mailboxes = mailbox.New(db, h.blobs, mailbox.Options{FoldRecords: 8, FoldBytes: 4 << 10, LogBytes: 2 << 10, Grace: time.Millisecond, IndexShare: 100})
	h.users = directory.New(db, directory.Options{
		Argon2:   directory.Argon2{MemoryKiB: 64, Time: 1, Threads: 1},
		Legacy:   []string{"CRAM-MD5"},
		Failures: directory.FailureLimits{MinDelay: time.Microsecond, MaxDelay: time.Microsecond},
		Accounts: directory.AccountHooks{
			Scopes: func(id uint64) []kv.Scope { return []kv.Scope{h.mailboxes.Scope(mailbox.AccountID(id))} },
			Create: func(tx kv.Tx, u directory.User) error {
				return h.mailboxes.Create(tx, mailbox.AccountID(u.ID), mailbox.Quota{}, time.Now())
			},
			Remove: func(tx kv.Tx, u directory.User) error { return h.mailboxes.Remove(tx, mailbox.AccountID(u.ID)) },
		},
	})
	h.later(h.users.Close)
	return h, nil
}

// busyHouse is a house with these stores that delivers.
func busyHouse(t testing.TB, fs vfs.FS) (*house, error) {
	h, err := busyStores(t, fs)
	if err != nil {
		return nil, err
	}
	h.queue = queue.New(h.db, h.blobs, h.stories, queue.Options{IDs: h.ids, Transports: map[string]queue.TransportOptions{
		queue.Local: {Transport: deliver.New(deliver.Options{Blobs: h.blobs, Mailboxes: h.mailboxes, Directory: h.users})}}})
	h.startQueue()
	return h, nil
}

// posted is a letter that was put on the queue.
type posted struct {
	tag string
	to  []int // of users
}

// run is one mixed workload and what is known of it from outside.
type run struct {
	*testing.T
	h     *house
	mem   *vfs.Mem
	seed  uint64
	every int64        // which writes are crash points
	gate  sync.RWMutex // held shared while points are taken
	on    bool
	// stage is held shared while a body is staged and its transaction is not
	// yet committed, and alone while bodies are swept: the grace, which keeps
	// the two apart in life, is next to nothing here.
	stage sync.RWMutex

	mu        sync.Mutex
	histories []*history
	sent      []posted // all that were begun
	acked     []posted
	results   []*result

	points chan *result
	next   atomic.Int64 // of tags

	// known tells how many steps of each history are known, and examine starts on
	// what a crash left and notes what it finds.
	known   func() []int
	examine func(p *result, fs vfs.FS, probing bool) error
}

// result is what was found after one crash.
type result struct {
	name    string
	fs      *vfs.Mem
	seed    uint64
	steps   []int // how many steps of each history were known
	acked   int   // how many letters
	again   bool  // cut the power a second time, while recovering
	after   []*found
	probe   []probe
	circles []*moment // of the accounts that share
	trouble []string
}

// probe is what an account gives to newcomers after the recovery.
type probe struct {
	uid, next uint32 // of a new message in INBOX
	folder    string // a folder that was made anew
	validity  uint32
	modseq    uint64
}

// cut is the hook that takes the crash points.
func (r *run) cut(op vfs.Op) error {
	r.gate.RLock()
	defer r.gate.RUnlock()
	if !r.on || !op.Writes() || op.N%r.every != 0 {
		return nil
	}
	var cuts []*result
	r.mu.Lock()
	steps := r.known()
	for i, percent := range []int{0, 30, 70, 100} {
		seed := r.seed<<32 + uint64(op.N)*4 + uint64(i)
		cuts = append(cuts, &result{name: fmt.Sprintf("seed %d, write %d (%d %s), %d %% kept", r.seed, op.N, op.Kind, op.Path, percent),
			fs: r.mem.Crash(percent, seed), seed: seed, steps: steps, acked: len(r.acked), again: seed%5 == 0})
	}
	r.mu.Unlock()
	for _, c := range cuts {
		r.points <- c
	}
	return nil
}

// take begins or ends the taking of points; the store's own work goes on.
func (r *run) take(on bool) {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.on = on
}

// TestMixed cuts the power before every operation that writes, keeping none,
// parts and all of what was not synced, while letters are delivered and clients
// change their mailboxes in every way; some recoveries are cut again. The outside
// ledger judges (QU1, QU2, QU3, ST1, IM8, IM9). Without POSTINO_LONG it takes
// fewer points; POSTINO_POINTS says how many at least.
func TestMixed(t *testing.T) {
	want := 600
	if long() {
		want = 10_000
	}
	want = setting("POSTINO_POINTS", want)
	if testing.Short() {
		want = min(want, 150)
	}
	var total tally
	for seed := uint64(setting("POSTINO_SEED", 1)); total.points < want && !t.Failed(); seed++ {
		total.add(mixedRound(t, seed, want))
		if long() {
			t.Logf("after seed %d: %+v", seed, total)
		}
	}
	t.Logf("mixed workload: %d crash points, %d of them in a recovery, %d operations checked, %d letters checked; lost %d, duplicated %d, other problems %d",
		total.points, total.again, total.operations, total.letters, total.lost, total.duplicated, total.problems)
}

type tally struct{ points, again, operations, letters, lost, duplicated, problems int }

func (t *tally) add(o tally) {
	t.points += o.points
	t.again += o.again
	t.operations += o.operations
	t.letters += o.letters
	t.lost += o.lost
	t.duplicated += o.duplicated
	t.problems += o.problems
}

// The size of one round.
const (
	roundSteps   = 40 // operations of each client
	roundLetters = 12 // letters of each of two senders
)

func mixedRound(t *testing.T, seed uint64, want int) tally {
	r := &run{T: t, mem: vfs.Memory(), seed: seed, every: 1, points: make(chan *result, 16)}
	r.examine = r.inspect
	r.known = func() (steps []int) {
		for _, h := range r.histories {
			steps = append(steps, len(h.steps))
		}
		return steps
	}
	if want < 2000 { // spread few points over the round
		r.every = max(1, int64(3600/want))
	}
	h, err := busyHouse(t, vfs.Hook(r.mem, r.cut))
	must(t, err)
	r.h = h
	defer h.close()
	h.populate(0)
	ids, err := h.accounts(t.Context())
	must(t, err)
	sums := &digests{}
	for _, name := range users {
		hist := &history{session: session{h, ids[name], sums}, name: name}
		got, err := hist.look(t.Context(), false)
		must(t, err)
		hist.steps = []*model{firstModel(got)}
		r.histories = append(r.histories, hist)
	}
	r.verifying(r.work)
	return r.judge()
}

// verifying takes points during work and recovers from all of them.
func (r *run) verifying(work func()) {
	var verifiers sync.WaitGroup
	for range 4 {
		verifiers.Go(func() {
			for p := range r.points {
				r.recover(p)
			}
		})
	}
	r.take(true)
	work()
	r.take(false)
	close(r.points)
	verifiers.Wait()
}

// work lets clients, senders and the upkeep run side by side.
func (r *run) work() {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var upkeep, clients sync.WaitGroup
	upkeep.Go(func() {
		if err := r.h.mailboxes.Run(ctx); err != nil && ctx.Err() == nil {
			r.Error(err)
		}
	})
	for i, h := range r.histories {
		clients.Go(func() { r.client(ctx, h, rand.New(rand.NewPCG(r.seed, uint64(i)))) })
	}
	for i := range 2 {
		clients.Go(func() { r.sender(ctx, rand.New(rand.NewPCG(r.seed, uint64(100+i)))) })
	}
	upkeep.Go(func() { r.sweeper(ctx) })
	clients.Wait()
	for end := time.Now().Add(30 * time.Second); !r.h.drained(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Error("the queue does not become empty")
			break
		}
	}
	cancel()
	upkeep.Wait()
}

// tag makes a name for a text of a class of size.
func (r *run) tag(class string) string { return fmt.Sprintf("%d-%d%s", r.seed, r.next.Add(1), class) }

func (r *run) client(ctx context.Context, h *history, rng *rand.Rand) {
	for range roundSteps {
		r.stage.RLock()
		err := h.step(ctx, rng, r.tag, r.begun, func(m *model, op bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			h.steps = append(h.steps, m)
			if op {
				h.ops++
			}
		})
		r.stage.RUnlock()
		if err != nil {
			r.Error(err)
			return
		}
	}
}

// begun are the letters that may have been delivered.
func (r *run) begun() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	tags := map[string]bool{}
	for _, p := range r.sent {
		tags[p.tag] = true
	}
	return tags
}

func (r *run) sender(ctx context.Context, rng *rand.Rand) {
	s := r.histories[0].session
	for range roundLetters {
		p := posted{tag: "L" + r.tag([]string{small, small, small, large, edge}[rng.IntN(5)])}
		for i := range users {
			if rng.IntN(2) == 0 {
				p.to = append(p.to, i)
			}
		}
		if p.to == nil {
			p.to = []int{rng.IntN(len(users))}
		}
		if err := r.post(ctx, s, p); err != nil {
			r.Error(err)
			return
		}
	}
}

// post puts a letter on the queue as the receiving desk does.
func (r *run) post(ctx context.Context, s session, p posted) error {
	r.mu.Lock()
	r.sent = append(r.sent, p)
	r.mu.Unlock()
	r.stage.RLock()
	defer r.stage.RUnlock()
	m, w, err := s.stage(p.tag)
	defer w.Abort()
	if err != nil {
		return err
	}
	it := &queue.Item{Transport: queue.Local, From: address("x@a.example"), Received: time.Now()}
	for _, i := range p.to {
		to := address(users[i] + "@b.example")
		it.Rcpts = append(it.Rcpts, queue.Rcpt{Recipient: postino.Recipient{Address: to}, Account: uint64(r.histories[i].id), User: to})
	}
	staged := m.Staged
	m.Staged = nil // the queue stores it
	it.Carry, it.CarryBytes = m, 1000
	it.ID = r.h.ids.Next(time.Now())
	it.Message = it.ID
	if err := r.h.queue.Put(ctx, &queue.Message{Staged: staged, Items: []*queue.Item{it}}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = append(r.acked, p)
	return nil
}

// sweeper removes what nobody holds any more, again and again.
func (r *run) sweeper(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		r.stage.Lock()
		err := r.h.sweep(ctx, r.histories)
		r.stage.Unlock()
		if err != nil && ctx.Err() == nil {
			r.Error("sweep: ", err)
			return
		}
	}
}

func (h *house) sweep(ctx context.Context, of []*history) error {
	for _, a := range of {
		for _, at := range []time.Duration{0, time.Hour} {
			if _, err := h.mailboxes.Sweep(ctx, a.id, time.Now().Add(at)); err != nil {
				return err
			}
		}
	}
	return h.blobs.Sweep(ctx)
}

func (h *house) drained() bool {
	n := 0
	err := h.db.View(context.Background(), nil, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte("qn")), func(_, _ []byte) bool { n++; return true })
	})
	return err == nil && n == 0 && h.queue.Stats() == queue.Stats{}
}

// recover starts on what a crash left and notes what it finds. When p says so
// the power is cut again at some write of the recovery.
func (r *run) recover(p *result) {
	defer func() {
		p.fs = nil
		r.mu.Lock()
		r.results = append(r.results, p)
		r.mu.Unlock()
	}()
	if p.again {
		if p.fs = r.cutRecovery(p); p.fs == nil {
			return
		}
	}
	if err := r.examine(p, p.fs, true); err != nil {
		p.trouble = append(p.trouble, err.Error())
	}
}

// cutRecovery recovers and returns what a second crash leaves, at a write that
// the seed chooses.
func (r *run) cutRecovery(p *result) *vfs.Mem {
	rng := rand.New(rand.NewPCG(p.seed, 2))
	at, percent := int64(1+rng.IntN(40)), []int{0, 50, 100}[rng.IntN(3)]
	var mu sync.Mutex
	var left *vfs.Mem
	first := p.fs
	err := r.examine(&result{seed: p.seed}, vfs.Hook(first, func(op vfs.Op) error {
		if op.N == at {
			mu.Lock()
			defer mu.Unlock()
			left = first.Crash(percent, p.seed)
		}
		return nil
	}), false)
	p.name += fmt.Sprintf(", and again at write %d, %d %%", at, percent)
	if err != nil {
		p.trouble = append(p.trouble, "first recovery: "+err.Error())
		return nil
	}
	mu.Lock()
	defer mu.Unlock()
	if left == nil { // it wrote less: the cut comes after it
		left = first.Crash(percent, p.seed)
	}
	return left
}

// inspect opens the stores, waits for the deliveries, folds, sweeps, and reads
// everything. When probing it adds something new at the end.
func (r *run) inspect(p *result, fs vfs.FS, probing bool) error {
	ctx := context.Background()
	h, err := busyHouse(r.T, fs)
	if err != nil {
		return err
	}
	defer h.close()
	for end := time.Now().Add(60 * time.Second); !h.drained(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the queue does not become empty")
		}
	}
	if items, err := h.queue.List(ctx, queue.Filter{}); err != nil || len(items) > 0 {
		return fmt.Errorf("left on the queue: %v, %v", items, err)
	}
	if err := h.check(ctx, r.histories); err != nil {
		return err
	}
	for _, a := range r.histories {
		if err := h.mailboxes.Fold(ctx, a.id); err != nil {
			return err
		}
	}
	time.Sleep(time.Millisecond) // the grace
	if err := h.sweep(ctx, r.histories); err != nil {
		return err
	}
	for _, a := range r.histories {
		s := session{h, a.id, a.sums}
		got, err := s.look(ctx, true)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		p.after = append(p.after, got)
	}
	for i, a := range r.histories {
		if !probing {
			break
		}
		probe, err := (&session{h, a.id, a.sums}).probe(ctx, p.after[i])
		if err != nil {
			return fmt.Errorf("%s: new messages: %w", a.name, err)
		}
		p.probe = append(p.probe, probe)
	}
	if err := h.check(ctx, r.histories); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if p.seed%16 == 0 {
		return h.blobs.Scrub(ctx, nil)
	}
	return nil
}

func (h *house) check(ctx context.Context, of []*history) error {
	for _, a := range of {
		problems, err := h.mailboxes.Check(ctx, a.id)
		if err != nil || len(problems) > 0 {
			return fmt.Errorf("check of %s: %v %w", a.name, problems, err)
		}
	}
	return nil
}

// probe adds a message and a folder.
func (s *session) probe(ctx context.Context, got *found) (p probe, err error) {
	a, err := s.h.mailboxes.Account(ctx, s.id)
	if err != nil {
		return p, err
	}
	defer a.Close()
	uids, err := s.do(ctx, a, &operation{kind: "append", box: "INBOX", tags: []string{"Aprobe" + small}})
	if err != nil {
		return p, err
	}
	p.uid, p.next = uids[0], got.folders["INBOX"].next
	p.folder = "p0/new"
	for _, name := range []string{"p3", "p2", "p1", "p0"} {
		if got.folders[name] == nil {
			p.folder = name
		}
	}
	info, err := a.Create(ctx, p.folder, mailbox.UseNone)
	p.validity = info.UIDValidity
	p.modseq = uint64(a.ModSeq())
	return p, err
}

// judge compares all that was found after crashes with the ledger.
func (r *run) judge() (t tally) {
	sent := r.begun()
	for _, p := range r.results {
		t.points++
		if p.again {
			t.again++
		}
		for _, what := range p.trouble {
			t.problems++
			r.Errorf("%s: %s", p.name, what)
		}
		for i := range p.after {
			h := r.histories[i]
			var letters []string
			for _, l := range r.acked[:p.acked] {
				if slices.Contains(l.to, i) {
					letters = append(letters, l.tag)
				}
			}
			t.operations += p.steps[i] / 2
			t.letters += len(letters)
			missing, problems := r.closest(h, p.steps[i], p.after[i], letters, sent)
			problems = append(problems, h.steps[p.steps[i]-1].judgeProbe(p.probe, i)...)
			t.lost += len(missing)
			for _, what := range problems {
				switch {
				case strings.Contains(what, "twice"), strings.Contains(what, "duplicated"):
					t.duplicated++
				case strings.Contains(what, "lost"), strings.Contains(what, "lacks"), strings.Contains(what, "should be"):
					t.lost++
				default:
					t.problems++
				}
			}
			if len(missing)+len(problems) > 0 {
				r.Errorf("%s: %s after %d steps: letters missing: %v; %s", p.name, h.name, p.steps[i], missing, strings.Join(problems, "; "))
			}
		}
	}
	return t
}

// closest judges with the steps that were known and with the one that was under
// way, wholly there; one of the two must hold.
func (r *run) closest(h *history, known int, got *found, letters []string, sent map[string]bool) (missing, problems []string) {
	missing, problems = h.steps[known-1].judge(got, letters, sent)
	for next := known; next < len(h.steps) && next <= known && len(problems)+len(missing) > 0; next++ {
		m, p := h.steps[next].judge(got, letters, sent)
		if len(m)+len(p) < len(missing)+len(problems) {
			missing, problems = m, p
		}
	}
	return missing, problems
}

// judgeProbe looks whether numbers went back.
func (m *model) judgeProbe(probes []probe, i int) (problems []string) {
	if i >= len(probes) {
		return nil
	}
	p := probes[i]
	if p.uid < p.next || p.uid < m.folders["INBOX"].next {
		problems = append(problems, fmt.Sprintf("a new message has UID %d, UIDNEXT was %d and %d", p.uid, p.next, m.folders["INBOX"].next))
	}
	if p.modseq <= m.modseq {
		problems = append(problems, fmt.Sprintf("a change has MODSEQ %d, it was %d", p.modseq, m.modseq))
	}
	if owner, used := m.validities[p.validity]; used {
		problems = append(problems, fmt.Sprintf("new folder %s has UIDVALIDITY %d of %s", p.folder, p.validity, owner))
	}
	return problems
}
