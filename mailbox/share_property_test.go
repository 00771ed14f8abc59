package mailbox

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// sharedMessage is a message that several see. Who 0 is the owner.
type sharedMessage struct {
	uid   UID
	flags Flags // without \Seen
	seen  [3]bool
}

type sharedBox struct {
	name string
	next UID
	list []*sharedMessage
	may  [3]Rights
	// What each was shown last: his snapshot, and the flags of each message.
	last  [3]*Snapshot
	shown [3]map[UID]modelShown
	modsq [3]map[UID]ModSeq
}

// sharing drives an account by its owner and two guests, beside a model.
type sharing struct {
	*world
	t       *rapid.T
	who     [3]*Account
	boxes   map[MailboxID]*sharedBox
	letters [4]*Message
}

func (m *sharing) reset(t *rapid.T) {
	m.Store = New(m.db, m.blobs, m.opts)
	for i, v := range []Viewer{{Account: acct}, asCarol, asDave} {
		h := ok[*Account](t)(m.Account(ctx, acct))
		h.role = asOwner
		if i > 0 {
			h.role, h.lens = asGuest, h.lensFor(v) // also while nothing is visible
		}
		m.who[i] = h
	}
	for _, b := range m.boxes {
		b.last, b.shown = [3]*Snapshot{}, [3]map[UID]modelShown{}
	}
}

func (m *sharing) actor(t *rapid.T) int { return rapid.IntRange(0, 2).Draw(t, "who") }

func (m *sharing) box(t *rapid.T) (MailboxID, *sharedBox) {
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.boxes))).Draw(t, "box")
	return id, m.boxes[id]
}

func (b *sharedBox) set(t *rapid.T) Ranges {
	var r Ranges
	for range rapid.IntRange(1, 3).Draw(t, "ranges") {
		lo := UID(rapid.IntRange(1, int(b.next)).Draw(t, "lo"))
		r = append(r, Range{lo, lo + UID(rapid.SampledFrom([]int{0, 1, 5, 600}).Draw(t, "length"))})
	}
	return r.Normalize()
}

func (b *sharedBox) pick(set Ranges) (out []*sharedMessage) {
	for _, r := range b.list {
		if set.Contains(r.uid) {
			out = append(out, r)
		}
	}
	return out
}

// verdict compares an answer with what the rights say; it tells whether to go on.
func verdict(t *rapid.T, has, need Rights, err error) bool {
	t.Helper()
	switch {
	case has&RightLookup == 0:
		wantKind(t, err, postino.NotFound)
	case has&need != need:
		wantKind(t, err, postino.Denied)
	case err != nil:
		t.Fatal(err)
	default:
		return true
	}
	return false
}

// both is the verdict about two mailboxes.
func both(t *rapid.T, has, need, has2, need2 Rights, err error) bool {
	if has&RightLookup == 0 || has&need != need {
		return verdict(t, has, need, err)
	}
	return verdict(t, has2, need2, err)
}

func (f Flags) allowed(r Rights) Flags {
	return f & r.flagsFor().System()
}

func (m *sharing) Append(t *rapid.T) {
	who := m.actor(t)
	id, b := m.box(t)
	flags := Flags(rapid.IntRange(0, 31).Draw(t, "flags"))
	var msgs []AppendMessage
	for range rapid.SampledFrom([]int{1, 2, 5, 300}).Draw(t, "n") {
		msgs = append(msgs, AppendMessage{Message: m.letters[0], Flags: flags, Keywords: []string{"k"}, Date: began})
	}
	_, err := m.who[who].Append(ctx, id, msgs)
	if !verdict(t, b.may[who], RightInsert, err) {
		return
	}
	for range msgs {
		b.add(flags.allowed(b.may[who]), who)
	}
}

// add puts a new message, which only who may have seen, into the model.
func (b *sharedBox) add(flags Flags, who int) *sharedMessage {
	r := &sharedMessage{uid: b.next, flags: flags &^ Seen}
	r.seen[who] = flags&Seen != 0
	b.next++
	b.list = append(b.list, r)
	return r
}

func (m *sharing) Store_(t *rapid.T) {
	who := m.actor(t)
	id, b := m.box(t)
	req := StoreRequest{UIDs: b.set(t), Flags: Flags(rapid.IntRange(0, 31).Draw(t, "flags")), Op: FlagOp(rapid.IntRange(0, 2).Draw(t, "op"))}
	if rapid.IntRange(0, 2).Draw(t, "only seen") > 0 {
		req.Flags = Seen
		req.Op = FlagOp(rapid.IntRange(0, 1).Draw(t, "add or remove"))
	}
	old := b.last[who]
	if old != nil && rapid.Bool().Draw(t, "conditional") {
		since := old.Status().HighestModSeq
		req.UnchangedSince = &since
	}
	res, err := m.who[who].Store(ctx, id, req)
	has := b.may[who]
	if has&(RightLookup|RightRead) != RightLookup|RightRead {
		verdict(t, has, RightRead, err)
		return
	}
	named := req.Flags
	if req.Op == ReplaceFlags {
		named = allSystem
	}
	if named != 0 && named.allowed(has) == 0 {
		wantKind(t, err, postino.Denied)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var changed, modified []UID
	for _, r := range b.pick(req.UIDs) {
		before := modelShown{r.uid, Mask{uint64(r.flags) | uint64(btoi(r.seen[who]))}}
		if req.UnchangedSince != nil {
			if seen, known := b.shown[who][r.uid]; !known || seen != before || b.modsq[who][r.uid] > *req.UnchangedSince {
				modified = append(modified, r.uid) // surely
				continue
			}
			if res.Modified.Contains(r.uid) {
				continue // the owner's \Seen changed, which moves the mod-sequence alone
			}
		}
		f := r.flags | Flags(btoi(r.seen[who]))
		switch allowed := req.Flags.allowed(has); req.Op {
		case AddFlags:
			f |= allowed
		case RemoveFlags:
			f &^= allowed
		case ReplaceFlags:
			f = f&^has.flagsFor().System() | allowed
		}
		r.flags, r.seen[who] = f&^Seen, f&Seen != 0
		if (modelShown{r.uid, Mask{uint64(f)}}) != before {
			changed = append(changed, r.uid)
		}
	}
	for _, u := range modified {
		if !res.Modified.Contains(u) {
			t.Fatalf("message %d was changed since, but stored", u)
		}
	}
	if !slices.Equal(res.Changed, RangesOf(changed)) && req.Op != ReplaceFlags { // keywords go too
		t.Fatalf("changed %v, model %v", res.Changed, RangesOf(changed))
	}
}

func (m *sharing) Copy_(t *rapid.T) {
	who := m.actor(t)
	src, b := m.box(t)
	dst, d := m.box(t)
	set := b.set(t)
	move := rapid.Bool().Draw(t, "move")
	do, need := m.who[who].Copy, RightRead
	if move {
		do, need = m.who[who].Move, RightRead|RightDeleted|RightExpunge
	}
	_, err := do(ctx, src, set, dst)
	if !both(t, b.may[who], need, d.may[who], RightInsert, err) {
		return
	}
	list := b.pick(set)
	for _, r := range list {
		c := d.add(r.flags.allowed(d.may[who]), who)
		c.seen[0] = r.seen[0]
		if who > 0 {
			c.seen[who] = r.seen[who] && d.may[who]&RightSeen != 0
		}
	}
	if move {
		b.list = slices.DeleteFunc(b.list, func(r *sharedMessage) bool { return slices.Contains(list, r) })
	}
}

func (m *sharing) Expunge_(t *rapid.T) {
	who := m.actor(t)
	id, b := m.box(t)
	set := b.set(t)
	do, need := m.who[who].Expunge, RightRead|RightExpunge
	destroy := rapid.Bool().Draw(t, "destroy")
	if destroy {
		do, need = m.who[who].Destroy, need|RightDeleted
	}
	_, err := do(ctx, id, set)
	if !verdict(t, b.may[who], need, err) {
		return
	}
	b.list = slices.DeleteFunc(b.list, func(r *sharedMessage) bool {
		return set.Contains(r.uid) && (destroy || r.flags&Deleted != 0)
	})
}

func (m *sharing) Grant(t *rapid.T) {
	id, b := m.box(t)
	who := rapid.IntRange(1, 2).Draw(t, "guest")
	r := AllRights
	if rapid.IntRange(0, 2).Draw(t, "some") > 0 {
		r = Rights(rapid.IntRange(0, int(AllRights)).Draw(t, "rights"))
	}
	if err := m.who[0].SetACL(ctx, id, Subject{Account: []AccountID{0, carol, dave}[who]}, false, ReplaceFlags, r); err != nil {
		t.Fatal(err)
	}
	b.may[who] = r
}

func (m *sharing) Tree(t *rapid.T) {
	who := m.actor(t)
	id, b := m.box(t)
	switch rapid.IntRange(0, 2).Draw(t, "do") {
	case 0:
		name := b.name + "/" + rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
		for _, other := range m.boxes {
			if other.name == name || len(m.boxes) > 12 {
				return
			}
		}
		i, err := m.who[who].Create(ctx, name, UseNone)
		if b.may[who]&(RightLookup|RightCreate) != RightLookup|RightCreate {
			wantKind(t, err, postino.Denied)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		m.learn()
		equal(t, "name", m.boxes[i.ID].name, name)
	case 1:
		err := m.who[who].Delete(ctx, id)
		if id == inbox {
			if b.may[who]&RightLookup != 0 {
				wantKind(t, err, postino.Denied)
			}
			return
		}
		if verdict(t, b.may[who], RightDelete, err) {
			delete(m.boxes, id)
		}
	case 2:
		if !slices.Contains(m.who[who].Subscriptions(), b.name) && who > 0 {
			err := m.who[who].Subscribe(ctx, b.name)
			if !verdict(t, b.may[who], RightLookup, err) {
				return
			}
			equal(t, "subscribed", slices.Contains(m.who[who].Subscriptions(), b.name), true)
		}
	}
}

// learn takes new mailboxes, which have the rights of their parents, into the model.
func (m *sharing) learn() {
	list := m.who[0].Mailboxes()
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) }) // parents first
	for _, i := range list {
		if m.boxes[i.ID] != nil {
			continue
		}
		b := &sharedBox{name: i.Name, next: 1, may: [3]Rights{AllRights}}
		for _, p := range m.boxes {
			if at := strings.LastIndexByte(b.name, '/'); at > 0 && p.name == b.name[:at] {
				b.may = p.may
			}
		}
		m.boxes[i.ID] = b
	}
}

func (m *sharing) Fold_(t *rapid.T) {
	if err := m.world.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
}

// check compares what each sees with the model, and with what he saw before.
func (m *sharing) check(t *rapid.T) {
	for who, a := range m.who {
		visible := 0
		for id, b := range m.boxes {
			has := b.may[who]
			equal(t, "rights", a.Rights(id), has*Rights(btoi(has&RightLookup != 0)))
			if has&RightLookup != 0 {
				visible++
			}
			v, err := a.Open(ctx, id)
			if !verdict(t, has, RightRead, err) {
				b.last[who] = nil
				continue
			}
			m.compare(t, who, b, v)
		}
		equal(t, "visible mailboxes", len(a.Mailboxes()), visible)
	}
}

func (m *sharing) compare(t *rapid.T, who int, b *sharedBox, v *View) {
	s, old := v.Snapshot(), b.last[who]
	st := s.Status()
	equal(t, "messages", s.Len(), len(b.list))
	unseen := uint32(0)
	shown, modseqs := map[UID]modelShown{}, map[UID]ModSeq{}
	var changed []UID
	for i, r := range s.Rows(0, s.Len()) {
		want := b.list[i]
		if r.UID != want.uid || r.Flags.System() != want.flags|Flags(btoi(want.seen[who])) {
			t.Fatalf("%d sees %+v, model %+v", who, r, want)
		}
		unseen += uint32(btoi(!want.seen[who]))
		shown[r.UID] = modelShown{r.UID, Mask{uint64(r.Flags.System())}}
		modseqs[r.UID] = r.ModSeq
		if r.ModSeq > st.HighestModSeq || r.ModSeq < b.modsq[who][r.UID] {
			t.Fatalf("%d sees mod-sequence %d after %d, highest %d", who, r.ModSeq, b.modsq[who][r.UID], st.HighestModSeq)
		}
		if old != nil && b.shown[who][r.UID] != shown[r.UID] {
			changed = append(changed, r.UID)
		}
	}
	equal(t, "unseen", st.Unseen, unseen)
	first, found := s.FirstUnseen()
	if found != (unseen > 0) || found && b.list[first].seen[who] {
		t.Fatal("first unseen", first, found)
	}
	if old != nil {
		// What changed is found by mod-sequence, and what vanished by the log.
		since := old.Status().HighestModSeq
		c := ok[Changes](t)(v.Changes(ctx, s, since))
		for _, u := range changed {
			if !c.Flagged.Contains(u) {
				t.Fatalf("%d: message %d changed after %d, told are %v", who, u, since, c.Flagged)
			}
		}
		for u := range b.shown[who] {
			if _, there := shown[u]; there == (c.Complete && c.Vanished.Contains(u)) {
				t.Fatalf("%d: message %d vanished: %v", who, u, !there)
			}
		}
		d := old.Diff(s)
		equal(t, "messages by difference", old.Len()-len(d.Expunged)+s.Len()-d.First, s.Len())
		for _, u := range changed {
			if i, _ := s.Find(u); i < d.First && !slices.Contains(d.Changed, i) {
				t.Fatalf("%d: message %d is not in the difference", who, u)
			}
		}
		equal(t, "kept", old.Keep(s).Len(), s.Len()+len(d.Expunged))
	}
	b.last[who], b.shown[who], b.modsq[who] = s, shown, modseqs
}

// TestSharingAgainstModel lets the owner of an account and two guests, whose
// rights change, work in the same mailboxes (AU8, IM8, IM9, IM13).
func TestSharingAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{TB: t, opts: Options{}}
		w.openMemory()
		defer w.db.Close()
		m := &sharing{world: w, t: rt, boxes: map[MailboxID]*sharedBox{}}
		m.letters[0] = w.stage(letter(1))
		w.update(func(tx kv.Tx) error {
			if err := w.blobs.Put(tx, m.letters[0].Staged, []byte("q")); err != nil {
				return err
			}
			return w.Store.Create(tx, acct, Quota{}, began)
		})
		m.letters[0].Staged = nil
		m.reset(rt)
		for _, i := range m.who[0].Mailboxes()[:2] {
			m.boxes[i.ID] = &sharedBox{name: i.Name, next: 1, may: [3]Rights{AllRights}}
		}
		for _, i := range m.who[0].Mailboxes()[2:] {
			if err := m.who[0].Delete(ctx, i.ID); err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": m.Append, "store": m.Store_, "store again": m.Store_, "copy": m.Copy_, "expunge": m.Expunge_, "grant": m.Grant, "tree": m.Tree,
			"fold": m.Fold_, "forget": m.reset, "": m.check,
		})
		problems, err := w.Check(ctx, acct)
		if err != nil || len(problems) > 0 {
			rt.Fatal(problems, err)
		}
	})
}
