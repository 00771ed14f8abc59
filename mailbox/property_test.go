package mailbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// modelMessage is a message as simply as can be.
type modelMessage struct {
	uid    UID
	email  EmailID
	size   int64
	flags  Flags
	words  map[string]bool
	modseq ModSeq
}

type modelBox struct {
	name     string
	validity uint32
	next     UID
	list     []*modelMessage
	gone     map[UID]ModSeq
}

// machine drives a store and a model of it with the same operations.
type machine struct {
	*world
	t        *rapid.T
	a        *Account
	boxes    map[MailboxID]*modelBox
	validity uint32 // the greatest seen
	letter   *Message
	views    map[MailboxID]*View
	// session is what a client was told, by the rules that sessions follow.
	session map[MailboxID]*Snapshot
	shown   map[MailboxID][]modelShown
}

type modelShown struct {
	uid   UID
	flags Mask
}

func (m *machine) reset() {
	m.a = ok[*Account](m.world.TB)(m.Account(ctx, acct))
	m.views, m.session, m.shown = map[MailboxID]*View{}, map[MailboxID]*Snapshot{}, map[MailboxID][]modelShown{}
}

func (m *machine) box(t *rapid.T) (MailboxID, *modelBox) {
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.boxes))).Draw(t, "box")
	return id, m.boxes[id]
}

// set draws a set of UIDs in and around those of a mailbox.
func (m *machine) set(t *rapid.T, b *modelBox) Ranges {
	var r Ranges
	for range rapid.IntRange(1, 4).Draw(t, "ranges") {
		lo := UID(rapid.IntRange(1, int(b.next)).Draw(t, "lo"))
		r = append(r, Range{lo, lo + UID(rapid.SampledFrom([]int{0, 0, 1, 5, 300, 2000}).Draw(t, "length"))})
	}
	return r.Normalize()
}

func drawFlags(t *rapid.T) (Flags, []string) {
	return Flags(rapid.IntRange(0, 31).Draw(t, "flags")),
		rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"$Forwarded", "$Junk", "a", "b"}), 0, 2, rapid.ID).Draw(t, "keywords")
}

func wordSet(words []string) map[string]bool {
	set := map[string]bool{}
	for _, w := range words {
		set[w] = true
	}
	return set
}

func (b *modelBox) add(r *modelMessage) {
	r.uid = b.next
	b.next++
	b.list = append(b.list, r)
}

func (b *modelBox) pick(set Ranges) (out []*modelMessage) {
	for _, r := range b.list {
		if set.Contains(r.uid) {
			out = append(out, r)
		}
	}
	return out
}

func (b *modelBox) remove(list []*modelMessage, at ModSeq) {
	for _, r := range list {
		b.gone[r.uid] = at
	}
	b.list = slices.DeleteFunc(b.list, func(r *modelMessage) bool { return slices.Contains(list, r) })
}

func (m *machine) Append(t *rapid.T) {
	id, b := m.box(t)
	flags, words := drawFlags(t)
	var msgs []AppendMessage
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 2, 3, 3, 5, 8, 40, 520}).Draw(t, "n") {
		msgs = append(msgs, AppendMessage{Message: m.letter, Flags: flags, Keywords: words, Date: began})
	}
	if rapid.Bool().Draw(t, "deliver") {
		m.world.update(func(tx kv.Tx) error {
			batch := m.Batch(tx)
			for _, p := range msgs {
				if _, err := batch.Deliver(acct, Delivery{Message: p.Message, Mailbox: id, Flags: flags, Keywords: words, Date: began}); err != nil {
					return err
				}
			}
			return batch.Flush()
		})
		if err := m.a.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		s := ok[*View](t)(m.a.Open(ctx, id)).Snapshot()
		for i := s.Len() - len(msgs); i < s.Len(); i++ {
			r := s.Row(i)
			b.add(&modelMessage{email: r.Email, size: m.letter.Size, flags: flags, words: wordSet(words), modseq: r.ModSeq})
		}
		return
	}
	res := ok[AppendResult](t)(m.a.Append(ctx, id, msgs))
	equal(t, "first UID", res.UIDs.Lo, b.next)
	for i := range msgs {
		b.add(&modelMessage{email: res.Emails[i], size: m.letter.Size, flags: flags, words: wordSet(words), modseq: res.ModSeq})
	}
}

func (m *machine) Store_(t *rapid.T) {
	id, b := m.box(t)
	flags, words := drawFlags(t)
	req := StoreRequest{UIDs: m.set(t, b), Flags: flags, Keywords: words, Op: FlagOp(rapid.IntRange(0, 2).Draw(t, "op"))}
	if rapid.IntRange(0, 3).Draw(t, "conditional") == 0 {
		since := ModSeq(rapid.IntRange(0, int(m.a.ModSeq())).Draw(t, "unchanged since"))
		req.UnchangedSince = &since
	}
	res := ok[StoreResult](t)(m.a.Store(ctx, id, req))
	var changed, modified []UID
	for _, r := range b.pick(req.UIDs) {
		if req.UnchangedSince != nil && r.modseq > *req.UnchangedSince {
			modified = append(modified, r.uid)
			continue
		}
		f, w := r.flags, maps.Clone(r.words)
		switch req.Op {
		case AddFlags:
			f |= flags
			maps.Copy(w, wordSet(words))
		case RemoveFlags:
			f &^= flags
			for _, k := range words {
				delete(w, k)
			}
		case ReplaceFlags:
			f, w = flags, wordSet(words)
		}
		if f != r.flags || !maps.Equal(w, r.words) {
			r.flags, r.words, r.modseq = f, w, res.ModSeq
			changed = append(changed, r.uid)
		}
	}
	if !slices.Equal(res.Changed, RangesOf(changed)) || !slices.Equal(res.Modified, RangesOf(modified)) {
		t.Fatalf("store changed %v, modified %v; model %v, %v", res.Changed, res.Modified, changed, modified)
	}
}

func (m *machine) Copy_(t *rapid.T) {
	src, b := m.box(t)
	dst, d := m.box(t)
	set := m.set(t, b)
	move := rapid.Bool().Draw(t, "move")
	do := m.a.Copy
	if move {
		do = m.a.Move
	}
	res := ok[CopyResult](t)(do(ctx, src, set, dst))
	list := b.pick(set)
	equal(t, "copied", res.Source.Count(), uint64(len(list)))
	equal(t, "copies", res.Dest.Count(), uint64(len(list)))
	at := res.ModSeq
	if move {
		at-- // the record of the arrival comes before that of the leaving
	}
	for _, r := range list {
		c := *r
		c.words, c.modseq = maps.Clone(r.words), at
		d.add(&c)
	}
	if move {
		b.remove(list, res.ModSeq)
	}
}

func (m *machine) Expunge_(t *rapid.T) {
	id, b := m.box(t)
	set := All()
	if rapid.Bool().Draw(t, "some") {
		set = m.set(t, b)
	}
	list := b.pick(set)
	var res ExpungeResult
	if rapid.Bool().Draw(t, "destroy") {
		res = ok[ExpungeResult](t)(m.a.Destroy(ctx, id, set))
	} else {
		list = slices.DeleteFunc(list, func(r *modelMessage) bool { return r.flags&Deleted == 0 })
		res = ok[ExpungeResult](t)(m.a.Expunge(ctx, id, set))
	}
	equal(t, "expunged", res.Expunged.Count(), uint64(len(list)))
	b.remove(list, res.ModSeq)
}

func (m *machine) Mailboxes_(t *rapid.T) {
	name := rapid.SampledFrom([]string{"x", "x/y", "x/y/z", "w", "w/y"}).Draw(t, "name")
	var id MailboxID
	for i, b := range m.boxes {
		if b.name == name {
			id = i
		}
	}
	switch rapid.IntRange(0, 2).Draw(t, "do") {
	case 0:
		_, err := m.a.Create(ctx, name, UseNone)
		if id != 0 {
			wantKind(t, err, postino.Conflict)
		} else if err != nil {
			t.Fatal(err)
		}
		m.learn(t)
	case 1:
		if id != 0 {
			if err := m.a.Delete(ctx, id); err != nil {
				t.Fatal(err)
			}
			delete(m.boxes, id)
		}
	case 2:
		to := rapid.SampledFrom([]string{"x", "v", "v/y", "w/y"}).Draw(t, "to")
		if id == 0 {
			return
		}
		if err := m.a.Rename(ctx, id, to); err == nil {
			for _, b := range m.boxes {
				if b.name == name {
					b.name = to
				} else if len(b.name) > len(name) && b.name[:len(name)+1] == name+"/" {
					b.name = to + b.name[len(name):]
				}
			}
		}
		m.learn(t)
	}
}

// learn takes new mailboxes into the model and compares the others.
func (m *machine) learn(t *rapid.T) {
	list := m.a.Mailboxes()
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	for _, i := range list {
		b := m.boxes[i.ID]
		if b == nil {
			if i.UIDValidity <= m.validity {
				t.Fatalf("UIDVALIDITY of %q is %d after %d", i.Name, i.UIDValidity, m.validity)
			}
			m.validity = i.UIDValidity
			b = &modelBox{name: i.Name, validity: i.UIDValidity, next: 1, gone: map[UID]ModSeq{}}
			m.boxes[i.ID] = b
		}
		if i.Name != b.name || i.UIDValidity != b.validity || i.UIDNext != b.next {
			t.Fatalf("mailbox %+v, model %q %d %d", i, b.name, b.validity, b.next)
		}
	}
	equal(t, "number of mailboxes", len(list), len(m.boxes))
}

// Fold makes a checkpoint; it happens at random, so that often none is there.
func (m *machine) Fold_(t *rapid.T) {
	if rapid.Bool().Draw(t, "cut short") {
		m.Store = New(&failing{m.db, rapid.IntRange(0, 3).Draw(t, "updates")}, m.blobs, m.opts)
		m.foldTx = 1
		_ = m.world.Fold(ctx, acct)
		m.Forget(t)
		return
	}
	if err := m.world.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
}

// failing is a store in which only some updates succeed.
type failing struct {
	kv.DB
	left int
}

func (f *failing) Update(ctx context.Context, scopes []kv.Scope, fn func(kv.Tx) error) error {
	if f.left--; f.left < 0 {
		return kv.ErrStopped
	}
	return f.DB.Update(ctx, scopes, fn)
}

// Forget drops all memory, as a restart does.
func (m *machine) Forget(t *rapid.T) {
	m.Store = New(m.db, m.blobs, m.opts)
	m.foldTx = rapid.SampledFrom([]int{1, foldTx}).Draw(t, "fold transaction")
	m.reset()
}

// Session brings a client up to date with or without EXPUNGE.
func (m *machine) Session(t *rapid.T) {
	id, _ := m.box(t)
	v := m.views[id]
	if v == nil {
		v = ok[*View](t)(m.a.Open(ctx, id))
		m.views[id] = v
		s := v.Snapshot()
		m.session[id] = s
		for _, r := range s.Rows(0, s.Len()) {
			m.shown[id] = append(m.shown[id], modelShown{r.UID, r.Flags})
		}
		return
	}
	old, cur := m.session[id], v.Snapshot()
	if rapid.Bool().Draw(t, "keep") {
		cur = old.Keep(cur)
	}
	d := old.Diff(cur)
	shown := m.shown[id]
	for i, at := range d.Expunged {
		shown = slices.Delete(shown, at-i, at-i+1)
	}
	if d.Exists {
		for _, r := range cur.Rows(d.First, cur.Len()) {
			shown = append(shown, modelShown{r.UID, r.Flags})
		}
	}
	for _, i := range d.Changed {
		shown[i].flags = cur.Row(i).Flags
	}
	equal(t, "messages shown", len(shown), cur.Len())
	for i, r := range cur.Rows(0, cur.Len()) {
		equal(t, "message shown", shown[i], modelShown{r.UID, r.Flags})
	}
	m.session[id], m.shown[id] = cur, shown
}

// Changes compares the log's answer with the model.
func (m *machine) Changes_(t *rapid.T) {
	id, b := m.box(t)
	v := ok[*View](t)(m.a.Open(ctx, id))
	since := ModSeq(rapid.IntRange(0, int(m.a.ModSeq())).Draw(t, "since"))
	c := ok[Changes](t)(v.Changes(ctx, v.Snapshot(), since))
	var vanished, flagged []UID
	for u, at := range b.gone {
		if at > since {
			vanished = append(vanished, u)
		}
	}
	for _, r := range b.list {
		if r.modseq > since {
			flagged = append(flagged, r.uid)
		}
	}
	if c.Complete && !slices.Equal(c.Vanished, RangesOf(vanished)) || !slices.Equal(c.Flagged, RangesOf(flagged)) {
		t.Fatalf("changes %v, model %v %v", c, RangesOf(vanished), RangesOf(flagged))
	}
}

// check compares every mailbox with the model.
func (m *machine) check(t *rapid.T) {
	m.learn(t)
	var used Quota
	for id, b := range m.boxes {
		s := ok[*View](t)(m.a.Open(ctx, id)).Snapshot()
		equal(t, "messages", s.Len(), len(b.list))
		var st Status
		for i, r := range s.Rows(0, s.Len()) {
			want := b.list[i]
			if r.UID != want.uid || r.Email != want.email || r.Size != want.size || r.Flags.System() != want.flags || r.ModSeq != want.modseq {
				t.Fatalf("message %+v, model %+v", r, want)
			}
			words := map[string]bool{}
			for n := range r.Flags.Keywords() {
				words[s.Keywords()[n]] = true
			}
			if !maps.Equal(words, want.words) {
				t.Fatalf("keywords %v, model %v", words, want.words)
			}
			st.count(uint64(want.flags), want.size, 1)
			used.Bytes += want.size
			used.Messages++
		}
		got := s.Status()
		got.UIDValidity, got.UIDNext, got.HighestModSeq = 0, 0, 0
		equal(t, "counters", got, st)
	}
	used.Mailboxes = int64(len(m.boxes))
	equal(t, "used quota", m.a.Usage().Used, used)
}

// TestAgainstModel runs random operations on a store and on a model; memory is
// lost at random moments, checkpoints are made at random moments, the log is
// trimmed in some of the runs (IM8, IM9, IM13).
func TestAgainstModel(t *testing.T) {
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		opts := Options{}
		if rapid.Bool().Draw(rt, "trim") {
			opts.LogBytes = 2000
		}
		w := &world{TB: t, opts: opts}
		w.openMemory()
		defer w.db.Close()
		n++
		m := &machine{world: w, t: rt, boxes: map[MailboxID]*modelBox{}}
		m.letter = w.stage(letter(n))
		w.update(func(tx kv.Tx) error {
			if err := w.blobs.Put(tx, m.letter.Staged, []byte("q")); err != nil {
				return err
			}
			return w.Store.Create(tx, acct, Quota{}, began)
		})
		m.letter.Staged = nil
		m.reset()
		m.learn(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"append": m.Append, "store": m.Store_, "copy": m.Copy_, "expunge": m.Expunge_, "mailboxes": m.Mailboxes_,
			"fold": m.Fold_, "forget": m.Forget, "session": m.Session, "changes": m.Changes_, "": m.check,
		})
		problems, err := w.Check(ctx, acct)
		if err != nil || len(problems) > 0 {
			rt.Fatal(fmt.Sprint(problems), err)
		}
	})
}
