package imapd

import (
	"context"

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
	imap.SearchSentSince: mailbox.OpSentSince,
}

// Search asks the mailbox room; positions become the numbers of the client.
func (s *session) Search(ctx context.Context, req imap.SearchRequest) (*imap.SearchData, error) {
	snap := s.sel.snap
	found, err := s.acct.Search(ctx, snap, s.query(&req.Key))
	if err != nil {
		return nil, err
	}
	d := imap.NewSearchData(&req)
	for _, i := range found {
		r := snap.Row(i)
		d.Add(uint32(i+1), uint32(r.UID), uint64(r.ModSeq))
	}
	return d, nil
}

// query translates a key; the engine bounds its depth, so recursion is safe.
func (s *session) query(k *imap.SearchKey) *mailbox.Query {
	q := &mailbox.Query{Op: searchOps[k.Op], Text: k.Text, Field: k.Header}
	switch k.Op {
	case imap.SearchSet:
		q.Op, q.Set = mailbox.OpSeq, s.searchRanges(k.Set)
		if k.Set.UID {
			q.Op = mailbox.OpUID
		}
	case imap.SearchFlag:
		if k.Flag == imap.Recent { // no message is \Recent here (RFC 9051 dropped it)
			return &mailbox.Query{Op: mailbox.OpNot, Subs: []*mailbox.Query{{Op: mailbox.OpAll}}}
		}
		q.Op, q.Flags = mailbox.OpFlag, fromWire(k.Flag)
	case imap.SearchKeyword:
		q.Keyword, q.Text = k.Text, ""
	case imap.SearchLarger:
		q.Op, q.N = mailbox.OpLarger, uint64(k.Size)
	case imap.SearchSmaller:
		q.Op, q.N = mailbox.OpSmaller, uint64(k.Size)
	case imap.SearchModSeq:
		q.Op, q.N = mailbox.OpModSeq, k.ModSeq
	}
	if !k.Date.IsZero() {
		q.Date = k.Date.Unix()
	}
	for i := range k.Keys {
		q.Subs = append(q.Subs, s.query(&k.Keys[i]))
	}
	return q
}
