package imap

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// fetch reads bodies and other items.
func (s *session) fetch() {
	p := s.uid()
	uids, set := s.some(p)
	if set == "" {
		return
	}
	item := pick(s.rng, []string{"BODY.PEEK[]", "(UID BODY.PEEK[] FLAGS)", "(ENVELOPE BODYSTRUCTURE INTERNALDATE)", "RFC822.SIZE", "(MODSEQ)", "BODY[]", "FULL", "(PREVIEW SAVEDATE EMAILID THREADID)", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"})
	if s.uidonly && !strings.HasPrefix(item, "(") {
		item = "(UID " + strings.ReplaceAll(item, "FULL", "FLAGS") + ")"
	}
	r := s.do(p + "FETCH " + set + " " + item)
	if !r.ok() && r.code != "EXPUNGEISSUED" {
		s.fail("FETCH: %s", r.raw)
	}
	if s.m == nil {
		return
	}
	if strings.Contains(item, "BODY[]") && !s.box.readOnly && s.sel.may(s.who, "s") {
		for _, uid := range uids { // the flag is set where the body was sent (RFC 9051 §6.4.5)
			if m := s.sel.find(uid); m != nil {
				m.seen[s.who] = true
			}
		}
	}
	for _, u := range slices.Concat(r.of("FETCH"), r.of("UIDFETCH")) {
		if m := s.sel.find(u.fetch.uid); m != nil && u.fetch.uid != 0 {
			if body, ok := u.fetch.items["BODY[]"]; ok && body != m.body {
				s.fail("message %d has another body", m.uid)
			}
		}
	}
}

// store changes flags, on condition now and then.
func (s *session) store() {
	p := s.uid()
	uids, set := s.some(p)
	if set == "" {
		return
	}
	list, flags := s.someFlags()
	op := pick(s.rng, []string{"+", "-", "+", ""})
	silent, cond := "", ""
	if s.chance(30) {
		silent = ".SILENT"
	}
	if s.condstore && s.chance(30) {
		cond = fmt.Sprintf(" (UNCHANGEDSINCE %d)", s.box.highest)
	}
	r := s.do(p + "STORE " + set + cond + " " + op + "FLAGS" + silent + " " + list)
	if s.m == nil {
		return
	}
	able := map[string]bool{}
	for f := range flags {
		if s.sel.may(s.who, needs(f)) {
			able[f] = true
		}
	}
	switch {
	case op != "" && len(flags) == 0: // nothing to do, whatever the rights
		return
	case s.box.readOnly || !s.sel.may(s.who, "w") && !s.sel.may(s.who, "s") && !s.sel.may(s.who, "t"):
		if r.kind != "NO" {
			s.fail("STORE to a mailbox that is read-only: %s", r.raw)
		}
		return
	case r.code == "NOPERM" && len(able) == 0:
		return
	case r.code == "EXPUNGEISSUED":
		s.learn(s.sel)
		return
	case !r.ok() && r.code != "MODIFIED" && cond == "":
		s.fail("STORE: %s", r.raw)
	}
	skip := map[uint32]bool{}
	if r.code == "MODIFIED" {
		for _, n := range expand(r.sets[0]) {
			if p == "" {
				if int(n) > len(s.box.msgs) {
					s.fail("MODIFIED %d", n)
				}
				n = s.box.msgs[n-1].uid
			}
			skip[n] = true
		}
	}
	for _, uid := range uids {
		m := s.sel.find(uid)
		if m == nil || skip[uid] {
			continue
		}
		now, _ := m.view(s.who)
		for _, f := range flagNames {
			f = strings.ToLower(f)
			if !s.sel.may(s.who, needs(f)) {
				continue
			}
			switch {
			case op != "-" && flags[f]:
				now[f] = true
			case op == "-" && flags[f], op == "" && !flags[f]:
				delete(now, f)
			}
		}
		if s.sel.may(s.who, "s") && (op == "" || flags[`\seen`]) {
			m.seen[s.who] = now[`\seen`]
		}
		delete(now, `\seen`)
		m.flags = now
	}
}

// copy is COPY and MOVE.
func (s *session) copy() {
	if len(s.box.msgs) > 40 { // it would grow without end
		s.resolve()
		s.do("UID STORE 1:* +FLAGS (\\Deleted)")
		if s.m != nil {
			s.learn(s.sel)
		}
		s.expunge()
		return
	}
	p := s.uid()
	uids, set := s.some(p)
	if set == "" {
		return
	}
	move := s.chance(40)
	verb, from := "COPY ", s.sel
	if move {
		verb = "MOVE "
	}
	name, to := s.target()
	r := s.do(p + verb + set + " " + name)
	s.log.copied(s, name, r)
	if s.m == nil {
		return
	}
	if r.code == "EXPUNGEISSUED" {
		return
	}
	if move && (s.box.readOnly || !from.may(s.who, "te")) {
		if r.kind != "NO" {
			s.fail("MOVE without rights: %s", r.raw)
		}
		return
	}
	alive := slices.ContainsFunc(uids, func(uid uint32) bool { return from.find(uid) != nil })
	if !alive && r.kind == "NO" {
		return
	}
	if !s.expect(r, to, "i") {
		return
	}
	code := r.coded("COPYUID")
	if code == nil {
		if to.may(s.who, "r") && alive {
			s.fail("no COPYUID: %s", r.raw)
		}
		s.learn(to)
		s.learn(from)
		return
	}
	src, dst := expand(code.sets[0]), expand(code.sets[1])
	for i, uid := range src {
		m := from.find(uid)
		if m == nil || !slices.Contains(uids, uid) {
			s.fail("COPYUID tells of %d", uid)
		}
		flags, _ := m.view(s.who)
		to.add(s, dst[i], m.body, flags)
		if _, known := m.seen[s.who]; !known {
			delete(to.find(dst[i]).seen, s.who)
		}
	}
	for _, uid := range uids {
		if from.find(uid) != nil && !slices.Contains(src, uid) {
			s.fail("%s leaves %d out", verb, uid)
		}
		if move {
			from.remove(uid)
		}
	}
}

// expunge is EXPUNGE and UID EXPUNGE.
func (s *session) expunge() {
	s.resolve()
	cmd, only := "EXPUNGE", s.known()
	if s.chance(50) {
		uids, set := s.some("UID ")
		if set == "" {
			return
		}
		cmd, only = "UID EXPUNGE "+set, uids
	}
	r := s.do(cmd)
	if s.m == nil {
		return
	}
	if s.box.readOnly || !s.sel.may(s.who, "e") {
		if r.kind != "NO" {
			s.fail("EXPUNGE without right: %s", r.raw)
		}
		return
	}
	if !r.ok() {
		s.fail("EXPUNGE: %s", r.raw)
	}
	s.sel.expunge(only)
}

// known are the UIDs that the session believes in: EXPUNGE removes no message that
// its client has not heard of.
func (s *session) known() []uint32 {
	var uids []uint32
	for _, m := range s.box.msgs {
		uids = append(uids, m.uid)
	}
	return uids
}

// expunge removes what is \Deleted, of the UIDs.
func (b *mbox) expunge(only []uint32) {
	b.msgs = slices.DeleteFunc(b.msgs, func(m *mmsg) bool {
		return m.flags[`\deleted`] && slices.Contains(only, m.uid)
	})
}

// body makes a message that there is only once.
func (s *session) body() string {
	return s.log.unique(fmt.Sprintf("From: %s@%s\r\nSubject: word%d\r\n\r\n%s\r\n", s.who, domain, s.rng.IntN(4), strings.Repeat("x", s.rng.IntN(200))))
}

func (s *session) append() {
	name, b := s.target()
	cmd := "APPEND " + name
	var bodies []string
	var flags []map[string]bool
	for range 1 + s.rng.IntN(3) {
		body := s.body()
		list, f := s.someFlags()
		cmd += " " + list
		if s.chance(30) {
			cmd += ` "03-Jan-2026 10:00:00 +0100"`
		}
		if s.chance(20) {
			half := len(body) / 2
			cmd += " CATENATE (TEXT " + literal(body[:half]) + " TEXT " + literal(body[half:]) + ")"
		} else {
			cmd += " " + literal(body)
		}
		bodies, flags = append(bodies, body), append(flags, f)
	}
	r := s.do(cmd)
	s.log.appended(s, name, r)
	if s.m == nil || !s.expect(r, b, "i") {
		return
	}
	if r.code != "APPENDUID" {
		if b.may(s.who, "r") {
			s.fail("no APPENDUID: %s", r.raw)
		}
		s.learn(b)
		return
	}
	uids := expand(r.sets[0])
	if len(uids) != len(bodies) {
		s.fail("APPENDUID for %d messages: %s", len(bodies), r.raw)
	}
	for i, uid := range uids {
		b.add(s, uid, bodies[i], flags[i])
	}
}

// replace is REPLACE (RFC 8508).
func (s *session) replace() {
	s.resolve()
	if len(s.box.msgs) == 0 {
		return
	}
	p := s.uid()
	i := s.rng.IntN(len(s.box.msgs))
	uid := s.box.msgs[i].uid
	n := uid
	if p == "" {
		n = uint32(i + 1)
	}
	name, b := s.target()
	body := s.body()
	list, flags := s.someFlags()
	from := s.sel
	r := s.do(fmt.Sprintf("%sREPLACE %d %s %s %s", p, n, name, list, literal(body)))
	s.log.appended(s, name, r)
	if s.m == nil {
		return
	}
	switch {
	case s.box.readOnly || !from.may(s.who, "te"):
		if r.kind != "NO" {
			s.fail("REPLACE without rights: %s", r.raw)
		}
		return
	case from.find(uid) == nil:
		if r.ok() {
			s.fail("REPLACE of a message that is gone: %s", r.raw)
		}
		return
	}
	if !s.expect(r, b, "i") {
		return
	}
	code := r.coded("APPENDUID")
	if code == nil {
		if b.may(s.who, "r") {
			s.fail("no APPENDUID: %s", r.raw)
		}
		s.learn(b)
	} else {
		b.add(s, expand(code.sets[0])[0], body, flags)
	}
	from.remove(uid)
}

// search compares results with the model.
func (s *session) search() {
	s.compare()
	if s.box == nil {
		return
	}
	key, fits := s.key(2)
	ret := pick(s.rng, []string{"", "RETURN () ", "RETURN (ALL COUNT) ", "RETURN (MIN MAX COUNT ALL SAVE) ", "RETURN (COUNT PARTIAL 1:1000) "})
	p := s.uid()
	r := s.must(p + "SEARCH " + ret + key)
	if s.m == nil {
		return
	}
	var want []uint32
	for i, m := range s.sel.msgs {
		if fits(m) {
			if p == "" {
				want = append(want, uint32(i+1))
			} else {
				want = append(want, m.uid)
			}
		}
	}
	got := []uint32{}
	for _, u := range r.all {
		if u.kind == "SEARCH" {
			got = slices.Concat(got, u.nums)
		}
		if u.kind == "ESEARCH" {
			got = slices.Concat(u.find.all, u.find.partial)
			if u.find.items["COUNT"] && int(u.find.count) != len(want) {
				s.fail("COUNT %d, want %v", u.find.count, want)
			}
			if u.find.items["MIN"] && (len(want) == 0 || u.find.min != want[0] || u.find.max != want[len(want)-1]) {
				s.fail("MIN %d MAX %d, want %v", u.find.min, u.find.max, want)
			}
		}
	}
	if !slices.Equal(got, want) {
		s.fail("%s finds %v, the model %v", key, got, want)
	}
	if strings.Contains(ret, "SAVE") {
		r := s.must("UID FETCH $ (UID)")
		if n := len(r.of("FETCH")) + len(r.of("UIDFETCH")); n != len(want) {
			s.fail("$ has %d messages, want %v", n, want)
		}
	}
}

// key makes a search key and the predicate that it stands for.
func (s *session) key(depth int) (string, func(*mmsg) bool) {
	flag := func(f string) func(*mmsg) bool {
		return func(m *mmsg) bool { v, _ := m.view(s.who); return v[f] }
	}
	switch s.rng.IntN(9) {
	case 0:
		f := pick(s.rng, []string{"SEEN", "FLAGGED", "DELETED", "ANSWERED", "DRAFT"})
		return f, flag(`\` + strings.ToLower(f))
	case 1:
		f := pick(s.rng, []string{"kw1", "kw2", "$Forwarded"})
		return "KEYWORD " + f, flag(strings.ToLower(f))
	case 2:
		n := s.rng.IntN(300)
		return fmt.Sprint("LARGER ", n), func(m *mmsg) bool { return len(m.body) > n }
	case 3:
		n := uint32(1 + s.rng.IntN(40))
		return fmt.Sprintf("UID 1:%d", n), func(m *mmsg) bool { return m.uid <= n }
	case 4:
		w := fmt.Sprint("word", s.rng.IntN(4))
		return "SUBJECT " + w, func(m *mmsg) bool { return strings.Contains(m.body, "Subject: "+w) }
	case 5:
		w := fmt.Sprint("un", s.rng.IntN(10))
		return pick(s.rng, []string{"TEXT ", "BODY "}) + w, func(m *mmsg) bool { return strings.Contains(m.body, w) }
	case 6:
		if depth > 0 {
			k, f := s.key(depth - 1)
			return "NOT " + k, func(m *mmsg) bool { return !f(m) }
		}
	case 7:
		if depth > 0 {
			k, f := s.key(depth - 1)
			l, g := s.key(depth - 1)
			return "OR " + k + " (" + l + ")", func(m *mmsg) bool { return f(m) || g(m) }
		}
	}
	return "ALL", func(*mmsg) bool { return true }
}

// sort checks that SORT and THREAD have each message once.
func (s *session) sort() {
	s.compare()
	if s.box == nil {
		return
	}
	cmd := pick(s.rng, []string{"SORT (ARRIVAL) UTF-8 ALL", "SORT (REVERSE SUBJECT SIZE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL"})
	r := s.must("UID " + cmd)
	if s.m == nil {
		return
	}
	nums := slices.Clone(r.of(cmd[:strings.IndexByte(cmd, ' ')])[0].nums)
	if strings.Contains(cmd, "SIZE") {
		// what has one subject goes by size
		for i := 1; i < len(nums); i++ {
			a, b := s.sel.find(nums[i-1]), s.sel.find(nums[i])
			if a == nil || b == nil {
				s.fail("SORT tells of what is not there: %v", nums)
			}
			x, y := subject(a.body), subject(b.body)
			if x < y || x == y && len(a.body) > len(b.body) {
				s.fail("%d before %d", a.uid, b.uid)
			}
		}
	}
	slices.Sort(nums)
	var want []uint32
	for _, m := range s.sel.msgs {
		want = append(want, m.uid)
	}
	if !slices.Equal(nums, want) {
		s.fail("%s gives %v, want %v", cmd, nums, want)
	}
}

func subject(body string) string {
	_, rest, _ := strings.Cut(body, "Subject: ")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

// manage is CREATE, DELETE, RENAME and SUBSCRIBE of the user's own mailboxes.
func (s *session) manage() {
	name := pick(s.rng, boxNames[1:])
	var b *mbox
	if s.m != nil {
		b = s.m.boxes[s.who+"/"+name]
	}
	switch s.rng.IntN(10) {
	case 0:
		if s.m == nil {
			return // what is lost with a mailbox is not determined
		}
		r := s.do("DELETE " + name)
		if s.expect(r, b, "x") {
			b.gone = true
			delete(s.m.boxes, s.who+"/"+name)
		}
	case 1, 2:
		to := pick(s.rng, boxNames[1:])
		if s.m == nil {
			return
		}
		r := s.do("RENAME " + name + " " + to)
		if b == nil || s.m.boxes[s.who+"/"+to] != nil {
			if r.kind != "NO" {
				s.fail("RENAME: %s", r.raw)
			}
			return
		}
		if !r.ok() {
			s.fail("RENAME: %s", r.raw)
		}
		delete(s.m.boxes, s.who+"/"+name)
		b.name = to
		s.m.boxes[s.who+"/"+to] = b
	case 3:
		s.do(pick(s.rng, []string{"SUBSCRIBE ", "UNSUBSCRIBE "}) + name)
		s.must(`LIST (SUBSCRIBED) "" "*"`)
	case 4:
		s.list()
	default:
		r := s.do("CREATE " + name)
		if s.m == nil {
			return
		}
		if (b != nil) == r.ok() || b != nil && r.code != "ALREADYEXISTS" {
			s.fail("CREATE, there is one: %v: %s", b != nil, r.raw)
		}
		if b == nil {
			s.m.make(s.who, name)
		}
	}
}

// list compares LIST with what the user may look up.
func (s *session) list() {
	r := s.must(`LIST "" "*" RETURN (CHILDREN MYRIGHTS)`)
	if s.m == nil {
		return
	}
	got, want := map[string]bool{}, map[string]bool{}
	for _, u := range r.of("LIST") {
		leaf := u.name[strings.LastIndexByte(u.name, '/')+1:]
		if !slices.Contains(u.words, `\nonexistent`) && !slices.Contains(u.words, `\noselect`) && slices.Contains(boxNames, leaf) {
			got[u.name] = true
		}
	}
	for _, b := range s.m.boxes {
		if b.may(s.who, "l") {
			want[b.called(s.who)] = true
		}
	}
	if !maps.Equal(got, want) {
		s.fail("LIST gives %v, want %v", got, want)
	}
}

// status compares counters.
func (s *session) status() {
	name, b := s.target()
	r := s.do("STATUS " + name + " (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ)")
	s.condstore = s.condstore || r.kind != "BAD" // RFC 7162 §3.1: STATUS of HIGHESTMODSEQ enables it
	if !s.expect(r, b, "r") || s.m == nil {
		return
	}
	var unseen, deleted, size, last uint64
	known := true
	for _, m := range b.msgs {
		v, ok := m.view(s.who)
		known = known && ok
		if !v[`\seen`] {
			unseen++
		}
		if v[`\deleted`] {
			deleted++
		}
		size += uint64(len(m.body))
		last = uint64(m.uid)
	}
	d := r.of("STATUS")[0].data
	if d["MESSAGES"] != uint64(len(b.msgs)) || d["DELETED"] != deleted || d["SIZE"] != size || known && d["UNSEEN"] != unseen || d["UIDNEXT"].(uint64) <= last {
		s.fail("STATUS %v; the model has %d messages, %d unseen, %d deleted, size %d, last %d", d, len(b.msgs), unseen, deleted, size, last)
	}
}

// setACL shares a mailbox of the user's own.
func (s *session) setACL() {
	name := pick(s.rng, boxNames)
	if s.m == nil && name != "A" {
		return
	}
	other := pick(s.rng, userNames)
	if other == s.who {
		return
	}
	rights := pick(s.rng, []string{"lrswipte", "lrs", "l", "lr", "lrsi", "lrswit", ""})
	if s.m == nil {
		rights = "lrswipte"
	}
	r := s.do(fmt.Sprintf("SETACL %s %s@%s %s", name, other, domain, quote(rights)))
	if s.m == nil {
		return
	}
	if b := s.m.boxes[s.who+"/"+name]; s.expect(r, b, "a") {
		b.acl[other] = rights
	}
}

// wait lets the server tell what it has.
func (s *session) wait() {
	switch s.rng.IntN(3) {
	case 0:
		if r := s.idle(func() { time.Sleep(time.Millisecond) }); !r.ok() {
			s.fail("IDLE: %s", r.raw)
		}
	case 1:
		s.must("CHECK")
	default:
		s.must("NOOP")
	}
}

func (s *session) closeBox() {
	s.keep()
	if s.chance(50) || s.m == nil { // CLOSE does not tell what it removes
		s.must("UNSELECT")
	} else {
		s.resolve()
		ro, known := s.box.readOnly, s.known()
		s.must("CLOSE")
		if s.m != nil && !ro && s.sel.may(s.who, "e") {
			s.sel.expunge(known)
		}
	}
	s.sel = nil
}

// learn takes a mailbox of the model from the server, by a session of its owner,
// after an operation whose effect the standards leave open.
func (s *session) learn(b *mbox) {
	c := connect("auditor", s.w.dial()).login(b.owner, "IMAP4rev2")
	defer c.nc.Close()
	c.must("EXAMINE " + quote(b.name))
	was := map[uint32]*mmsg{}
	for _, m := range b.msgs {
		was[m.uid] = m
	}
	b.msgs = nil
	if len(c.box.msgs) > 0 {
		for _, u := range c.must("FETCH 1:* (UID FLAGS BODY.PEEK[])").of("FETCH") {
			m := &mmsg{uid: u.fetch.uid, body: u.fetch.items["BODY[]"], flags: u.fetch.flags, seen: map[string]bool{b.owner: u.fetch.flags[`\seen`]}}
			if o := was[m.uid]; o != nil {
				if o.body != m.body {
					s.fail("message %d has another body", m.uid)
				}
				for who, seen := range o.seen {
					if who != b.owner && who != s.who {
						m.seen[who] = seen
					}
				}
			}
			delete(m.flags, `\seen`)
			b.msgs = append(b.msgs, m)
			b.next = max(b.next, m.uid+1)
		}
	}
}
