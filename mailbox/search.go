package mailbox

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

// Op is what a [Query] asks.
type Op uint8

// The keys of a search (RFC 9051 §6.4.4, RFC 5032, RFC 7162 §3.1.5, RFC 8474
// §6, RFC 8514 §4.3).
const (
	OpAll     Op = iota
	OpAnd        // all of Subs; none matches all
	OpOr         // one of Subs
	OpNot        // not Subs[0]
	OpSeq        // Set: sequence numbers
	OpUID        // Set
	OpFlag       // all of Flags
	OpKeyword    // Keyword
	OpLarger     // more than N octets
	OpSmaller    // less than N octets
	OpBefore     // internal date before the day Date
	OpOn         // internal date within the day Date
	OpSince      // internal date within the day Date or later
	OpSavedBefore
	OpSavedOn
	OpSavedSince
	OpSentBefore // Date field, in its own zone
	OpSentOn
	OpSentSince
	OpYounger // internal date less than N seconds before the moment Date
	OpOlder   // internal date N seconds or more before the moment Date
	OpModSeq  // mod-sequence N or greater
	OpEmail   // N
	OpThread  // N
	OpSubject // Text within the field
	OpFrom
	OpTo
	OpCc
	OpBcc
	OpHeader // Text within a field named Field; empty Text: there is such a field
	OpBody   // Text within the bodies
	OpText   // Text within the headers or the bodies
	OpFuzzy  // Subs[0], its texts taken loosely (RFC 6203)
)

// Query is a search: a tree of keys. Texts are found as substrings by the
// Collation of the root, without regard to case unless it says otherwise; what
// the keys below the root have there counts for nothing.
type Query struct {
	Op                   Op
	Subs                 []*Query
	Set                  Ranges
	Flags                Flags
	Keyword, Field, Text string
	Date                 int64 // 00:00 UTC of a day, or a moment, in Unix seconds
	N                    uint64
	Collation            Collation
}

// answer is what is known about a message and a key.
type answer uint8

const (
	no answer = iota
	yes
	unknown // until more is read
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// The sources that keys need, each much dearer than the one before.
const (
	fromColumns = iota // memory
	fromIndex          // segments, see index_search.go
	fromSummary        // one small row for each message
	fromText           // the message
)

// key is a Query made ready.
type key struct {
	*Query
	subs   []*key
	cost   int // the dearest source that it needs
	bit    int // of a keyword, -1: nobody has it
	day    int64
	needle []byte // folded, as summaries are
	// folded is the matcher for needle; matcher is the one of the collation, which
	// finds nothing where folded finds nothing.
	folded    *message.Matcher
	matcher   textMatcher
	collation Collation
	columns   bool         // some key below looks at columns
	lookup    *indexLookup // nil when the index cannot tell
	loose     []looseWord  // below OpFuzzy
	textLimit int          // Limits.IndexText
}

// subject is a message that is being matched; what its source has not
// supplied is nil.
type subject struct {
	index    int
	row      Row
	segment  int    // of an indexed, from 1; 0 when in none
	distance uint32 // in the segment
	summary  *folded
	text     *source
}

// close closes the text.
func (m *subject) close() {
	if m.text != nil && m.text.closer != nil {
		m.text.closer.Close()
	}
	m.text = nil
}

// folded is what searching uses of a stored Summary; slices of the row.
type folded struct {
	fields    [5][]byte // Subject, From, To, Cc, Bcc
	sent      int64
	zone      int64
	cut       bool
	messageID []byte
}

func decodeFolded(b []byte) (f folded, err error) {
	d := decoder{b: b}
	if err := d.version(summaryVersion, "message summary"); err != nil {
		return f, err
	}
	for i := range f.fields {
		f.fields[i] = d.bytes()
	}
	f.sent, f.zone = d.varint(), d.varint()
	f.cut = d.byte()&1 != 0
	d.bytes()
	f.messageID = d.bytes()
	if d.bad {
		return f, corrupt("message summary")
	}
	return f, nil
}

// source is a message whose octets can be read.
type source struct {
	index  *message.Index
	prefix []byte
	blob   io.ReaderAt
	octets []byte // of blob, when they are in memory
	closer io.Closer
}

// Search returns the indexes in s of the messages that match q, ascending.
// First every message is judged by its columns; what they leave open by the
// index; what that leaves open by the stored summaries; what these leave open by
// reading the messages. Invalid
// when q is too deep or has too many keys. No lock and no transaction is held
// beyond one page of messages; ctx ends the search.
func (a *Account) Search(ctx context.Context, s *Snapshot, q *Query) ([]int, error) {
	_, _, found, err := a.search(ctx, s, q)
	return found, err
}

func (a *Account) search(ctx context.Context, s *Snapshot, q *Query) (root *key, x *indexed, found []int, err error) {
	if err := a.mayUse(s); err != nil {
		return nil, nil, nil, err
	}
	nodes := 0
	root, err = a.s.prepare(s, q, q.Collation, 1, &nodes)
	if err != nil {
		return nil, nil, nil, err
	}
	var open []int
	found, open, err = s.scanColumns(ctx, root)
	if err != nil {
		return nil, nil, nil, err
	}
	if root.cost > fromColumns && (open == nil && !root.columns || len(open) > 0) {
		var sure []int
		if x, sure, open, err = a.decide(ctx, s, root, open); err != nil {
			return nil, nil, nil, err
		}
		found = append(found, sure...)
	}
	for source := fromSummary; source <= root.cost && len(open) > 0; source++ {
		sure, left, err := a.narrow(ctx, s, x, root, open, source)
		if err != nil {
			return nil, nil, nil, err
		}
		found, open = append(found, sure...), left
	}
	slices.Sort(found)
	return root, x, found, nil
}

// scanColumns judges all messages by their columns. Of a search without a key
// that looks at columns nothing is found and nothing listed: all are open.
func (s *Snapshot) scanColumns(ctx context.Context, root *key) (found, open []int, err error) {
	if !root.columns {
		return nil, nil, nil
	}
	for i, row := range s.Rows(0, s.Len()) {
		if i&0xfff == 0 && ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		sub := subject{index: i, row: row}
		switch root.match(&sub) {
		case yes:
			found = append(found, i)
		case unknown:
			open = append(open, i)
		}
	}
	return found, open, nil
}

// narrow judges the messages in open by a source and returns those that match
// and those that are still open.
func (a *Account) narrow(ctx context.Context, s *Snapshot, x *indexed, root *key, open []int, from int) (found, left []int, err error) {
	err = a.eachSubject(ctx, s, x, open, from, func(n int, m *subject) {
		switch root.match(m) {
		case yes:
			found = append(found, open[n])
		case unknown:
			left = append(left, open[n])
		}
	})
	return found, left, err
}

// eachSubject calls fn for messages, by their places in the list, with what a
// source and those before it supply, until fn returns. Messages that were swept, or
// whose octets do not verify, are passed over: they do not match what only they
// could tell.
func (a *Account) eachSubject(ctx context.Context, s *Snapshot, x *indexed, messages []int, from int, fn func(n int, m *subject)) error {
	want, size := WantSummary, 2048
	if from == fromText {
		want, size = WantSummary|WantRow|WantIndex|WantBody, 64
	}
	ctx, cancel := context.WithCancel(ctx)
	next := a.readPages(ctx, s, messages, want, size)
	tell := progressOf(ctx)
	var m subject
	defer func() {
		m.close()
		cancel()
		for range next { // the reading has ended when it is closed
		}
	}()
	var f folded
	n := 0
	for page := range next {
		if page.panicked != nil {
			panic(page.panicked) // it ends the caller only
		}
		if page.err != nil {
			return page.err
		}
		p := page.pager
		for k := range p.slots {
			if err := ctx.Err(); err != nil {
				return err
			}
			if from == fromText || k == 0 {
				tell(n, len(messages))
			}
			i := messages[n]
			m = subject{index: i, row: s.Row(i), segment: m.segment}
			x.place(&m, m.row.Email)
			if there, err := a.supply(ctx, &m, &f, p, &p.slots[k], from); err != nil {
				return err
			} else if there {
				fn(n, &m)
			}
			m.close()
			n++
		}
		p.release()
	}
	return ctx.Err()
}

// readPage is a page of messages, or why it could not be read.
type readPage struct {
	pager    *pager
	err      error
	panicked any
}

// readPages reads messages by pages, each while the one before is judged: finding
// and unpacking rows takes about as long as looking at them.
func (a *Account) readPages(ctx context.Context, s *Snapshot, messages []int, want Want, size int) <-chan readPage {
	pages := make(chan readPage)
	go func() {
		defer close(pages)
		send := func(page readPage) bool {
			select {
			case pages <- page:
				return page.err == nil
			case <-ctx.Done():
				return false
			}
		}
		defer func() {
			if v := recover(); v != nil {
				send(readPage{panicked: v})
			}
		}()
		ids := make([]EmailID, 0, size)
		for page := range slices.Chunk(messages, size) {
			ids = ids[:0]
			for _, i := range page {
				ids = append(ids, s.Email(i))
			}
			p := newPager(a, want)
			err := a.s.view(ctx, a.id, func(r kv.Reader) error { return p.read(r, ids) })
			if !send(readPage{pager: p, err: err}) {
				return
			}
		}
	}()
	return pages
}

// supply fills m from the rows in a slot, with f, and opens the text; false when the
// message is not there.
func (a *Account) supply(ctx context.Context, m *subject, f *folded, p *pager, slot *slot, from int) (bool, error) {
	if slot.summary.end == 0 {
		return false, nil
	}
	var err error
	if *f, err = decodeFolded(p.bytes(slot.summary)); err != nil {
		return false, err
	}
	m.summary = f
	if from == fromText && slot.row.end != 0 && slot.index.end != 0 {
		if m.text, err = a.s.source(ctx, p, slot); err != nil {
			a.s.observeFailure("search message", a.id, err)
			return false, ctx.Err()
		}
	}
	return true, nil
}

// prepare checks a query and makes it ready for a snapshot.
func (s *Store) prepare(snap *Snapshot, q *Query, c Collation, depth int, nodes *int) (*key, error) {
	if *nodes++; depth > s.limits.QueryDepth || *nodes > s.limits.QueryNodes {
		return nil, postino.E(postino.Invalid, "search", "query too large", nil)
	}
	k := &key{Query: q, day: q.Date, collation: c, textLimit: s.limits.IndexText, columns: q.Op < OpSubject && (len(q.Subs) == 0 || q.Op > OpNot)}
	for _, sub := range q.Subs {
		below, err := s.prepare(snap, sub, c, depth+1, nodes)
		if err != nil {
			return nil, err
		}
		k.subs = append(k.subs, below)
		k.cost = max(k.cost, below.cost)
		k.columns = k.columns || below.columns
	}
	// Cheap keys first: they spare the others.
	slices.SortStableFunc(k.subs, func(a, b *key) int { return a.cost - b.cost })
	switch q.Op {
	case OpNot:
		if len(q.Subs) != 1 {
			return nil, postino.E(postino.Invalid, "search", "NOT", nil)
		}
	case OpFuzzy:
		if len(q.Subs) != 1 {
			return nil, postino.E(postino.Invalid, "search", "FUZZY", nil)
		}
		k.loosen()
		k.cost = k.subs[0].cost
	case OpKeyword:
		k.bit = snap.row.keyword(q.Keyword)
	case OpSentBefore, OpSentOn, OpSentSince:
		k.cost, k.columns = fromSummary, false
	case OpSubject, OpFrom, OpTo, OpCc, OpBcc, OpHeader, OpBody, OpText:
		k.text()
	}
	return k, nil
}

// fieldOps are the fields that are in summaries.
var fieldOps = [...]string{"subject", "from", "to", "cc", "bcc"}

// text prepares a key that looks for a text. Its cost is the dearest source
// that it may need.
func (k *key) text() {
	k.folded = message.NewMatcher(k.Text)
	k.matcher = k.folded
	if k.collation != UnicodeCasemap {
		k.matcher = k.collation.matcher(k.Text)
	}
	k.needle = message.Fold(nil, []byte(k.Text))
	k.cost = fromText
	if k.Op == OpHeader && len(k.needle) > 0 {
		for i, name := range fieldOps {
			if strings.EqualFold(k.Field, name) {
				q := *k.Query
				q.Op = OpSubject + Op(i)
				k.Query = &q
			}
		}
	}
	if k.Op >= OpSubject && k.Op <= OpBcc && k.Field == "" {
		k.Query = &Query{Op: k.Op, Text: k.Text, Field: fieldOps[k.Op-OpSubject]}
	}
	k.prepareLookup()
}

const daySeconds = 24 * 3600

// within compares a moment with the day of a key: op counts from the BEFORE of
// its family.
func (k *key) within(at int64, op Op) answer {
	switch op {
	case 0:
		return answerOf(at < k.day)
	case 1:
		return answerOf(at >= k.day && at < k.day+daySeconds)
	}
	return answerOf(at >= k.day)
}

// match tells whether a message matches, as far as its sources tell.
func (k *key) match(m *subject) answer {
	r := &m.row
	switch k.Op {
	case OpAll:
		return yes
	case OpAnd:
		return k.all(m)
	case OpOr:
		return k.any(m)
	case OpNot:
		switch k.subs[0].match(m) {
		case yes:
			return no
		case no:
			return yes
		}
		return unknown
	case OpFuzzy:
		return k.subs[0].match(m)
	case OpSeq:
		return answerOf(k.Set.Contains(UID(m.index + 1)))
	case OpUID:
		return answerOf(k.Set.Contains(r.UID))
	case OpFlag:
		return answerOf(r.Flags.System()&k.Flags == k.Flags)
	case OpKeyword:
		return answerOf(k.bit >= 0 && r.Flags.Has(k.bit))
	case OpLarger:
		return answerOf(uint64(r.Size) > k.N)
	case OpSmaller:
		return answerOf(uint64(r.Size) < k.N)
	case OpBefore, OpOn, OpSince:
		return k.within(r.Date, k.Op-OpBefore)
	case OpSavedBefore, OpSavedOn, OpSavedSince:
		return k.within(r.Saved, k.Op-OpSavedBefore)
	case OpYounger:
		return answerOf(r.Date > k.Date-int64(k.N))
	case OpOlder:
		return answerOf(r.Date <= k.Date-int64(k.N))
	case OpModSeq:
		return answerOf(uint64(r.ModSeq) >= k.N)
	case OpEmail:
		return answerOf(uint64(r.Email) == k.N)
	case OpThread:
		return answerOf(uint64(r.Thread) == k.N)
	}
	if a := k.asked(m); a != unknown {
		return a
	}
	return k.matchStored(m)
}

func (k *key) all(m *subject) answer {
	result := yes
	for _, sub := range k.subs {
		switch sub.match(m) {
		case no:
			return no
		case unknown:
			result = unknown
		}
	}
	return result
}

func (k *key) any(m *subject) answer {
	result := no
	for _, sub := range k.subs {
		switch sub.match(m) {
		case yes:
			return yes
		case unknown:
			result = unknown
		}
	}
	return result
}

// matchStored matches keys that need more than columns.
func (k *key) matchStored(m *subject) answer {
	f := m.summary
	if f == nil {
		return unknown
	}
	if k.loose != nil {
		score, known := k.looseScore(m)
		if !known {
			return unknown
		}
		return answerOf(score > 0)
	}
	switch k.Op {
	case OpSentBefore, OpSentOn, OpSentSince:
		if f.sent == 0 {
			return no
		}
		return k.within(f.sent+f.zone, k.Op-OpSentBefore)
	case OpSubject, OpFrom, OpTo, OpCc, OpBcc:
		found := bytes.Contains(f.fields[k.Op-OpSubject], k.needle)
		if found && k.collation == UnicodeCasemap {
			return yes
		}
		if !found && !f.cut {
			return no
		}
	case OpHeader:
		if k.collation == UnicodeCasemap && strings.EqualFold(k.Field, "message-id") && len(f.messageID) > 0 {
			id := append(append(append(make([]byte, 0, 128), '<'), f.messageID...), '>')
			return answerOf(bytes.Contains(message.Fold(make([]byte, 0, 128), id), k.needle))
		}
	}
	if m.text == nil {
		return unknown
	}
	return answerOf(k.matchText(m.text))
}

// matchText matches keys that need the octets of the message.
func (k *key) matchText(t *source) bool {
	var scope message.TextScope
	switch k.Op {
	case OpBody:
		scope = message.TextBody
	case OpText:
		scope = message.TextAll
		if k.matchPrefix(t.prefix) {
			return true
		}
	default:
		return k.matchField(t.prefix) || k.matchField(t.header())
	}
	if t.octets != nil && k.folded.Excludes(t.index, t.octets) {
		return false
	}
	for text := range t.index.Texts(t.blob, scope) {
		if ok, err := k.matcher.Match(text); err == nil && ok {
			return true
		}
	}
	return false
}

// maxHeader is how much of a header is searched for a field.
const maxHeader = 1 << 20

// header reads the top-level header.
func (t *source) header() []byte {
	if len(t.index.Parts) == 0 {
		return nil
	}
	b := make([]byte, min(t.index.Parts[0].BodyStart, maxHeader))
	n, _ := t.blob.ReadAt(b, 0)
	return b[:n]
}

// matchField tells whether a header has the field with the text.
func (k *key) matchField(header []byte) bool {
	for f := range message.Fields(header) {
		if bytes.EqualFold(f.Name, []byte(k.Field)) && (len(k.needle) == 0 || k.matcher.MatchString(message.DecodeHeader(f.Value))) {
			return true
		}
	}
	return false
}
