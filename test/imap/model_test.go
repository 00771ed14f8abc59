package imap

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// model is what the server should hold: maps and slices.
type model struct{ boxes map[string]*mbox }

// mbox is a mailbox; it keeps its identity when it is renamed.
type mbox struct {
	owner, name string
	msgs        []*mmsg // by UID
	acl         map[string]string
	gone        bool
	next        uint32 // no UID below it will be given out
}

type mmsg struct {
	uid   uint32
	body  string
	flags map[string]bool // without \seen
	seen  map[string]bool // by viewer; missing: not known yet
}

func newModel(users ...string) *model {
	m := &model{boxes: map[string]*mbox{}}
	for _, u := range users {
		m.make(u, "INBOX")
	}
	return m
}

func (m *model) make(owner, name string) *mbox {
	b := &mbox{owner: owner, name: name, acl: map[string]string{}, next: 1}
	m.boxes[owner+"/"+name] = b
	return b
}

// rights of a user on a mailbox.
func (b *mbox) rights(user string) string {
	switch {
	case b == nil || b.gone:
		return ""
	case b.owner == user:
		return "lrswipkxtea"
	}
	return b.acl[user]
}

func (b *mbox) may(user, rights string) bool {
	have := b.rights(user)
	for _, r := range rights {
		if !strings.ContainsRune(have, r) {
			return false
		}
	}
	return true
}

// called is the name of the mailbox for a user.
func (b *mbox) called(user string) string {
	if b.owner == user {
		return b.name
	}
	return "Other Users/" + b.owner + "@" + domain + "/" + b.name
}

func (b *mbox) find(uid uint32) *mmsg {
	i, ok := slices.BinarySearchFunc(b.msgs, uid, func(m *mmsg, uid uint32) int { return cmp.Compare(m.uid, uid) })
	if !ok {
		return nil
	}
	return b.msgs[i]
}

func (b *mbox) remove(uid uint32) {
	b.msgs = slices.DeleteFunc(b.msgs, func(m *mmsg) bool { return m.uid == uid })
}

// add stores a message with the flags that the user may set there (RFC 4314 §4).
func (b *mbox) add(s *session, uid uint32, body string, flags map[string]bool) {
	if uid < b.next {
		s.fail("UID %d in %s, which has had %d", uid, b.name, b.next-1)
	}
	b.next = uid + 1
	m := &mmsg{uid: uid, body: body, flags: map[string]bool{}, seen: map[string]bool{}}
	for f := range flags {
		if f != `\seen` && b.may(s.who, needs(f)) {
			m.flags[f] = true
		}
	}
	if s.who == b.owner || b.may(s.who, "s") {
		m.seen[s.who] = flags[`\seen`]
	}
	b.msgs = append(b.msgs, m)
}

// needs is the right that changing a flag needs.
func needs(flag string) string {
	switch flag {
	case `\seen`:
		return "s"
	case `\deleted`:
		return "t"
	}
	return "w"
}

// view is the flags of a message for a user; ok when his \Seen is known.
func (m *mmsg) view(user string) (flags map[string]bool, ok bool) {
	flags = maps.Clone(m.flags)
	seen, ok := m.seen[user]
	if seen {
		flags[`\seen`] = true
	}
	return flags, ok
}

// session is a client with a role in a random history.
type session struct {
	*client
	who   string
	rng   *rand.Rand
	m     *model // nil: nobody knows what is true
	sel   *mbox
	tell  string // the name that was selected
	saved map[string]*belief
	w     *world
	log   *ledger
}

var (
	userNames = []string{"anna", "bert", "carl"}
	boxNames  = []string{"INBOX", "A", "B", "C"}
	flagNames = []string{`\Seen`, `\Flagged`, `\Deleted`, `\Answered`, `\Draft`, "$Forwarded", "kw1", "kw2"}
)

// kinds of sessions.
var kinds = []struct {
	who      string
	enable   []string
	compress bool
}{
	{"anna", nil, false},
	{"anna", []string{"IMAP4rev2"}, true},
	{"bert", []string{"CONDSTORE"}, false},
	{"bert", []string{"QRESYNC"}, false},
	{"carl", []string{"IMAP4rev2", "QRESYNC"}, true},
	{"carl", []string{"IMAP4rev2", "UIDONLY"}, false},
	{"anna", []string{"UTF8=ACCEPT", "QRESYNC", "UIDONLY"}, false},
	{"bert", nil, true},
}

func (s *session) open() {
	k := kinds[0]
	for i := range kinds {
		if fmt.Sprint(i) == s.name[:1] {
			k = kinds[i]
		}
	}
	s.login(k.who, k.enable...)
	if k.compress {
		s.compress()
	}
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (s *session) chance(percent int) bool { return s.rng.IntN(100) < percent }

// uid is the prefix of a command that can go by numbers or by UIDs.
func (s *session) uid() string {
	if s.uidonly || s.chance(50) {
		return "UID "
	}
	return ""
}

// some chooses messages from the belief: their UIDs and the set, in the numbers that
// the prefix wants.
func (s *session) some(prefix string) (uids []uint32, set string) {
	s.resolve()
	var parts []string
	all := s.chance(15)
	for i, m := range s.box.msgs {
		if all || s.chance(30) {
			uids = append(uids, m.uid)
			if n := i + 1; prefix == "" {
				parts = append(parts, fmt.Sprint(n))
			} else {
				parts = append(parts, fmt.Sprint(m.uid))
			}
		}
	}
	return uids, strings.Join(parts, ",")
}

func (s *session) someFlags() (list string, flags map[string]bool) {
	flags = map[string]bool{}
	var words []string
	for range s.rng.IntN(3) {
		f := pick(s.rng, flagNames)
		if !flags[strings.ToLower(f)] {
			words = append(words, f)
		}
		flags[strings.ToLower(f)] = true
	}
	return "(" + strings.Join(words, " ") + ")", flags
}

// target chooses a mailbox by a name that the user may use; the mailbox is nil when
// the model has none of that name.
func (s *session) target() (name string, b *mbox) {
	owner := s.who
	if s.chance(40) {
		owner = pick(s.rng, userNames)
	}
	n := pick(s.rng, boxNames)
	if s.m != nil {
		b = s.m.boxes[owner+"/"+n]
	}
	return quote((&mbox{owner: owner, name: n}).called(s.who)), b
}

// expect holds a reply against what the rights allow: no l is as if it did not
// exist, l without the rest is NOPERM (RFC 4314 §4, AU8).
func (s *session) expect(r *reply, b *mbox, rights string) bool {
	if s.m == nil {
		return r.ok()
	}
	switch {
	case !b.may(s.who, "l"):
		if r.kind != "NO" || r.code != "NONEXISTENT" && r.code != "TRYCREATE" {
			s.fail("a mailbox that is not there: %s", r.raw)
		}
	case !b.may(s.who, rights):
		if r.kind != "NO" || r.code != "NOPERM" {
			s.fail("rights %q, not %q: %s", b.rights(s.who), rights, r.raw)
		}
	case !r.ok():
		s.fail("refused: %s", r.raw)
	}
	return r.ok()
}

// lost tells that the open mailbox is not there any more for the session.
func (s *session) lost() bool { return s.m != nil && s.sel != nil && !s.sel.may(s.who, "lr") }

// leave lets go of a mailbox that is gone: the server may end the session.
func (s *session) leave() {
	s.nc.Close()
	tell := s.removed
	s.client = connect(s.name, s.w.dial())
	s.removed, s.sel = tell, nil
	s.open()
}

// step runs one operation.
func (s *session) step() {
	if s.lost() {
		s.leave()
		return
	}
	if s.box == nil || s.chance(6) {
		s.selectBox()
		return
	}
	ops := []func(){
		s.fetch, s.fetch, s.store, s.store, s.store, s.copy, s.copy, s.expunge, s.expunge, s.append, s.append, s.append, s.replace,
		s.search, s.search, s.sort, s.manage, s.manage, s.status, s.setACL, s.wait, s.wait, s.closeBox,
	}
	pick(s.rng, ops)()
}

func (s *session) selectBox() {
	name, b := s.target()
	verb := "SELECT "
	if s.chance(15) {
		verb = "EXAMINE "
	}
	s.keep()
	old := s.saved[name]
	param := ""
	switch {
	case s.qresync && old != nil && s.chance(80):
		param = fmt.Sprintf(" (QRESYNC (%d %d))", old.validity, old.highest)
	case s.chance(20):
		param = " (CONDSTORE)"
	}
	if strings.Contains(param, "CONDSTORE") {
		s.condstore = true
	}
	s.sel, s.tell = nil, name
	r := s.do(verb + name + param)
	if !s.expect(r, b, "r") {
		return
	}
	s.sel = b
	if strings.Contains(param, "QRESYNC") && old.validity == s.box.validity {
		s.rebuild(r, old)
	}
	s.resolve()
	s.compare()
}

// keep remembers the open mailbox for QRESYNC.
func (s *session) keep() {
	if s.box == nil || !s.qresync {
		return
	}
	s.resolve()
	b := *s.box
	b.msgs = slices.Clone(b.msgs)
	s.saved[s.tell] = &b
}

// rebuild makes the belief from what was known and what QRESYNC told
// (RFC 7162 §3.2.5).
func (s *session) rebuild(r *reply, old *belief) {
	known := map[uint32]believed{}
	for _, m := range old.msgs {
		known[m.uid] = m
	}
	for _, u := range r.of("VANISHED") {
		for _, uid := range expand(u.set) {
			delete(known, uid)
		}
	}
	for _, m := range s.box.msgs {
		if m.uid != 0 {
			known[m.uid] = m
		}
	}
	if len(known) != len(s.box.msgs) {
		s.fail("after QRESYNC there are %d messages, the client knows %v", len(s.box.msgs), slices.Sorted(maps.Keys(known)))
	}
	for i, uid := range slices.Sorted(maps.Keys(known)) {
		if was := s.box.msgs[i].uid; was != 0 && was != uid && !s.uidonly {
			s.fail("after QRESYNC message %d is %d, not %d", i+1, was, uid)
		}
		s.box.msgs[i] = known[uid]
	}
}

// compare holds the belief against the model.
func (s *session) compare() {
	if s.box == nil || s.m == nil {
		return
	}
	if s.lost() {
		s.leave()
		return
	}
	s.must("NOOP")
	s.resolve()
	var want, got strings.Builder
	for i, m := range s.sel.msgs {
		if i >= len(s.box.msgs) {
			break
		}
		flags, ok := m.view(s.who)
		have := s.box.msgs[i].flags
		if !ok {
			m.seen[s.who] = have[`\seen`]
			flags, _ = m.view(s.who)
		}
		if s.box.msgs[i].uid != m.uid || !maps.Equal(flags, have) {
			fmt.Fprintf(&want, "%d%v ", m.uid, slices.Sorted(maps.Keys(flags)))
			fmt.Fprintf(&got, "%d%v ", s.box.msgs[i].uid, slices.Sorted(maps.Keys(have)))
		}
	}
	if len(s.sel.msgs) != len(s.box.msgs) || want.Len() > 0 {
		s.fail("%s of %s: the model has %d messages, the session believes %d; different are\n%s in the model,\n%s in the session", s.sel.name, s.sel.owner, len(s.sel.msgs), len(s.box.msgs), want.String(), got.String())
	}
}
