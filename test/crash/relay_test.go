package crash

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/submit"
	"github.com/postino-mail/postino/vfs"
)

// relaySchedule lets mail be tried often and given up soon.
var relaySchedule = queue.Schedule{First: 15 * time.Millisecond, Max: 60 * time.Millisecond, Life: 700 * time.Millisecond,
	BounceLife: 700 * time.Millisecond, Notice: 200 * time.Millisecond}

// relayHouse is a house that sends to the servers of others.
func relayHouse(t testing.TB, fs vfs.FS, a *abroad) (*house, error) {
	h, err := busyStores(t, fs)
	if err != nil {
		return nil, err
	}
	out, err := relay.New(relay.Options{Hostname: "mx.b.example", DNS: a.names, Dial: a.dial, Routes: h.users, Blobs: h.blobs, Files: fs})
	if err != nil {
		h.close()
		return nil, err
	}
	h.later(out.Close)
	local := deliver.New(deliver.Options{Blobs: h.blobs, Mailboxes: h.mailboxes, Directory: h.users})
	h.queue = queue.New(h.db, h.blobs, h.stories, queue.Options{IDs: h.ids, Retry: relaySchedule, Transports: map[string]queue.TransportOptions{
		queue.Local: {Transport: local},
		relay.Name:  {Transport: watched{out, a}, Sites: true, SiteLimit: out.SiteLimit},
	}})
	h.post = submit.New(submit.Options{Hostname: "mx.b.example", DB: h.db, Blobs: h.blobs, Directory: h.users, Mailboxes: h.mailboxes,
		Queue: h.queue, Stories: h.stories, IDs: h.ids, Dest: relay.Dest,
		SRS: &mailauth.SRS{Domain: "mx.b.example", Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}}})
	h.queue.SetReporter(h.post)
	h.startQueue()
	return h, nil
}

// forwards is how many aliases lead abroad.
const forwards = 6

// errand is a letter for one recipient, and what was answered about it.
type errand struct {
	tag, rcpt string
	from      string // who gets reports
	until     time.Time
	acked     bool
	// Orders of an administrator: given, and answered.
	remove, hold, hurry    bool // hurry: it is released or due at once
	removed, held, hurried bool
}

// mayFail tells whether the other side refuses the recipient, at least for a while.
func (e *errand) mayFail() bool {
	class, _, _ := strings.Cut(e.rcpt, ".")
	return slices.Contains([]string{"no", "never", "grey", "dot", "lost"}, class) || strings.HasSuffix(e.rcpt, "@down.example")
}

func (e *errand) mustFail() bool {
	class, _, _ := strings.Cut(e.rcpt, ".")
	return slices.Contains([]string{"no", "never", "dot"}, class) || strings.HasSuffix(e.rcpt, "@down.example")
}

// outcome is what was found of an errand.
type outcome struct {
	local, takes, free, late int // copies; takes that may be repeated; takes after the crash
	early                    bool
	failed, delayed, other   int // reports
	freeReports              int
	why                      string // in the reports
	queued                   queue.State
	entries                  int // on the queue
}

// judgeErrand compares what was known at a crash with what is found at the end.
func judgeErrand(e *errand, begun bool, o outcome) (problems []string) {
	fail := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	copies := o.local + o.takes
	if !begun {
		fail(copies+o.failed+o.delayed+o.entries > 0, "never sent, and found: %+v", o)
		return problems
	}
	fail(o.other > 0, "reported though nobody asked")
	fail(o.local > 1 || copies-o.free > 1, "duplicated: %d copies, %d of which may be repeated", copies, o.free)
	fail(o.failed-o.freeReports > 1, "duplicated: %d reports of failure", o.failed)
	fail(o.delayed-o.freeReports > 1, "duplicated: %d reports of delay", o.delayed)
	fail(o.entries > 1, "duplicated: %d times on the queue", o.entries)
	fail(o.failed > 0 && !e.mayFail(), "reported though it was not refused: %s", o.why)
	fail(o.failed > 0 && copies > 0 && !strings.HasPrefix(e.rcpt, "lost."), "delivered and reported")
	fail(copies > 0 && e.mustFail(), "taken by one who refuses")
	fail(o.entries > 0 && copies+o.failed > 0, "still queued, delivered %d times, reported %d times", copies, o.failed)
	fail(o.early && !e.hurry, "sent before its time")
	switch {
	case e.removed:
		fail(o.entries+o.late+o.failed > 0, "removed and back: %+v", o)
	case e.held && !e.hurry && !e.remove:
		fail(o.entries != 1 || o.queued != queue.StateHeld, "held and not there: %+v", o)
	case e.acked && !e.remove:
		fail(copies+o.failed+o.entries == 0, "lost: %+v", o)
	}
	return problems
}

// trip is one workload of relaying and what is known of it from outside.
type trip struct {
	*testing.T
	h     *house
	mem   *vfs.Mem
	out   *abroad
	seed  uint64
	every int64
	ops   int64

	mu      sync.Mutex
	on      bool
	errands map[string]*errand // by tag and recipient
	cuts    []*cut
	tally   relayTally
}

// cut is a power cut and what was known then.
type cut struct {
	name  string
	fs    *vfs.Mem
	seed  uint64
	known map[string]errand
	takes []*take
	met   map[string]bool
	again bool
}

type relayTally struct{ points, again, errands, taken, reported, queued, repeated, unanswered, lost, duplicated, problems int }

func key(tag, rcpt string) string { return tag + " " + rcpt }

// hook takes the crash points.
func (r *trip) hook(op vfs.Op) error {
	if !op.Writes() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.on {
		return nil
	}
	r.ops++
	if n := r.ops + int64(r.seed); n%r.every == 0 {
		percent := []int{0, 100, 30, 70}[n/r.every%4]
		r.cuts = append(r.cuts, r.cut(r.mem, r.out, percent, r.seed<<32+uint64(op.N),
			fmt.Sprintf("seed %d, write %d (%d %s), %d %% kept", r.seed, op.N, op.Kind, op.Path, percent)))
	}
	return nil
}

// cut cuts the power of a house; what others know is of the same moment. The lock
// is held.
func (r *trip) cut(mem *vfs.Mem, a *abroad, percent int, seed uint64, name string) *cut {
	c := &cut{name: name, seed: seed, known: map[string]errand{}, again: seed%5 == 0}
	for k, e := range r.errands {
		c.known[k] = *e
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.takes, c.met = a.past()
	c.fs = mem.Crash(percent, seed)
	return c
}

// TestRelayCrash cuts the power before operations that write while mail goes to
// servers of others, is forwarded, refused, deferred, reported, scheduled, held,
// released and removed; some recoveries are cut again. For every recipient an
// acknowledged letter is delivered, reported or on the queue; it is repeated only
// where the other side had taken it and the answer was not yet recorded (SC6,
// QU1, QU2, QU3). Without POSTINO_LONG it takes fewer points; POSTINO_TRIPS says
// how many at least.
func TestRelayCrash(t *testing.T) {
	want := 150
	if long() {
		want = 10_000
	}
	want = setting("POSTINO_TRIPS", want)
	if testing.Short() {
		want = min(want, 75)
	}
	var total relayTally
	for seed := uint64(setting("POSTINO_SEED", 1)); total.points < want && !t.Failed(); seed++ {
		total.add(relayRound(t, seed))
		if long() {
			t.Logf("after seed %d: %+v", seed, total)
		}
	}
	t.Logf("relaying: %d crash points, %d of them in a recovery, %d recipients checked: %d delivered, %d reported, %d queued or held; "+
		"lost %d, duplicated %d, other problems %d; repeated as SC6 lets: %d after an answer that was not yet recorded, %d after a lost answer", total.points, total.again, total.errands, total.taken, total.reported, total.queued,
		total.lost, total.duplicated, total.problems, total.repeated, total.unanswered)
}

func (t *relayTally) add(o relayTally) {
	t.points += o.points
	t.again += o.again
	t.errands += o.errands
	t.taken += o.taken
	t.reported += o.reported
	t.queued += o.queued
	t.repeated += o.repeated
	t.unanswered += o.unanswered
	t.lost += o.lost
	t.duplicated += o.duplicated
	t.problems += o.problems
}

func relayRound(t *testing.T, seed uint64) relayTally {
	r := &trip{T: t, mem: vfs.Memory(), out: newAbroad(t), seed: seed, every: 4, errands: map[string]*errand{}}
	defer r.out.close()
	if long() {
		r.every = 1
	}
	h, err := relayHouse(t, vfs.Hook(r.mem, r.hook), r.out)
	must(t, err)
	r.h = h
	h.populate(0)
	for i := range forwards {
		class := []string{"ok", "no", "grey"}[i%3]
		must(t, h.users.SetAlias(t.Context(), aliasOf(fmt.Sprintf("fwd%d@b.example", i), fmt.Sprintf("%s.f%d@r%d.example", class, i, 1+i%2), "bob@b.example")))
	}
	h.listen(receive.MX, plan{})
	h.listen(receive.Submission, plan{})
	r.take(true)
	r.work()
	r.take(false)
	h.close()
	points := make(chan *cut)
	var verifiers sync.WaitGroup
	for range 20 { // they wait more than they work
		verifiers.Go(func() {
			for c := range points {
				r.recover(c)
			}
		})
	}
	cuts := r.cuts
	r.cuts = nil
	for i, c := range cuts {
		cuts[i] = nil
		points <- c
	}
	close(points)
	verifiers.Wait()
	return r.tally
}

func (r *trip) take(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = on
}

// The size of one round.
const (
	tripClients = 4
	tripLetters = 7 // of each of them
)

func (r *trip) work() {
	var clients sync.WaitGroup
	for i := range tripClients {
		clients.Go(func() {
			if err := r.client(i, rand.New(rand.NewPCG(r.seed, uint64(i)))); err != nil {
				r.Errorf("client %d: %v", i, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(r.Context())
	var office sync.WaitGroup
	office.Go(func() {
		if err := r.administer(ctx, rand.New(rand.NewPCG(r.seed, 99))); err != nil {
			r.Error("administrator: ", err)
		}
	})
	clients.Wait()
	if err := finished(r.h.queue); err != nil {
		r.Error(err)
	}
	cancel()
	office.Wait()
}

// client sends letters: even ones as users who are logged in, odd ones as strangers.
func (r *trip) client(i int, rng *rand.Rand) error {
	profile, user := receive.MX, ""
	if i%2 == 0 {
		profile, user = receive.Submission, []string{"ana@b.example", "postmaster@b.example"}[i/2%2]
	}
	c, err := dialSMTP(r.h.addr[profile])
	if err != nil {
		return err
	}
	defer c.Close()
	if user != "" {
		if reply, err := c.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00correct horse"))); err != nil || reply[0] != '2' {
			return fmt.Errorf("AUTH: %s %w", reply, err)
		}
	}
	for n := range tripLetters {
		number := i*tripLetters + n
		tag := fmt.Sprintf("L%d-%d%s", r.seed, number, []string{small, small, small, large}[rng.IntN(4)])
		from := user
		if user == "" {
			from = fmt.Sprintf("s.%d@a.example", number)
		}
		rcpts, errands, params := r.compose(rng, tag, from, number, user != "")
		r.mu.Lock()
		for _, e := range errands {
			r.errands[key(e.tag, e.rcpt)] = e
		}
		r.mu.Unlock()
		reply, err := c.postAs("MAIL FROM:<"+from+">"+params, relayText(tag, from), rcpts...)
		if err != nil || !strings.HasPrefix(reply, "250 ") {
			return fmt.Errorf("letter %s: %s %w", tag, reply, err)
		}
		r.mu.Lock()
		for _, e := range errands {
			e.acked = true
		}
		r.mu.Unlock()
	}
	return nil
}

// compose chooses who gets a letter.
func (r *trip) compose(rng *rand.Rand, tag, from string, number int, outward bool) (rcpts []string, errands []*errand, params string) {
	to := func(rcpt string) { errands = append(errands, &errand{tag: tag, rcpt: rcpt, from: from}) }
	alias := func(n int) {
		rcpts = append(rcpts, fmt.Sprintf("fwd%d@b.example", n))
		to(fmt.Sprintf("%s.f%d@r%d.example", []string{"ok", "no", "grey"}[n%3], n, 1+n%2))
	}
	switch kind := rng.IntN(8); {
	case !outward:
		alias(rng.IntN(forwards))
		to("bob@b.example")
		if rng.IntN(2) == 0 {
			rcpts = append(rcpts, "ana@b.example")
			to("ana@b.example")
		}
	case kind == 0: // scheduled, and still there at the end unless an administrator cares
		e := &errand{tag: tag, rcpt: fmt.Sprintf("far.%d@r1.example", number), from: from, until: time.Now().Add(time.Hour)}
		return []string{e.rcpt}, []*errand{e}, " HOLDUNTIL=" + e.until.UTC().Format("2006-01-02T15:04:05Z")
	case kind == 1: // scheduled for soon
		e := &errand{tag: tag, rcpt: fmt.Sprintf("soon.%d@r1.example", number), from: from, until: time.Now().Truncate(time.Second).Add(time.Second)}
		return []string{e.rcpt}, []*errand{e}, " HOLDUNTIL=" + e.until.UTC().Format("2006-01-02T15:04:05Z")
	case kind == 2:
		alias(rng.IntN(forwards))
		to("bob@b.example")
	default:
		for range 1 + rng.IntN(4) {
			class := []string{"ok", "ok", "no", "grey", "never", "dot", "lost", "down", "local"}[rng.IntN(9)]
			domain := fmt.Sprintf("r%d.example", 1+rng.IntN(2))
			if class == "dot" || class == "lost" || class == "down" {
				domain = class + ".example"
			}
			rcpt := fmt.Sprintf("%s.%d-%d@%s", class, number, len(rcpts), domain)
			if class == "local" {
				rcpt = "bob@b.example"
			}
			if !slices.Contains(rcpts, rcpt) && !(class == "lost" && strings.Contains(strings.Join(rcpts, " "), "lost.")) {
				rcpts = append(rcpts, rcpt)
				to(rcpt)
			}
		}
	}
	return rcpts, errands, params
}

// administer holds, releases, hurries and removes what waits.
func (r *trip) administer(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(8)) * time.Millisecond)
		if rng.IntN(4) == 0 { // amid the attempts
			f := queue.Filter{Domain: "r2.example"}
			if _, err := r.h.queue.Hold(ctx, f, "a look", nil); err != nil && ctx.Err() == nil {
				return err
			}
			time.Sleep(time.Millisecond)
			if _, err := r.h.queue.Release(context.WithoutCancel(ctx), queue.Filter{Domain: "r2.example", State: queue.StateHeld}, nil); err != nil {
				return err
			}
			continue
		}
		var e *errand
		r.mu.Lock()
		for _, x := range r.errands {
			if strings.HasPrefix(x.rcpt, "far.") && x.acked && !x.remove && !x.hurry && (e == nil || x.rcpt < e.rcpt) {
				e = x
			}
		}
		r.mu.Unlock()
		if e == nil {
			continue
		}
		if err := r.order(ctx, e, rng.IntN(5)); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// order does something about an errand that waits for its time.
func (r *trip) order(ctx context.Context, e *errand, what int) error {
	f := queue.Filter{Recipient: e.rcpt}
	note := func(fn func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		fn()
	}
	done := func(d queue.Changes, err error) error {
		if err == nil && d.Changed != 1 {
			err = fmt.Errorf("order %d about %s: %+v", what, e.rcpt, d)
		}
		return err
	}
	switch {
	case what == 0:
		note(func() { e.remove = true })
		if err := done(r.h.queue.Remove(ctx, f, "not wanted", nil)); err != nil {
			return err
		}
		note(func() { e.removed = true })
	case what == 1 && e.held:
		note(func() { e.hurry = true })
		if err := done(r.h.queue.Release(ctx, f, nil)); err != nil {
			return err
		}
		note(func() { e.hurried = true })
	case what == 2 && !e.hold:
		note(func() { e.hurry = true })
		if err := done(r.h.queue.Retry(ctx, f, false, nil)); err != nil {
			return err
		}
		note(func() { e.hurried = true })
	case !e.hold:
		note(func() { e.hold = true })
		if err := done(r.h.queue.Hold(ctx, f, "to be looked at", nil)); err != nil {
			return err
		}
		note(func() { e.held = true })
	}
	return nil
}

// postAs is post with a MAIL command.
func (c *smtpConn) postAs(mail string, text []byte, to ...string) (reply string, err error) {
	commands := []string{mail}
	for _, a := range to {
		commands = append(commands, "RCPT TO:<"+a+">")
	}
	for _, line := range append(commands, "DATA") {
		if reply, err = c.command(line); err != nil || reply[0] > '3' {
			return line + ": " + reply, err
		}
	}
	if _, err = c.Write(append(slices.Clone(text), ".\r\n"...)); err != nil {
		return "", err
	}
	return c.reply()
}

// finished waits until the queue holds only what is held or not due for long.
func finished(q *queue.Queue) error {
	var items []*queue.Item
	var err error
	for end := time.Now().Add(150 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		if q.Stats() != (queue.Stats{}) {
			continue
		}
		if items, err = q.List(context.Background(), queue.Filter{Limit: 1000}); err != nil {
			return err
		}
		if !slices.ContainsFunc(items, func(it *queue.Item) bool {
			return it.State != queue.StateHeld && (it.State != queue.StateWaiting || time.Until(it.Due) < time.Minute)
		}) {
			return nil
		}
	}
	text := "the queue does not finish:"
	for _, it := range items {
		text += fmt.Sprintf("\n%s %s %s due %v next %v expires %v %+v", it.State, it.Transport, it.Dest, time.Until(it.Due), time.Until(it.Next), time.Until(it.Expires), it.Rcpts)
	}
	return errors.New(text)
}

// recover starts on what a crash left, cuts the power again if it is to be so, lets
// everything finish and judges.
func (r *trip) recover(c *cut) {
	fail := func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tally.problems++
		r.Errorf("%s: %v", c.name, err)
	}
	if c.again {
		again, err := r.cutRecovery(c)
		if err != nil {
			fail(err)
			return
		}
		again.known, again.again, c = c.known, true, again
	}
	a := after(r.T, c.takes, c.met)
	defer a.close()
	h, err := relayHouse(r.T, c.fs, a)
	if err != nil {
		fail(err)
		return
	}
	defer h.close()
	if err := r.inspect(c, h, a); err != nil {
		fail(err)
	}
}

// cutRecovery cuts the power at a write of a recovery that the seed chooses.
func (r *trip) cutRecovery(c *cut) (*cut, error) {
	rng := rand.New(rand.NewPCG(c.seed, 2))
	at, percent := int64(1+rng.IntN(60)), []int{0, 50, 100}[rng.IntN(3)]
	a := after(r.T, c.takes, c.met)
	defer a.close()
	var mu sync.Mutex
	var left *cut
	name := fmt.Sprintf("%s, and again at write %d, %d %%", c.name, at, percent)
	take := func() { left = r.cut(c.fs, a, percent, c.seed, name) }
	h, err := relayHouse(r.T, vfs.Hook(c.fs, func(op vfs.Op) error {
		if op.N == at {
			mu.Lock()
			defer mu.Unlock()
			take()
		}
		return nil
	}), a)
	if err != nil {
		return nil, err
	}
	err = finished(h.queue)
	h.close()
	mu.Lock()
	defer mu.Unlock()
	if left == nil { // it wrote less: the cut comes after it
		take()
	}
	return left, err
}

// inspect waits for the end of the work, judges, and then lets go what is left.
func (r *trip) inspect(c *cut, h *house, a *abroad) error {
	ctx := context.Background()
	if err := finished(h.queue); err != nil {
		return err
	}
	if err := h.blobs.Sweep(ctx); err != nil {
		return err
	}
	outcomes, problems, err := r.found(h, a)
	if err != nil {
		return err
	}
	r.judge(c, h, outcomes, problems)
	// What is left can go all the same: its text is there.
	if _, err := h.queue.Release(ctx, queue.Filter{}, nil); err != nil {
		return err
	}
	if _, err := h.queue.Retry(ctx, queue.Filter{}, true, nil); err != nil {
		return err
	}
	if err := finished(h.queue); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	last, problems, err := r.found(h, a)
	if err != nil {
		return err
	}
	for k, o := range outcomes {
		if end := last[k]; o.entries == 1 && end.takes+end.failed != 1 {
			problems = append(problems, fmt.Sprintf("%s was queued and did not go: %+v", k, end))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	if c.seed%16 == 0 {
		return h.blobs.Scrub(ctx, nil)
	}
	return nil
}

// told is the story of a letter.
func (h *house) told(tag string) string {
	ids, err := h.stories.Find(context.Background(), story.Query{Text: "<" + tag + "@a.example>"})
	if err != nil || len(ids) == 0 {
		return fmt.Sprint("no story: ", err)
	}
	events, err := h.stories.Get(context.Background(), ids[0])
	text := fmt.Sprintln(ids[0], err)
	for _, e := range events {
		text += story.Describe(e) + "\n"
	}
	return text
}

// found looks at mailboxes, queue and the ledger of others.
func (r *trip) found(h *house, a *abroad) (outcomes map[string]*outcome, problems []string, err error) {
	l := newLook()
	for _, user := range users {
		texts, err := h.mails(user+"@b.example", "INBOX")
		if err != nil {
			return nil, nil, err
		}
		l.mailbox(user, texts)
	}
	untils := map[string]time.Time{}
	r.mu.Lock()
	for k, e := range r.errands {
		untils[k] = e.until
	}
	r.mu.Unlock()
	a.mu.Lock()
	l.abroad(a, untils)
	a.mu.Unlock()
	items, err := h.queue.List(context.Background(), queue.Filter{Limit: 1000})
	for _, it := range items {
		tag, terr := h.tagOfItem(it)
		if terr != nil {
			return nil, nil, terr
		}
		l.queued(tag, it)
	}
	return l.outcomes, l.problems, err
}

func (h *house) tagOfItem(it *queue.Item) (string, error) {
	body, err := h.blobs.Open(context.Background(), it.Blob)
	if err != nil {
		return "", err
	}
	defer body.Close()
	head := make([]byte, min(it.Size, 4096))
	if _, err := body.ReadAt(head, 0); err != nil {
		return "", err
	}
	return tagOf(append([]byte("\r\n"), head...)), nil
}

func (r *trip) judge(c *cut, h *house, outcomes map[string]*outcome, damage []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tally
	t.points++
	if c.again {
		t.again++
	}
	for _, what := range damage {
		t.problems++
		r.Errorf("%s: %s", c.name, what)
	}
	keys := map[string]bool{}
	for k := range c.known {
		keys[k] = true
	}
	for k := range outcomes {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		e, begun := c.known[k]
		var o outcome
		if outcomes[k] != nil {
			o = *outcomes[k]
		}
		if e.acked {
			t.errands++
		}
		t.taken += min(1, o.takes+o.local)
		t.reported += min(1, o.failed)
		t.queued += min(1, o.entries)
		if strings.HasPrefix(e.rcpt, "lost.") {
			t.unanswered += max(0, o.takes-1)
		} else {
			t.repeated += max(0, o.takes-1)
		}
		for _, what := range judgeErrand(&e, begun, o) {
			switch {
			case strings.HasPrefix(what, "lost"):
				t.lost++
			case strings.HasPrefix(what, "duplicated"):
				t.duplicated++
			default:
				t.problems++
			}
			r.Errorf("%s: %s: %s (%+v)\n%s", c.name, k, what, e, h.told(e.tag))
		}
	}
}
