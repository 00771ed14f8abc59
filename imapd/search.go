package imapd

import (
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// searchOps pairs the engine's keys that need no more than their arguments.
var searchOps = map[imap.SearchOp]mailbox.Op{
	imap.SearchAll: mailbox.OpAll, imap.SearchAnd: mailbox.OpAnd, imap.SearchOr: mailbox.OpOr, imap.SearchNot: mailbox.OpNot,
	imap.SearchKeyword: mailbox.OpKeyword, imap.SearchHeader: mailbox.OpHeader, imap.SearchFrom: mailbox.OpFrom,
	imap.SearchTo: mailbox.OpTo, imap.SearchCc: mailbox.OpCc, imap.SearchBcc: mailbox.OpBcc, imap.SearchSubject: mailbox.OpSubject,
	imap.SearchBody: mailbox.OpBody, imap.SearchText: mailbox.OpText, imap.SearchBefore: mailbox.OpBefore, imap.SearchOn: mailbox.OpOn,
	imap.SearchSince: mailbox.OpSince, imap.SearchSentBefore: mailbox.OpSentBefore, imap.SearchSentOn: mailbox.OpSentOn,
	imap.SearchSentSince: mailbox.OpSentSince, imap.SearchSavedBefore: mailbox.OpSavedBefore, imap.SearchSavedOn: mailbox.OpSavedOn,
	imap.SearchSavedSince: mailbox.OpSavedSince, imap.SearchLarger: mailbox.OpLarger, imap.SearchSmaller: mailbox.OpSmaller,
	imap.SearchFuzzy: mailbox.OpFuzzy, imap.SearchYounger: mailbox.OpYounger, imap.SearchOlder: mailbox.OpOlder,
}

// source is what is searched: a mailbox at one moment.
type source struct {
	acct  *mailbox.Account
	snap  *mailbox.Snapshot
	now   time.Time
	limit int // messages that one command looks at
}

// here is the selected mailbox as its client knows it.
func (s *session) here() *source { return s.source(s.sel.acct, s.sel.snap) }

func (s *session) source(acct *mailbox.Account, snap *mailbox.Snapshot) *source {
	return &source{acct, snap, time.Now(), s.conn.MessageLimit}
}

// Search asks the mailbox room; positions become the numbers of the client.
func (s *session) Search(ctx context.Context, req imap.SearchRequest) (*imap.SearchData, error) {
	return s.here().search(ctx, &req)
}

// SearchMailbox searches a mailbox as it is now.
func (s *session) SearchMailbox(ctx context.Context, name string, req imap.SearchRequest) (*imap.SearchData, uint32, error) {
	p, info, err := s.find(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	view, err := p.acct.Open(ctx, info.ID)
	if err != nil {
		return nil, 0, err
	}
	snap, err := view.Sync(ctx)
	if err != nil {
		return nil, 0, err
	}
	d, err := s.source(p.acct, snap).search(ctx, &req)
	return d, snap.Status().UIDValidity, err
}

func (src *source) search(ctx context.Context, req *imap.SearchRequest) (*imap.SearchData, error) {
	q := src.root(&req.Key, req.Collation)
	var over *imap.Limited
	if len(req.Sort) == 0 { // that has its columns (RFC 9738 §3.3)
		over = src.bound(q)
	}
	ctx = telling(ctx)
	relevancy := req.Return&imap.ReturnRelevancy != 0
	byRelevancy := slices.ContainsFunc(req.Sort, func(k imap.SortKey) bool { return k.By == imap.SortRelevancy })
	var found []int
	var scores []uint8
	var err error
	if relevancy || byRelevancy {
		found, scores, err = src.acct.SearchScored(ctx, src.snap, q)
	} else {
		found, err = src.acct.Search(ctx, src.snap, q)
	}
	if err != nil {
		return nil, err
	}
	order := found
	if len(req.Sort) > 0 {
		if order, err = src.acct.Sort(ctx, src.snap, found, sortKeys(req.Sort), q.Collation, scores); err != nil {
			return nil, err
		}
	}
	d := imap.NewSearchData(req)
	for _, i := range order {
		r := src.snap.Row(i)
		d.Add(uint32(i+1), uint32(r.UID), uint64(r.ModSeq))
		if relevancy {
			at, _ := slices.BinarySearch(found, i)
			d.Relevancy(scores[at])
		}
	}
	return d, orNil(over)
}

// bound makes a search that would look at too many messages look at those with the
// highest UIDs (RFC 9738 §3.1). It looks at the messages that are in all sets that its
// keys name, at all without one.
func (src *source) bound(q *mailbox.Query) *imap.Limited {
	n := src.snap.Len()
	if n <= src.limit {
		return nil
	}
	looked := mailbox.Ranges{{Lo: 1, Hi: mailbox.UID(n)}} // by sequence number
	for _, k := range append(q.Subs[:len(q.Subs):len(q.Subs)], q) {
		switch {
		case k != q && q.Op != mailbox.OpAnd:
		case k.Op == mailbox.OpSeq:
			looked = intersect(looked, k.Set)
		case k.Op == mailbox.OpUID:
			looked = intersect(looked, src.numbers(k.Set))
		}
	}
	spans := make([]span, len(looked))
	for i, r := range looked {
		spans[i] = span{int(r.Lo) - 1, int(r.Hi)}
	}
	if count(spans) <= src.limit {
		return nil
	}
	lowest := src.snap.UID(highest(spans, src.limit)[0].lo)
	above := &mailbox.Query{Op: mailbox.OpUID, Set: mailbox.Ranges{{Lo: lowest, Hi: 1<<32 - 1}}}
	if q.Op == mailbox.OpAnd {
		q.Subs = append(q.Subs, above)
	} else {
		all := *q
		*q = mailbox.Query{Op: mailbox.OpAnd, Subs: []*mailbox.Query{&all, above}, Collation: q.Collation}
	}
	return &imap.Limited{UID: uint32(lowest)}
}

// numbers are the sequence numbers of the messages with UIDs.
func (src *source) numbers(uids mailbox.Ranges) (out mailbox.Ranges) {
	for _, r := range uids {
		i, _ := src.snap.Find(r.Lo)
		j, found := src.snap.Find(r.Hi)
		if found {
			j++
		}
		if i < j {
			out = append(out, mailbox.Range{Lo: mailbox.UID(i + 1), Hi: mailbox.UID(j)})
		}
	}
	return out
}

// telling makes a long search tell the client how far it is.
func telling(ctx context.Context) context.Context {
	return mailbox.WithProgress(ctx, func(done, total int) { imap.Progress(ctx, done, total) })
}

func sortKeys(keys []imap.SortKey) []mailbox.SortKey {
	out := make([]mailbox.SortKey, len(keys))
	for i, k := range keys { // the criteria have the same order in both rooms
		out[i] = mailbox.SortKey{By: mailbox.SortBy(k.By), Reverse: k.Reverse}
	}
	return out
}

// Thread asks the mailbox room for the threads of what a search finds.
func (s *session) Thread(ctx context.Context, req imap.ThreadRequest) ([]imap.ThreadNode, error) {
	src := s.here()
	if src.snap.Len() > src.limit { // RFC 9738 §3.3
		return nil, &imap.Limited{Refused: true}
	}
	q := src.root(&req.Key, req.Collation)
	ctx = telling(ctx)
	found, err := src.acct.Search(ctx, src.snap, q)
	if err != nil {
		return nil, err
	}
	nodes, err := src.acct.Thread(ctx, src.snap, found, mailbox.ThreadAlgorithm(req.Algorithm), q.Collation)
	if err != nil {
		return nil, err
	}
	out := make([]imap.ThreadNode, len(nodes))
	for i, n := range nodes {
		out[i].Depth = n.Depth
		switch {
		case n.Index < 0:
		case req.UID:
			out[i].Num = uint32(src.snap.UID(n.Index))
		default:
			out[i].Num = uint32(n.Index + 1)
		}
	}
	return out, nil
}

// root translates the key of a search by a collation.
func (src *source) root(k *imap.SearchKey, collation string) *mailbox.Query {
	q := src.query(k)
	q.Collation, _ = mailbox.ParseCollation(collation)
	return q
}

// query translates a key; the engine bounds its depth, so recursion is safe.
func (src *source) query(k *imap.SearchKey) *mailbox.Query {
	q := &mailbox.Query{Op: searchOps[k.Op], Text: k.Text, Field: k.Header, N: uint64(k.Size)}
	switch k.Op {
	case imap.SearchSet:
		q.Op, q.Set = mailbox.OpSeq, searchRanges(src.snap, k.Set)
		if k.Set.UID {
			q.Op = mailbox.OpUID
		}
	case imap.SearchFlag:
		if k.Flag == imap.Recent { // no message is \Recent here (RFC 9051 dropped it)
			return nothing()
		}
		q.Op, q.Flags = mailbox.OpFlag, fromWire(k.Flag)
	case imap.SearchKeyword:
		q.Keyword, q.Text = k.Text, ""
	case imap.SearchModSeq:
		q.Op, q.N = mailbox.OpModSeq, k.ModSeq
	case imap.SearchYounger, imap.SearchOlder:
		q.Date = src.now.Unix()
	case imap.SearchEmailID:
		return src.object(mailbox.OpEmail, emailPrefix, k.Text)
	case imap.SearchThreadID:
		return src.object(mailbox.OpThread, threadPrefix, k.Text)
	}
	if !k.Date.IsZero() {
		q.Date = k.Date.Unix()
	}
	for i := range k.Keys {
		q.Subs = append(q.Subs, src.query(&k.Keys[i]))
	}
	return q
}

// nothing matches no message.
func nothing() *mailbox.Query {
	return &mailbox.Query{Op: mailbox.OpNot, Subs: []*mailbox.Query{{Op: mailbox.OpAll}}}
}

// object matches the messages that have an object id. One of another account, or
// that is none of ours, nobody has.
func (src *source) object(op mailbox.Op, prefix byte, id string) *mailbox.Query {
	n, ok := parseObjectID(prefix, src.acct.ID(), id)
	if !ok {
		return nothing()
	}
	return &mailbox.Query{Op: op, N: n}
}
