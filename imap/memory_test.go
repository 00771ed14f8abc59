package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// memStore is one account in memory: the smallest store that the Session
// interface can stand on, and the proof that it can.
type memStore struct {
	mu    sync.Mutex
	boxes map[string]*memBox
	subs  map[string]bool
	now   time.Time
	valid uint32
	quota int64                                                // largest message; 0 any
	stays func(ctx context.Context, user string) (bool, error) // nil: all do
	memExtras
}

type memBox struct {
	valid    uint32
	next     uint32
	modseq   uint64
	attrs    MailboxAttr
	msgs     []*memMsg
	watchers map[*memSession]func()
	gone     []memKnown // what was expunged, and when
}

type memMsg struct {
	uid      uint32
	flags    Flag
	keywords []string
	modseq   uint64
	date     time.Time
	body     []byte
}

func newMemStore(boxes ...string) *memStore {
	s := &memStore{boxes: map[string]*memBox{}, subs: map[string]bool{}, valid: 100,
		now: time.Date(2026, 11, 21, 12, 30, 5, 0, time.FixedZone("", 3600))}
	for _, b := range append([]string{"INBOX"}, boxes...) {
		s.add(b, 0)
	}
	return s
}

func (s *memStore) add(name string, attrs MailboxAttr) *memBox {
	s.valid++
	b := &memBox{valid: s.valid, next: 1, modseq: 1, attrs: attrs, watchers: map[*memSession]func(){}}
	s.boxes[name] = b
	return b
}

// put adds a message the way delivery does.
func (s *memStore) put(box, body string, f Flag, keywords ...string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[box]
	uid := b.put(&memMsg{flags: f, keywords: keywords, date: s.now, body: []byte(body)})
	b.notify()
	return uid
}

func (b *memBox) put(m *memMsg) uint32 {
	b.modseq++
	m.uid, m.modseq = b.next, b.modseq
	b.next++
	b.msgs = append(b.msgs, m)
	return m.uid
}

func (b *memBox) notify() {
	for _, w := range b.watchers {
		w()
	}
}

func (b *memBox) byUID(uid uint32) *memMsg {
	i, ok := slices.BinarySearchFunc(b.msgs, uid, func(m *memMsg, u uint32) int { return int(m.uid) - int(u) })
	if !ok {
		return nil
	}
	return b.msgs[i]
}

func (b *memBox) keywords() []string {
	set := map[string]bool{}
	for _, m := range b.msgs {
		for _, k := range m.keywords {
			set[k] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

type memSession struct {
	Session // what this store does not have
	store   *memStore
	user    string
	box     *memBox
	ro      bool
	known   []memKnown // by sequence number
	panic   bool
}

type memKnown struct {
	uid    uint32
	modseq uint64
}

func (s *memStore) session(context.Context, *ConnInfo) (Session, error) {
	return &memSession{store: s}, nil
}

func (s *memSession) auth() *sasl.Authenticator {
	return &sasl.Authenticator{Password: func(_ context.Context, c sasl.Credentials) (string, error) {
		if c.User == "ann" && c.Password == "secret" {
			return "ann@example.org", nil
		}
		return "", postino.E(postino.Denied, "log in", c.User, nil)
	}}
}

func (s *memSession) Mechanisms() []string { return s.auth().Mechanisms() }
func (s *memSession) Login(ctx context.Context, user, password string) error {
	id, err := s.auth().Password(ctx, sasl.Credentials{User: user, Password: password})
	if err != nil {
		return err
	}
	return s.Bind(ctx, id)
}
func (s *memSession) Authenticate(_ context.Context, mech string) (Exchange, error) {
	return s.auth().Start(mech)
}
func (s *memSession) Bind(_ context.Context, identity string) error { s.user = identity; return nil }
func (s *memSession) Stays(ctx context.Context) (bool, error) {
	if s.store.stays == nil {
		return true, nil
	}
	return s.store.stays(ctx, s.user)
}
func (s *memSession) User() string { return s.user }
func (s *memSession) Close() error { s.Watch(nil); return nil }

func (s *memSession) lock() func() {
	s.store.mu.Lock()
	return s.store.mu.Unlock
}

func notFound(name string) error { return postino.E(postino.NotFound, "open mailbox", name, nil) }

func (s *memSession) Namespaces(context.Context) (*Namespaces, error) {
	return &Namespaces{Personal: []Namespace{{Prefix: ""}}}, nil
}

func (s *memSession) Mailboxes(context.Context) ([]Mailbox, error) {
	defer s.lock()()
	var out []Mailbox
	for name, b := range s.store.boxes {
		out = append(out, Mailbox{Name: name, Attrs: b.attrs, Subscribed: s.store.subs[name]})
	}
	for name := range s.store.subs {
		if s.store.boxes[name] == nil {
			out = append(out, Mailbox{Name: name, Attrs: AttrNonExistent, Subscribed: true})
		}
	}
	return out, nil
}

func (s *memSession) Status(_ context.Context, name string, _ StatusItem) (*StatusData, error) {
	defer s.lock()()
	b := s.store.boxes[name]
	if b == nil {
		return nil, notFound(name)
	}
	d := &StatusData{Messages: uint32(len(b.msgs)), UIDNext: b.next, UIDValidity: b.valid, HighestModSeq: b.modseq,
		MailboxID: s.store.id(b)}
	for _, m := range b.msgs {
		d.Size += int64(len(m.body))
		if m.flags&Seen == 0 {
			d.Unseen++
		}
		if m.flags&Deleted != 0 {
			d.Deleted++
			d.DeletedStorage += int64(len(m.body))
		}
	}
	return d, nil
}

func (s *memSession) Create(_ context.Context, req CreateRequest) (*CreateData, error) {
	defer s.lock()()
	if s.store.boxes[req.Mailbox] != nil {
		return nil, postino.E(postino.Conflict, "create mailbox", req.Mailbox, nil)
	}
	b := s.store.add(req.Mailbox, req.SpecialUse)
	return &CreateData{MailboxID: s.store.id(b)}, nil
}

func (s *memSession) Delete(_ context.Context, name string) error {
	defer s.lock()()
	if s.store.boxes[name] == nil {
		return notFound(name)
	}
	for other := range s.store.boxes {
		if strings.HasPrefix(other, name+"/") {
			return &Error{Code: "HASCHILDREN", Text: "There are mailboxes below"}
		}
	}
	delete(s.store.boxes, name)
	return nil
}

func (s *memSession) Rename(_ context.Context, from, to string) error {
	defer s.lock()()
	if s.store.boxes[from] == nil {
		return notFound(from)
	}
	if s.store.boxes[to] != nil {
		return postino.E(postino.Conflict, "rename mailbox", to, nil)
	}
	for name, b := range s.store.boxes {
		if name == from || strings.HasPrefix(name, from+"/") {
			delete(s.store.boxes, name)
			s.store.boxes[to+name[len(from):]] = b
		}
	}
	if from == "INBOX" {
		s.store.add("INBOX", 0)
	}
	return nil
}

func (s *memSession) Subscribe(_ context.Context, name string) error {
	defer s.lock()()
	s.store.subs[name] = true
	return nil
}

func (s *memSession) Unsubscribe(_ context.Context, name string) error {
	defer s.lock()()
	delete(s.store.subs, name)
	return nil
}

type memAppender struct {
	s    *memSession
	box  *memBox
	req  AppendRequest
	msgs []*memMsg
	bufs []*bytes.Buffer
}

func (s *memSession) Append(_ context.Context, req AppendRequest) (Appender, error) {
	defer s.lock()()
	b := s.store.boxes[req.Mailbox]
	if b == nil {
		return nil, notFound(req.Mailbox)
	}
	return &memAppender{s: s, box: b, req: req}, nil
}

func (a *memAppender) Message(_ context.Context, m AppendMessage) (io.Writer, error) {
	if q := a.s.store.quota; q > 0 && m.Size > q {
		return nil, postino.E(postino.Full, "append", "", nil)
	}
	if m.Date.IsZero() {
		m.Date = a.s.store.now
	}
	a.msgs = append(a.msgs, &memMsg{flags: m.Flags, keywords: m.Keywords, date: m.Date})
	a.bufs = append(a.bufs, new(bytes.Buffer))
	return a.bufs[len(a.bufs)-1], nil
}

func (a *memAppender) Commit(context.Context) (*AppendData, error) {
	defer a.s.lock()()
	if err := a.s.replaced(a.req.Replace); err != nil {
		return nil, err
	}
	d := &AppendData{UIDValidity: a.box.valid}
	for i, m := range a.msgs {
		m.body = a.bufs[i].Bytes()
		d.UIDs = AppendRange(d.UIDs, a.box.put(m))
	}
	a.box.notify()
	return d, nil
}

func (a *memAppender) Abort() {}

func (s *memSession) Select(_ context.Context, req SelectRequest) (*SelectData, error) {
	defer s.lock()()
	b := s.store.boxes[req.Mailbox]
	if b == nil {
		return nil, notFound(req.Mailbox)
	}
	s.box, s.ro, s.known = b, req.ReadOnly, nil
	d := &SelectData{Name: req.Mailbox, Attrs: b.attrs, Messages: uint32(len(b.msgs)), UIDNext: b.next, UIDValidity: b.valid,
		HighestModSeq: b.modseq, Keywords: b.keywords(), Permanent: allFlags, NewKeywords: true, MailboxID: s.store.id(b)}
	for i, m := range b.msgs {
		s.known = append(s.known, memKnown{m.uid, m.modseq})
		if m.flags&Seen == 0 && d.FirstUnseen == 0 {
			d.FirstUnseen = uint32(i + 1)
		}
	}
	return d, nil
}

func (s *memSession) Unselect(context.Context) error {
	s.Watch(nil)
	s.box, s.known = nil, nil
	return nil
}

// resolve returns the sequence numbers that a set names, ascending.
func (s *memSession) resolve(set NumSet) ([]uint32, error) {
	n := uint32(len(s.known))
	top := n
	if set.UID {
		if top = s.box.next - 1; n > 0 {
			top = s.known[n-1].uid
		}
	}
	hit := make([]bool, n)
	for _, r := range set.Ranges {
		lo, hi := r.Resolve(top)
		if !set.UID && (hi > n || lo == 0) {
			return nil, &Error{Bad: true, Text: "No such message"}
		}
		for i, k := range s.known {
			v := uint32(i + 1)
			if set.UID {
				v = k.uid
			}
			hit[i] = hit[i] || lo <= v && v <= hi
		}
	}
	var seqs []uint32
	for i, h := range hit {
		if h {
			seqs = append(seqs, uint32(i+1))
		}
	}
	return seqs, nil
}

func (s *memSession) Fetch(_ context.Context, w *FetchWriter, req FetchRequest) error {
	if s.panic {
		panic("asked for")
	}
	if req.Vanished {
		w.Vanished(s.vanished(req.Set, req.ChangedSince))
	}
	unlock := s.lock()
	seqs, err := s.resolve(req.Set)
	var msgs []memMsg // a page: copied, then written without the lock
	kept := seqs[:0]
	gone := false
	for _, seq := range seqs {
		m := s.box.byUID(s.known[seq-1].uid)
		if m == nil {
			gone = true
			continue
		}
		if m.modseq <= req.ChangedSince {
			continue
		}
		c := *m
		if req.MarkSeen && m.flags&Seen == 0 {
			s.box.modseq++
			m.flags, m.modseq = m.flags|Seen, s.box.modseq
			c = *m
			s.known[seq-1].modseq = m.modseq
			c.flags |= 1 << 7 // tells below that it is new
			s.box.notify()
		}
		msgs, kept = append(msgs, c), append(kept, seq)
	}
	unlock()
	if err != nil {
		return err
	}
	for i := range msgs {
		m := &msgs[i]
		w.Begin(kept[i], m.uid)
		if req.Items&FetchUID != 0 {
			w.UID(m.uid)
		}
		if req.Items&FetchFlags != 0 || m.flags>>7 != 0 {
			w.Flags(m.flags&allFlags, m.keywords)
		}
		if req.Items&(FetchModSeq|FetchFlags) != 0 || m.flags>>7 != 0 {
			w.ModSeq(m.modseq)
		}
		if req.Items&FetchInternalDate != 0 {
			w.InternalDate(m.date)
		}
		if req.Items&FetchSize != 0 {
			w.Size(int64(len(m.body)))
		}
		if req.Items&FetchEnvelope != 0 {
			w.Envelope([]byte(`(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`))
		}
		structure := fmt.Appendf(nil, `("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" %d 1)`, len(m.body))
		if req.Items&FetchBody != 0 {
			w.Body(structure)
		}
		if req.Items&FetchBodyStructure != 0 {
			w.BodyStructure(structure)
		}
		m.objects(w, &req)
		for j := range req.Sections {
			if err := m.section(w, &req.Sections[j]); err != nil {
				return err
			}
		}
		if err := w.End(); err != nil {
			return err
		}
	}
	if gone {
		return ErrExpungeIssued
	}
	return nil
}

func (m *memMsg) section(w *FetchWriter, s *Section) error {
	header, body, _ := bytes.Cut(m.body, []byte("\r\n\r\n"))
	header = append(slices.Clip(header), "\r\n\r\n"...)
	out := m.body
	switch {
	case len(s.Path) > 1 || len(s.Path) == 1 && s.Path[0] != 1:
		w.SectionNil(s)
		return nil
	case s.Text == SectionBodyText || len(s.Path) == 1 && s.Text == SectionAll:
		out = body
	case s.Text == SectionHeaderFields || s.Text == SectionHeaderFieldsNot:
		out = nil
		for line := range strings.Lines(string(header)) {
			name, _, _ := strings.Cut(line, ":")
			in := slices.ContainsFunc(s.Fields, func(f string) bool { return strings.EqualFold(f, name) })
			if line == "\r\n" || in == (s.Text == SectionHeaderFields) {
				out = append(out, line...)
			}
		}
	case s.Text != SectionAll:
		out = header
	}
	if s.Kind == BinarySizeSection {
		w.BinarySize(s, int64(len(out)))
		return nil
	}
	off, n := s.Clip(int64(len(out)))
	if s.Kind == BinarySection {
		return w.SectionBytes(s, out[off:off+n])
	}
	return w.Section(s, n, bytes.NewReader(out[off:]))
}

func (s *memSession) Store(_ context.Context, w *UpdateWriter, req StoreRequest) (*StoreData, error) {
	type result struct {
		seq uint32
		m   memMsg
	}
	unlock := s.lock()
	seqs, err := s.resolve(req.Set)
	if err != nil {
		unlock()
		return nil, err
	}
	d, gone := &StoreData{}, false
	var done []result
	for _, seq := range seqs {
		m := s.box.byUID(s.known[seq-1].uid)
		if m == nil {
			gone = true
			continue
		}
		if req.Conditional && m.modseq > req.UnchangedSince {
			num := seq
			if req.UID {
				num = m.uid
			}
			d.Modified = AppendRange(d.Modified, num)
			continue
		}
		s.box.modseq++
		m.modseq = s.box.modseq
		switch req.Op {
		case StoreReplace:
			m.flags, m.keywords = req.Flags, slices.Clone(req.Keywords)
		case StoreAdd:
			m.flags |= req.Flags
			for _, k := range req.Keywords {
				if !slices.Contains(m.keywords, k) {
					m.keywords = append(m.keywords, k)
				}
			}
		case StoreRemove:
			m.flags &^= req.Flags
			m.keywords = slices.DeleteFunc(slices.Clone(m.keywords), func(k string) bool { return slices.Contains(req.Keywords, k) })
		}
		s.known[seq-1].modseq = m.modseq
		done = append(done, result{seq, *m})
	}
	s.box.notify()
	unlock()
	for _, r := range done {
		w.Flags(r.seq, r.m.uid, r.m.modseq, r.m.flags, r.m.keywords)
	}
	if gone {
		return d, ErrExpungeIssued
	}
	return d, w.Err()
}

func (s *memSession) transfer(set NumSet, to string, move bool) (*CopyData, error) {
	defer s.lock()()
	dst := s.store.boxes[to]
	if dst == nil {
		return nil, notFound(to)
	}
	seqs, err := s.resolve(set)
	if err != nil {
		return nil, err
	}
	d := &CopyData{UIDValidity: dst.valid}
	for _, seq := range seqs {
		m := s.box.byUID(s.known[seq-1].uid)
		if m == nil {
			continue
		}
		c := *m
		d.Source = AppendRange(d.Source, m.uid)
		d.Dest = AppendRange(d.Dest, dst.put(&c))
		if move {
			s.box.remove(m.uid)
		}
	}
	dst.notify()
	s.box.notify()
	if move && len(d.Source) > 0 {
		d.HighestModSeq = s.box.modseq
	}
	return d, nil
}

func (b *memBox) remove(uid uint32) {
	b.modseq++
	b.gone = append(b.gone, memKnown{uid, b.modseq})
	b.msgs = slices.DeleteFunc(b.msgs, func(m *memMsg) bool { return m.uid == uid })
}

func (s *memSession) Copy(_ context.Context, set NumSet, to string) (*CopyData, error) {
	return s.transfer(set, to, false)
}

func (s *memSession) Move(_ context.Context, set NumSet, to string) (*CopyData, error) {
	return s.transfer(set, to, true)
}

func (s *memSession) Expunge(_ context.Context, uids *NumSet) (*ExpungeData, error) {
	defer s.lock()()
	d := &ExpungeData{}
	for _, m := range slices.Clone(s.box.msgs) {
		if m.flags&Deleted != 0 && (uids == nil || uids.Contains(m.uid, s.box.next-1)) {
			s.box.remove(m.uid)
			d.HighestModSeq = s.box.modseq
		}
	}
	s.box.notify()
	return d, nil
}

func (s *memSession) Search(ctx context.Context, req SearchRequest) (*SearchData, error) {
	defer s.lock()()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	d := NewSearchData(&req)
	var found memResults
	for i, k := range s.known {
		m := s.box.byUID(k.uid)
		if m == nil {
			continue
		}
		ok, err := s.matches(&req.Key, m, uint32(i+1))
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, memFound{uint32(i + 1), m})
		}
	}
	found.deliver(&req, d)
	return d, nil
}

func (s *memSession) matches(k *SearchKey, m *memMsg, seq uint32) (bool, error) {
	has := func(in string) bool { return strings.Contains(strings.ToLower(in), strings.ToLower(k.Text)) }
	header, body, _ := strings.Cut(string(m.body), "\r\n\r\n")
	field := func(name string) bool {
		for line := range strings.SplitSeq(header, "\r\n") {
			if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) && has(v) {
				return true
			}
		}
		return false
	}
	day := m.date.Truncate(24 * time.Hour)
	switch k.Op {
	case SearchAll:
		return true, nil
	case SearchAnd, SearchOr, SearchNot:
		for i := range k.Keys {
			ok, err := s.matches(&k.Keys[i], m, seq)
			if err != nil {
				return false, err
			}
			if k.Op == SearchNot {
				return !ok, nil
			}
			if ok == (k.Op == SearchOr) {
				return ok, nil
			}
		}
		return k.Op == SearchAnd, nil
	case SearchSet:
		if n := len(s.known); k.Set.UID {
			return k.Set.Contains(m.uid, s.known[n-1].uid), nil
		} else {
			return k.Set.Contains(seq, uint32(n)), nil
		}
	case SearchFlag:
		return m.flags&k.Flag != 0, nil
	case SearchKeyword:
		return slices.ContainsFunc(m.keywords, func(w string) bool { return strings.EqualFold(w, k.Text) }), nil
	case SearchHeader:
		return field(k.Header), nil
	case SearchFrom:
		return field("From"), nil
	case SearchTo:
		return field("To"), nil
	case SearchCc:
		return field("Cc"), nil
	case SearchBcc:
		return field("Bcc"), nil
	case SearchSubject:
		return field("Subject"), nil
	case SearchBody:
		return has(body), nil
	case SearchText:
		return has(string(m.body)), nil
	case SearchBefore, SearchSentBefore:
		return day.Before(k.Date), nil
	case SearchOn, SearchSentOn:
		return day.Equal(k.Date), nil
	case SearchSince, SearchSentSince:
		return !day.Before(k.Date), nil
	case SearchLarger:
		return int64(len(m.body)) > k.Size, nil
	case SearchSmaller:
		return int64(len(m.body)) < k.Size, nil
	case SearchModSeq:
		return m.modseq >= k.ModSeq, nil
	}
	return s.matchesMore(k, m, seq)
}

func (s *memSession) Poll(_ context.Context, w *UpdateWriter, expunge bool) error {
	if w.Others() {
		return nil
	}
	var news []func() // written without the lock
	unlock := s.lock()
	known := s.known[:0]
	for _, k := range s.known {
		m, seq, uid := s.box.byUID(k.uid), uint32(len(known)+1), k.uid
		if m == nil && expunge {
			news = append(news, func() { w.Expunge(seq, uid) })
			continue
		}
		if m != nil && m.modseq > k.modseq {
			k.modseq = m.modseq
			c := *m
			news = append(news, func() { w.Flags(seq, uid, c.modseq, c.flags, c.keywords) })
		}
		known = append(known, k)
	}
	last, before := uint32(0), len(known)
	if before > 0 {
		last = known[before-1].uid
	}
	for _, m := range s.box.msgs {
		if m.uid > last {
			known = append(known, memKnown{m.uid, m.modseq})
		}
	}
	if n := uint32(len(known)); len(known) > before {
		news = append(news, func() { w.Exists(n) })
	}
	s.known = known
	unlock()
	for _, tell := range news {
		tell()
	}
	return w.Err()
}

func (s *memSession) Watch(changed func()) {
	if s.box == nil {
		return
	}
	defer s.lock()()
	if changed == nil {
		delete(s.box.watchers, s)
		return
	}
	s.box.watchers[s] = changed
}
