package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

// circle are accounts whose users let one another in, and what is known of them
// from outside. One operation is done after the other.
type circle struct {
	h      *house
	n      int
	users  []string // the last one is a shared account, without a password
	gone   []mailbox.AccountID
	pass   int    // changes of the password of users[1] so far
	word   string // that is his password now
	acked  int
	steps  []*moment
	skips  int // operations that the state of things did not allow
	counts map[string]int
}

// TestShared cuts the power before every operation that writes while users let one
// another into their mailboxes, and use them: access lists, their own \Seen,
// subscriptions and metadata, quotas, copies and moves between accounts, REPLACE,
// unique-ids and QUIT of POP3, passwords, accounts that go and come; with
// checkpoints, short logs, sweeps and a search index that is built meanwhile. All
// that anybody can see is as it was after the last acknowledged operation, or after
// the one under way wholly; what is found is what reading finds; no number is used
// again (IM8, IM9, IM12, IM13, AU8). POSTINO_SHARED says how many points at least.
func TestShared(t *testing.T) {
	want := 120
	if long() {
		want = 10_000
	}
	want = setting("POSTINO_SHARED", want)
	if testing.Short() {
		want = min(want, 60)
	}
	var total sharedTally
	for seed := uint64(setting("POSTINO_SEED", 1)); total.points < want && !t.Failed(); seed++ {
		total.add(sharedRound(t, seed, want))
		if long() {
			t.Logf("after seed %d: %+v", seed, total)
		}
	}
	t.Logf("shared accounts: %d crash points, %d of them in a recovery, %d operations, %d searches and %d logins compared; problems %d",
		total.points, total.again, total.operations, total.searches, total.logins, total.problems)
}

type sharedTally struct{ points, again, operations, searches, logins, problems int }

func (t *sharedTally) add(o sharedTally) {
	t.points += o.points
	t.again += o.again
	t.operations += o.operations
	t.searches += o.searches
	t.logins += o.logins
	t.problems += o.problems
}

// sharedSteps is how many operations each circle does in a round.
const sharedSteps = 70

func sharedRound(t *testing.T, seed uint64, want int) (total sharedTally) {
	r := &run{T: t, mem: vfs.Memory(), seed: seed, every: 1, points: make(chan *result, 16)}
	if want < 2000 {
		r.every = max(1, int64(3600/want))
	}
	h, err := busyStores(t, vfs.Hook(r.mem, r.cut))
	must(t, err)
	r.h = h
	defer h.close()
	must(t, h.users.AddDomain(t.Context(), directory.Domain{Name: "b.example"}))
	var circles []*circle
	for n := range 2 {
		c := &circle{h: h, n: n, counts: map[string]int{}, users: []string{fmt.Sprintf("owner%d@b.example", n), fmt.Sprintf("guest%d@b.example", n),
			fmt.Sprintf("other%d@b.example", n), fmt.Sprintf("team%d@b.example", n)}}
		for i := range c.users {
			must(t, c.join(t.Context(), i))
		}
		must(t, c.invite(t.Context()))
		first, err := c.look(t.Context(), nil)
		must(t, err)
		c.steps = []*moment{first}
		circles = append(circles, c)
	}
	var mu sync.Mutex
	r.known = func() (steps []int) {
		for _, c := range circles {
			steps = append(steps, c.acked+1)
		}
		return steps
	}
	r.examine = func(p *result, fs vfs.FS, probing bool) error {
		found, err := r.examineCircles(p, fs, circles, probing)
		mu.Lock()
		defer mu.Unlock()
		total.searches += found.searches
		total.logins += found.logins
		return err
	}
	r.verifying(func() { r.share(circles) })
	for _, c := range circles {
		total.operations += c.acked - c.skips
		if long() {
			t.Logf("circle %d: %d of %d operations not possible; %v", c.n, c.skips, c.acked, c.counts)
		}
	}
	for _, p := range r.results {
		total.points++
		if p.again {
			total.again++
		}
		for i, got := range p.circles {
			c := circles[i]
			known := c.steps[p.steps[i]-1]
			next := c.steps[min(p.steps[i], len(c.steps)-1)]
			if known.unsettled() || next.unsettled() {
				continue
			}
			if diff := got.differs(known); diff != "" && got.differs(next) != "" {
				p.trouble = append(p.trouble, fmt.Sprintf("circle %d after %q, then %q: from the first %s; from the second %s", i, known.what, next.what, diff, got.differs(next)))
			}
		}
		for _, what := range p.trouble {
			total.problems++
			t.Errorf("%s: %s", p.name, what)
		}
	}
	return total
}

// share lets circles work and the upkeep run side by side.
func (r *run) share(circles []*circle) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var upkeep, work sync.WaitGroup
	upkeep.Go(func() {
		if err := r.h.mailboxes.Run(ctx); err != nil && ctx.Err() == nil {
			r.Error(err)
		}
	})
	upkeep.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			r.stage.Lock()
			err := r.h.tidy(ctx)
			r.stage.Unlock()
			if err != nil && ctx.Err() == nil {
				r.Error("sweep: ", err)
				return
			}
		}
	})
	for _, c := range circles {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(r.seed, uint64(c.n)))
			for range sharedSteps {
				if err := r.shareStep(ctx, c, rng); err != nil {
					r.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	cancel()
	upkeep.Wait()
}

// tidy sweeps, and indexes what is new, of all accounts, also of those that were
// removed.
func (h *house) tidy(ctx context.Context) error {
	users, err := h.users.Users(ctx, "b.example")
	if err != nil {
		return err
	}
	last := uint64(0)
	for _, u := range users {
		last = max(last, u.ID)
	}
	for id := mailbox.AccountID(1); id <= mailbox.AccountID(last); id++ {
		if err := h.mailboxes.Index(ctx, id); err != nil && !postino.Is(err, postino.NotFound) {
			return err
		}
		for _, at := range []time.Duration{0, time.Hour} {
			if _, err := h.mailboxes.Sweep(ctx, id, time.Now().Add(at)); err != nil && !postino.Is(err, postino.NotFound) {
				return err
			}
		}
	}
	return h.blobs.Sweep(ctx)
}

// shareStep does an operation and looks at all that anybody sees then.
func (r *run) shareStep(ctx context.Context, c *circle, rng *rand.Rand) error {
	r.stage.RLock()
	defer r.stage.RUnlock()
	what, err := c.operate(ctx, rng)
	for _, k := range []postino.Kind{postino.NotFound, postino.Denied, postino.Full, postino.Conflict, postino.Invalid} {
		if postino.Is(err, k) {
			what, err = what+" ("+err.Error()+")", nil
			c.skips++
			break
		}
	}
	if err != nil {
		return fmt.Errorf("circle %d: %s: %w", c.n, what, err)
	}
	r.mu.Lock()
	c.acked++
	r.mu.Unlock()
	c.counts[strings.Fields(what)[1]]++
	now, err := c.look(ctx, c.steps[len(c.steps)-1])
	if err != nil {
		return fmt.Errorf("circle %d: after %s: %w", c.n, what, err)
	}
	now.what = what
	r.mu.Lock()
	c.steps = append(c.steps, now)
	r.mu.Unlock()
	return nil
}

// join makes the account of users[i].
func (c *circle) join(ctx context.Context, i int) error {
	n := newUser(c.users[i])
	if i == len(c.users)-1 {
		n.Shared, n.Password = true, ""
	}
	_, err := c.h.users.AddUser(ctx, n)
	if err == nil && i == 1 {
		c.word = firstPassword
	}
	return err
}

// invite lets each into the mailboxes of the others.
func (c *circle) invite(ctx context.Context) error {
	for i := range c.users {
		a, err := c.open(ctx, i, -1)
		if err != nil {
			return err
		}
		defer a.Close()
		for j := range c.users[:3] {
			if id, err := c.id(ctx, j); err != nil {
				return err
			} else if i != j {
				if err := a.SetACL(ctx, 1, mailbox.Subject{Account: id}, false, mailbox.ReplaceFlags, mailbox.AllRights); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// id is the number of an account, which is another one after it went and came.
func (c *circle) id(ctx context.Context, i int) (mailbox.AccountID, error) {
	u, err := c.h.users.User(ctx, address(c.users[i]))
	return mailbox.AccountID(u.ID), err
}

// viewer is a user as the mailboxes know him.
func (c *circle) viewer(ctx context.Context, i int) (mailbox.Viewer, error) {
	id, err := c.id(ctx, i)
	return mailbox.Viewer{Account: id, Domain: "b.example"}, err
}

// open opens the account of one user for another one; for -1: the system.
func (c *circle) open(ctx context.Context, i, by int) (*mailbox.Account, error) {
	id, err := c.id(ctx, i)
	if err != nil {
		return nil, err
	}
	if by < 0 {
		return c.h.mailboxes.Account(ctx, id)
	}
	v, err := c.viewer(ctx, by)
	if err != nil {
		return nil, err
	}
	return c.h.mailboxes.AccountFor(ctx, id, v)
}

// hand is an account that is open for somebody, and a mailbox of it.
type hand struct {
	*mailbox.Account
	box  mailbox.Info
	uids mailbox.Ranges // some of it
}

// grasp opens some mailbox for somebody.
func (c *circle) grasp(ctx context.Context, rng *rand.Rand) (x hand, who string, err error) {
	i := []int{0, 0, 0, 1, 2, 3}[rng.IntN(6)]
	by := []int{-1, i % 3, 0, 1, 2}[rng.IntN(5)]
	who = fmt.Sprintf("%d@%d", by, i)
	if x.Account, err = c.open(ctx, i, by); err != nil {
		return x, who, err
	}
	boxes := x.Mailboxes()
	if len(boxes) == 0 { // his rights ended meanwhile
		x.Close()
		return x, who, postino.E(postino.NotFound, "find mailbox", "", nil)
	}
	if x.box = boxes[0]; rng.IntN(2) == 0 {
		x.box = boxes[rng.IntN(len(boxes))]
	}
	who += fmt.Sprintf("/%s(%d)", x.box.Name, x.box.ID)
	v, err := x.Open(ctx, x.box.ID)
	if err != nil {
		return x, who, nil // what needs messages is refused then
	}
	s := v.Snapshot()
	for k := range s.Len() {
		if rng.IntN(3) == 0 || s.Len() > 12 && k < 6 || k == s.Len()-1 && len(x.uids) == 0 {
			x.uids.Append(s.UID(k))
		}
	}
	return x, who, nil
}

var errNothing = postino.E(postino.NotFound, "choose messages", "", errors.New("none"))

// operate does something at random, and tells what.
func (c *circle) operate(ctx context.Context, rng *rand.Rand) (what string, err error) {
	if rng.IntN(8) == 0 || c.steps[len(c.steps)-1].unsettled() {
		return c.administer(ctx, rng)
	}
	x, who, err := c.grasp(ctx, rng)
	if err != nil {
		return who + " open", err
	}
	defer x.Close()
	kinds := []string{"append", "append", "append", "deliver", "flags", "flags", "flags", "seen", "seen", "expunge", "destroy", "copy", "move", "between", "between", "across", "across",
		"replace", "replace", "create", "delete", "rename", "rights", "rights", "rights", "subscribe", "subscribe", "notes", "notes", "uidls", "quit"}
	kind := kinds[rng.IntN(len(kinds))]
	what = fmt.Sprintf("%s %s %d", who, kind, x.uids)
	return what, c.do(ctx, rng, &x, kind)
}

func (c *circle) do(ctx context.Context, rng *rand.Rand, x *hand, kind string) error {
	if len(x.uids) == 0 && strings.Contains("flags seen destroy copy move between across replace uidls quit", kind) {
		return errNothing
	}
	flags, keywords := splitFlags(randomFlags(rng))
	id := x.box.ID
	switch kind {
	case "append":
		msgs := make([]mailbox.AppendMessage, 1+rng.IntN(3))
		for i := range msgs {
			m, w, err := c.h.stage(wordy(rng))
			defer w.Abort()
			if err != nil {
				return err
			}
			msgs[i] = mailbox.AppendMessage{Message: m, Flags: flags, Keywords: keywords}
		}
		_, err := x.Append(ctx, id, msgs)
		return err
	case "deliver":
		return c.deliver(ctx, rng, x)
	case "flags", "seen":
		if kind == "seen" {
			flags, keywords = mailbox.Seen, nil
		}
		_, err := x.Store(ctx, id, mailbox.StoreRequest{UIDs: x.uids, Op: mailbox.FlagOp(rng.IntN(3)), Flags: flags, Keywords: keywords})
		return err
	case "expunge":
		_, err := x.Expunge(ctx, id, mailbox.All())
		return err
	case "destroy":
		_, err := x.Destroy(ctx, id, x.uids[:1])
		return err
	case "copy", "move":
		boxes := x.Mailboxes()
		to := boxes[rng.IntN(len(boxes))].ID
		if kind == "copy" {
			_, err := x.Copy(ctx, id, x.uids, to)
			return err
		}
		_, err := x.Move(ctx, id, x.uids, to)
		return err
	case "between", "across":
		y, _, err := c.grasp(ctx, rng)
		if err != nil {
			return err
		}
		defer y.Close()
		if kind == "between" {
			_, err = c.h.mailboxes.CopyBetween(ctx, x.Account, id, x.uids, y.Account, y.box.ID)
		} else {
			_, err = c.h.mailboxes.MoveBetween(ctx, x.Account, id, x.uids, y.Account, y.box.ID)
		}
		return err
	case "replace":
		m, w, err := c.h.stage(wordy(rng))
		defer w.Abort()
		if err != nil {
			return err
		}
		boxes := x.Mailboxes()
		_, _, err = x.Replace(ctx, id, x.uids[0].Lo, boxes[rng.IntN(len(boxes))].ID, mailbox.AppendMessage{Message: m, Flags: flags, Keywords: keywords})
		return err
	case "create":
		_, err := x.Create(ctx, fmt.Sprintf("p%d/c%d", rng.IntN(3), rng.IntN(3)), mailbox.UseNone)
		return err
	case "delete":
		return x.Delete(ctx, id)
	case "rename":
		return x.Rename(ctx, id, fmt.Sprintf("q%d/c%d", rng.IntN(3), rng.IntN(3)))
	case "rights":
		return c.changeRights(ctx, rng, x)
	case "subscribe":
		if rng.IntN(3) == 0 {
			return x.Unsubscribe(ctx, x.box.Name)
		}
		return x.Subscribe(ctx, x.box.Name)
	case "notes":
		return c.note(ctx, rng, x)
	case "uidls":
		ids := map[mailbox.UID]string{}
		for u := range rng.IntN(4) + 1 {
			ids[x.uids[0].Lo+mailbox.UID(u)] = fmt.Sprintf("old-%x", rng.Uint32())
		}
		return x.SetUIDLs(ctx, id, ids)
	default: // quit
		_, err := x.EndSession(ctx, id, x.uids[:1], x.uids[1:])
		return err
	}
}

// deliver puts a letter into two accounts in one transaction.
func (c *circle) deliver(ctx context.Context, rng *rand.Rand, x *hand) error {
	m, w, err := c.h.stage(wordy(rng))
	defer w.Abort()
	if err != nil {
		return err
	}
	second, err := c.id(ctx, rng.IntN(len(c.users)))
	if err != nil {
		return err
	}
	boxes := c.h.mailboxes
	var b *mailbox.Batch
	err = c.h.db.Update(ctx, []kv.Scope{boxes.Scope(x.ID()), boxes.Scope(second)}, func(tx kv.Tx) error {
		b = boxes.Batch(tx)
		for _, id := range []mailbox.AccountID{x.ID(), second} {
			if _, err := b.Deliver(id, mailbox.Delivery{Message: m, Prefix: []byte("Return-Path: <x@a.example>\r\n")}); err != nil {
				return err
			}
		}
		return b.Flush()
	})
	if err == nil {
		b.Committed()
	}
	return err
}

func (c *circle) changeRights(ctx context.Context, rng *rand.Rand, x *hand) error {
	s := mailbox.Subject{Domain: "b.example"}
	if rng.IntN(3) > 0 {
		id, err := c.id(ctx, rng.IntN(3))
		if err != nil {
			return err
		}
		s = mailbox.Subject{Account: id}
	}
	rights := mailbox.AllRights
	if rng.IntN(3) == 0 {
		rights = mailbox.Rights(rng.IntN(int(mailbox.AllRights)+1)) | mailbox.RightLookup
	}
	return x.SetACL(ctx, x.box.ID, s, rng.IntN(8) == 0, mailbox.FlagOp(rng.IntN(3)), rights)
}

// note changes metadata of a mailbox, of an account, or of the server.
func (c *circle) note(ctx context.Context, rng *rand.Rand, x *hand) error {
	value := []byte(fmt.Sprint(rng.Uint32()))
	if rng.IntN(3) == 0 {
		value = nil
	}
	own := mailbox.Annotation{Name: "/private/comment", Value: value}
	switch rng.IntN(4) {
	case 0:
		return c.h.mailboxes.SetServerMetadata(ctx, []mailbox.Annotation{{Name: c.serverNote(), Value: value}})
	case 1:
		return x.SetMetadata(ctx, 0, []mailbox.Annotation{own})
	case 2:
		return x.SetMetadata(ctx, x.box.ID, []mailbox.Annotation{own})
	}
	return x.SetMetadata(ctx, x.box.ID, []mailbox.Annotation{own, {Name: "/shared/comment", Value: value}})
}

func (c *circle) serverNote() string { return fmt.Sprintf("/shared/vendor/test/circle%d", c.n) }

// administer does what users cannot.
func (c *circle) administer(ctx context.Context, rng *rand.Rand) (string, error) {
	if n := len(c.gone); n > 0 && c.steps[len(c.steps)-1].unsettled() {
		_, err := c.h.mailboxes.Sweep(ctx, c.gone[n-1], time.Now())
		return fmt.Sprintf("-@%d forget", c.gone[n-1]), err
	}
	i := rng.IntN(len(c.users))
	id, missing := c.id(ctx, i)
	switch n := rng.IntN(12); {
	case missing != nil:
		return fmt.Sprintf("-@%d join", i), c.join(ctx, i)
	case n < 1:
		err := c.h.users.RemoveUser(ctx, address(c.users[i]))
		if err == nil {
			if c.gone = append(c.gone, id); i == 1 {
				c.word = ""
			}
		}
		return fmt.Sprintf("-@%d leave", i), err
	case n < 4:
		if _, err := c.id(ctx, 1); err != nil {
			return "-@1 password", err
		}
		err := c.h.users.SetPassword(ctx, address(c.users[1]), nthPassword(c.pass+1))
		if err == nil {
			c.pass++
			c.word = nthPassword(c.pass)
		}
		return "-@1 password", err
	case n < 6:
		a, err := c.open(ctx, i, -1)
		if err != nil {
			return fmt.Sprintf("-@%d quota", i), err
		}
		defer a.Close()
		q := mailbox.Quota{Bytes: int64(rng.IntN(2)) * 300_000, Messages: int64(rng.IntN(2)) * 40, Mailboxes: int64(rng.IntN(2)) * 9}
		return fmt.Sprintf("-@%d quota", i), a.SetQuota(ctx, q)
	case n < 7:
		a, err := c.open(ctx, i, i)
		if err != nil {
			return fmt.Sprintf("-@%d use", i), err
		}
		defer a.Close()
		boxes := a.Mailboxes()
		use := []mailbox.SpecialUse{mailbox.UseNone, mailbox.UseArchive, mailbox.UseImportant}[rng.IntN(3)]
		return fmt.Sprintf("-@%d use", i), a.SetSpecialUse(ctx, boxes[rng.IntN(len(boxes))].ID, use)
	}
	return fmt.Sprintf("-@%d invite", i), c.inviteAgain(ctx, i, rng)
}

// inviteAgain lets somebody, who may be new, into an INBOX.
func (c *circle) inviteAgain(ctx context.Context, i int, rng *rand.Rand) error {
	id, err := c.id(ctx, rng.IntN(3))
	if err != nil {
		return err
	}
	a, err := c.open(ctx, i, -1)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.SetACL(ctx, 1, mailbox.Subject{Account: id}, false, mailbox.ReplaceFlags, mailbox.AllRights)
}
