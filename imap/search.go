package imap

import (
	"context"
	"errors"

	"github.com/postino-mail/postino/imap/internal/wire"
	"github.com/postino-mail/postino/message"
)

// searchCommand is SEARCH, SORT, THREAD or ESEARCH as it was read.
type searchCommand struct {
	SearchRequest
	sorted   bool // it is SORT
	extended bool // RETURN was there: the answer is an ESEARCH response
	// update is what the client wants to be sent of new messages that match (RFC
	// 5465 §7), nil nothing.
	update *FetchRequest
	// What the keys use: "$" or sequence numbers mean the selected mailbox.
	dollar bool
}

// search is SEARCH and UID SEARCH (RFC 9051 §6.4.4).
func (c *conn) search() error {
	q := &searchCommand{SearchRequest: SearchRequest{UID: c.uid, Return: ReturnAll}}
	return c.searched(q, c.searchAny(q))
}

// sort is SORT and UID SORT (RFC 5256 §3, RFC 5267 §3).
func (c *conn) sort() error {
	q := &searchCommand{SearchRequest: SearchRequest{UID: c.uid, Return: ReturnAll}, sorted: true}
	return c.searched(q, c.searchAny(q))
}

// searchAny reads and does SEARCH and SORT.
func (c *conn) searchAny(q *searchCommand) error {
	if err := c.searchArguments(q); err != nil {
		return err
	}
	if q.Return&ReturnUpdate != 0 && c.extra().contexts.named(c.tag) != nil {
		return syntax("Tag reuse") // RFC 5267 §4.3
	}
	data, err := c.find(&q.SearchRequest)
	if err != nil {
		return err
	}
	if q.Return&ReturnSave != 0 {
		c.saved = data.save(&q.SearchRequest)
	}
	switch {
	case q.Return == ReturnSave: // the client wants nothing now (RFC 9051 §6.4.4)
	case q.extended || c.out.rev2 && !q.sorted:
		c.out.str(`* ESEARCH (TAG `)
		c.out.buf = wire.AppendString(c.out.buf, string(c.tag), false)
		c.out.str(")")
		c.out.esearch(&q.SearchRequest, data)
	default:
		c.out.numbers(&q.SearchRequest, data)
	}
	if q.Return&ReturnUpdate != 0 {
		c.watchSearch(q, data)
	}
	return nil
}

// find lets the session search, for a limited time (IM5).
func (c *conn) find(req *SearchRequest) (*SearchData, error) {
	if req.ModSeq {
		c.enableCondStore()
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.CommandTime)
	defer cancel()
	data, err := c.sess.Search(ctx, *req)
	return data, tooLong(ctx, c.limited(err))
}

// tooLong answers errors that come of the time limit.
func tooLong(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return &Error{Code: "LIMIT", Text: "The search took too long", Err: err}
	}
	return err
}

// searched forgets "$" when a search that was to set it is answered NO (RFC 9051
// §6.4.4.1).
func (c *conn) searched(q *searchCommand, err error) error {
	var syn *wire.SyntaxError
	if err != nil && q.Return&ReturnSave != 0 && !errors.As(err, &syn) && !replyFor(err).Bad {
		c.saved = nil
	}
	return err
}

// searchArguments reads RETURN, the criteria of SORT, CHARSET and the keys.
func (c *conn) searchArguments(q *searchCommand) error {
	if err := c.p.SP(); err != nil {
		return err
	}
	if c.word("RETURN") {
		q.extended = true
		if err := c.searchReturn(q); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
	}
	if q.sorted {
		if err := c.sortCriteria(&q.SearchRequest); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
		return c.searchProgram(q)
	}
	if c.word("CHARSET") {
		if c.out.utf8 {
			return syntax("CHARSET after ENABLE UTF8=ACCEPT") // RFC 9755 §3
		}
		if err := c.p.SP(); err != nil {
			return err
		}
		return c.searchProgram(q)
	}
	return c.searchKeys(q, "")
}

// searchProgram reads a charset and the keys (RFC 5256 §5 search-criteria).
func (c *conn) searchProgram(q *searchCommand) error {
	charset, err := c.p.AString()
	if err != nil {
		return err
	}
	switch {
	case equalFold([]byte(charset), "UTF-8") || equalFold([]byte(charset), "US-ASCII"):
		charset = ""
	case !message.KnownCharset(charset):
		return &Error{Code: badCharset, Text: "Charset not supported"}
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	return c.searchKeys(q, charset)
}

// badCharset tells of the charsets of searches those that clients may want (RFC
// 9051 §7.1); there are more.
const badCharset = "BADCHARSET (US-ASCII UTF-8 ISO-8859-1 ISO-8859-15 WINDOWS-1252 KOI8-R ISO-2022-JP SHIFT_JIS EUC-KR GB18030 BIG5)"

func (c *conn) searchKeys(q *searchCommand, charset string) (err error) {
	q.Collation = c.collation
	p := searchParser{conn: c, req: &q.SearchRequest, charset: charset}
	q.Key, err = p.parse()
	q.dollar = p.dollar
	if err == nil && !p.fuzzy && (q.Return&ReturnRelevancy != 0 || sortsBy(q.Sort, SortRelevancy)) {
		err = syntax("RELEVANCY needs FUZZY") // RFC 6203 §4
	}
	return err
}

// word consumes a word that is followed by a space, in any case.
func (c *conn) word(s string) bool {
	b := c.p.Rest()
	if len(b) <= len(s) || b[len(s)] != ' ' || !equalFold(b[:len(s)], s) {
		return false
	}
	c.p.Advance(len(s))
	return true
}

// searchOptions are the return options without argument.
var searchOptions = map[string]SearchReturn{
	"MIN": ReturnMin, "MAX": ReturnMax, "ALL": ReturnAll, "COUNT": ReturnCount, "SAVE": ReturnSave,
	"CONTEXT": ReturnContext, "RELEVANCY": ReturnRelevancy,
}

func (c *conn) searchReturn(q *searchCommand) error {
	if err := c.p.SP(); err != nil {
		return err
	}
	q.Return = 0
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		switch string(label) {
		case "PARTIAL":
			if q.Partial != nil {
				return syntax("PARTIAL comes once")
			}
			q.Return |= ReturnPartial
			q.Partial, err = c.partialRange()
			return err
		case "UPDATE":
			q.Return |= ReturnUpdate
			return c.searchUpdate(q)
		}
		option, ok := searchOptions[string(label)]
		if !ok {
			return syntax("Unknown return option")
		}
		q.Return |= option
		return nil
	})
	switch {
	case err != nil:
		return err
	case q.Return == 0:
		q.Return = ReturnAll
	case q.Return&(ReturnAll|ReturnPartial) == ReturnAll|ReturnPartial: // RFC 9394 §3.1
		return syntax("PARTIAL and ALL exclude each other")
	}
	return nil
}

// searchUpdate reads the items that may follow UPDATE (RFC 5465 §7).
func (c *conn) searchUpdate(q *searchCommand) error {
	if b := c.p.Rest(); len(b) < 2 || b[0] != ' ' || b[1] != '(' {
		return nil
	}
	c.p.Advance(1)
	q.update = &FetchRequest{}
	err := c.parenthesised(func() error { return c.fetchItem(q.update, false) })
	if err == nil && q.update.Items == 0 && len(q.update.Sections) == 0 {
		err = syntax("Expected a data item")
	}
	return err
}

// partialRange reads the argument of PARTIAL (RFC 9394 §4).
func (c *conn) partialRange() (*Partial, error) {
	if err := c.p.SP(); err != nil {
		return nil, err
	}
	var ends [2]int64
	last := c.p.Peek() == '-'
	for i := range ends {
		if i > 0 {
			if err := c.p.Byte(':'); err != nil {
				return nil, err
			}
		}
		if last {
			if err := c.p.Byte('-'); err != nil {
				return nil, err
			}
		}
		n, err := c.p.Number(1<<32 - 1)
		if err == nil && n == 0 {
			err = syntax("Results count from 1")
		}
		if err != nil {
			return nil, err
		}
		if ends[i] = int64(n); last {
			ends[i] = -ends[i]
		}
	}
	return &Partial{Lo: ends[0], Hi: ends[1]}, nil
}
