package imap

import (
	"context"
	"strconv"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// search is SEARCH and UID SEARCH (RFC 9051 §6.4.4).
func (c *conn) search() error {
	req := SearchRequest{UID: c.uid, Return: ReturnAll}
	extended, err := c.searchArguments(&req)
	if err != nil {
		return err
	}
	if req.ModSeq {
		c.enableCondStore()
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.CommandTime)
	defer cancel()
	data, err := c.sess.Search(ctx, req)
	if err != nil {
		if req.Return&ReturnSave != 0 {
			c.saved = nil // RFC 9051 §6.4.4.1
		}
		if ctx.Err() == context.DeadlineExceeded {
			err = &Error{Code: "LIMIT", Text: "The search took too long", Err: err}
		}
		return err
	}
	if req.Return&ReturnSave != 0 {
		c.saved = data.save(req.Return)
	}
	switch {
	case req.Return == ReturnSave: // the client wants nothing now (RFC 9051 §6.4.4)
	case extended || c.out.rev2:
		c.printESearch(&req, data)
	default:
		c.printSearch(&req, data)
	}
	return nil
}

// searchArguments reads RETURN, CHARSET and the keys, and tells whether RETURN was
// there.
func (c *conn) searchArguments(req *SearchRequest) (extended bool, err error) {
	if err := c.p.SP(); err != nil {
		return false, err
	}
	if c.word("RETURN") {
		extended = true
		if err := c.searchReturn(req); err != nil {
			return true, err
		}
		if err := c.p.SP(); err != nil {
			return true, err
		}
	}
	if c.word("CHARSET") {
		if c.out.utf8 {
			return extended, syntax("CHARSET after ENABLE UTF8=ACCEPT") // RFC 9755 §3
		}
		if err := c.p.SP(); err != nil {
			return extended, err
		}
		charset, err := c.p.AString()
		if err != nil {
			return extended, err
		}
		if !equalFold([]byte(charset), "UTF-8") && !equalFold([]byte(charset), "US-ASCII") {
			return extended, &Error{Code: "BADCHARSET (US-ASCII UTF-8)", Text: "Charset not supported"}
		}
		if err := c.p.SP(); err != nil {
			return extended, err
		}
	}
	p := searchParser{conn: c, req: req}
	req.Key, err = p.parse()
	return extended, err
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

func (c *conn) searchReturn(req *SearchRequest) error {
	if err := c.p.SP(); err != nil {
		return err
	}
	req.Return = 0
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		switch string(label) {
		case "MIN":
			req.Return |= ReturnMin
		case "MAX":
			req.Return |= ReturnMax
		case "ALL":
			req.Return |= ReturnAll
		case "COUNT":
			req.Return |= ReturnCount
		case "SAVE":
			req.Return |= ReturnSave
		default:
			return syntax("Unknown return option")
		}
		return nil
	})
	if req.Return == 0 {
		req.Return = ReturnAll
	}
	return err
}

// SearchData gathers the answer to a Search.
type SearchData struct {
	all, uids []Range
	count     uint32
	min, max  uint32
	minUID    uint32
	maxUID    uint32
	// Mod-sequences of the first and last message, and the highest of all.
	minModSeq, maxModSeq, modSeq uint64

	uid, wantAll, wantUIDs bool
	scores                 []uint8
}

// NewSearchData begins the answer to req.
func NewSearchData(req *SearchRequest) *SearchData {
	return &SearchData{uid: req.UID, wantAll: req.Return&ReturnAll != 0, wantUIDs: req.Return&ReturnSave != 0}
}

// Add adds a message that matches; messages are added in ascending order. modseq
// may be 0 when the request has no ModSeq.
func (d *SearchData) Add(seq, uid uint32, modseq uint64) {
	num := seq
	if d.uid {
		num = uid
	}
	if d.count == 0 {
		d.min, d.minUID, d.minModSeq = num, uid, modseq
	}
	d.max, d.maxUID, d.maxModSeq = num, uid, modseq
	d.modSeq = max(d.modSeq, modseq)
	d.count++
	if d.wantAll {
		d.all = AppendRange(d.all, num)
	}
	if d.wantUIDs {
		d.uids = AppendRange(d.uids, uid)
	}
}

// Relevancy tells the score of the message added last, 1 to 100 (RFC 6203 §4).
func (d *SearchData) Relevancy(score uint8) { d.scores = append(d.scores, score) }

// save is what "$" becomes (RFC 9051 §6.4.4.1, table 4).
func (d *SearchData) save(ret SearchReturn) (uids []Range) {
	if ret&(ReturnAll|ReturnCount) != 0 || ret&(ReturnMin|ReturnMax) == 0 {
		return d.uids
	}
	if d.count == 0 {
		return nil
	}
	if ret&ReturnMin != 0 {
		uids = AppendRange(uids, d.minUID)
	}
	if ret&ReturnMax != 0 && (d.count > 1 || ret&ReturnMin == 0) {
		uids = AppendRange(uids, d.maxUID)
	}
	return uids
}

// printSearch prints the answer of RFC 3501 §7.2.5.
func (c *conn) printSearch(req *SearchRequest, d *SearchData) {
	c.out.str("* SEARCH")
	for _, r := range d.all {
		for n := uint64(r.Start); n <= uint64(r.Stop); n++ {
			c.out.buf = strconv.AppendUint(append(c.out.buf, ' '), n, 10)
			c.out.flushFull()
		}
	}
	if req.ModSeq && d.count > 0 {
		c.out.str(" (MODSEQ ")
		c.out.modseq(d.modSeq)
		c.out.str(")")
	}
	c.out.str("\r\n")
}

// printESearch prints the answer of RFC 9051 §7.3.4.
func (c *conn) printESearch(req *SearchRequest, d *SearchData) {
	o := &c.out
	o.str(`* ESEARCH (TAG `)
	o.buf = wire.AppendString(o.buf, string(c.tag), false)
	o.str(")")
	if c.uid {
		o.str(" UID")
	}
	if d.count > 0 && req.Return&ReturnMin != 0 {
		o.str(" MIN ")
		o.num(d.min)
	}
	if d.count > 0 && req.Return&ReturnMax != 0 {
		o.str(" MAX ")
		o.num(d.max)
	}
	if d.count > 0 && req.Return&ReturnAll != 0 {
		o.str(" ALL ")
		o.ranges(d.all)
	}
	if req.Return&ReturnCount != 0 {
		o.str(" COUNT ")
		o.num(d.count)
	}
	if d.count > 0 && req.ModSeq {
		o.str(" MODSEQ ")
		o.modseq(d.answerModSeq(req.Return))
	}
	o.str("\r\n")
}

// answerModSeq is the highest mod-sequence of what is returned (RFC 7162 §3.1.10).
func (d *SearchData) answerModSeq(ret SearchReturn) uint64 {
	switch ret & (ReturnMin | ReturnMax | ReturnAll | ReturnCount) {
	case ReturnMin:
		return d.minModSeq
	case ReturnMax:
		return d.maxModSeq
	case ReturnMin | ReturnMax:
		return max(d.minModSeq, d.maxModSeq)
	}
	return d.modSeq
}
