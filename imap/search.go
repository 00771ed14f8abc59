package imap

import (
	"context"
	"strconv"
	"unicode/utf8"

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

// searchParser reads search keys with a stack of its own (IM3, G3).
type searchParser struct {
	*conn
	req   *SearchRequest
	stack []searchFrame
	keys  int
}

// searchFrame is a key whose parts are being read.
type searchFrame struct {
	op    SearchOp
	paren bool // And that ends with ")", not with the command
	keys  []SearchKey
}

// parse reads all keys to the end of the command; they are joined by And.
func (p *searchParser) parse() (SearchKey, error) {
	p.stack = append(p.stack, searchFrame{op: SearchAnd})
	for {
		key, open, err := p.key()
		if err != nil {
			return SearchKey{}, err
		}
		if open {
			continue
		}
		root, done, err := p.add(key)
		if err != nil || done {
			return root, err
		}
	}
}

// add gives a finished key to the frame above and closes the frames that are
// finished by it. It consumes what stands between keys.
func (p *searchParser) add(key SearchKey) (root SearchKey, done bool, err error) {
	for {
		top := &p.stack[len(p.stack)-1]
		top.keys = append(top.keys, key)
		switch {
		case top.op == SearchNot || top.op == SearchOr && len(top.keys) == 2:
			key = SearchKey{Op: top.op, Keys: top.keys}
		case top.op == SearchOr:
			return key, false, p.p.SP()
		case top.paren && p.p.Try(')'):
			key = joinKeys(top.keys)
		case top.paren || len(p.p.Rest()) > 1:
			return key, false, p.p.SP()
		default:
			return joinKeys(top.keys), true, p.end()
		}
		p.stack = p.stack[:len(p.stack)-1]
	}
}

func joinKeys(keys []SearchKey) SearchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	return SearchKey{Op: SearchAnd, Keys: keys}
}

func (p *searchParser) push(op SearchOp, paren bool) error {
	if len(p.stack) > p.lim.Depth {
		return syntax("Search keys nested too deeply")
	}
	p.stack = append(p.stack, searchFrame{op: op, paren: paren})
	return nil
}

// searchFlags are the keys that are one flag, or its absence.
var searchFlags = map[string]SearchKey{
	"ANSWERED": flagKey(Answered), "DELETED": flagKey(Deleted), "DRAFT": flagKey(Draft),
	"FLAGGED": flagKey(Flagged), "SEEN": flagKey(Seen), "RECENT": flagKey(Recent),
	"UNANSWERED": not(flagKey(Answered)), "UNDELETED": not(flagKey(Deleted)), "UNDRAFT": not(flagKey(Draft)),
	"UNFLAGGED": not(flagKey(Flagged)), "UNSEEN": not(flagKey(Seen)), "OLD": not(flagKey(Recent)),
	"NEW": {Op: SearchAnd, Keys: []SearchKey{flagKey(Recent), not(flagKey(Seen))}},
	"ALL": {Op: SearchAll},
}

func flagKey(f Flag) SearchKey  { return SearchKey{Op: SearchFlag, Flag: f} }
func not(k SearchKey) SearchKey { return SearchKey{Op: SearchNot, Keys: []SearchKey{k}} }

// searchArgs are the keys with one argument, by its kind.
var searchArgs = map[string]struct {
	op  SearchOp
	arg byte // text, date, number, keyword
}{
	"FROM": {SearchFrom, 't'}, "TO": {SearchTo, 't'}, "CC": {SearchCc, 't'}, "BCC": {SearchBcc, 't'},
	"SUBJECT": {SearchSubject, 't'}, "BODY": {SearchBody, 't'}, "TEXT": {SearchText, 't'},
	"BEFORE": {SearchBefore, 'd'}, "ON": {SearchOn, 'd'}, "SINCE": {SearchSince, 'd'},
	"SENTBEFORE": {SearchSentBefore, 'd'}, "SENTON": {SearchSentOn, 'd'}, "SENTSINCE": {SearchSentSince, 'd'},
	"LARGER": {SearchLarger, 'n'}, "SMALLER": {SearchSmaller, 'n'},
	"KEYWORD": {SearchKeyword, 'k'}, "UNKEYWORD": {SearchKeyword, 'k'},
}

// key reads one key, or opens the frame of one that has parts.
func (p *searchParser) key() (k SearchKey, open bool, err error) {
	if p.keys++; p.keys > p.lim.Ranges {
		return k, false, syntax("Too many search keys")
	}
	switch c := p.p.Peek(); {
	case c == '(':
		p.p.Advance(1)
		return k, true, p.push(SearchAnd, true)
	case c == '*' || c == '$' || '0' <= c && c <= '9':
		k.Op = SearchSet
		k.Set, err = p.numSet()
		return k, false, err
	}
	label, err := p.p.Label()
	if err != nil {
		return k, false, err
	}
	if k, ok := searchFlags[string(label)]; ok {
		return k, false, nil
	}
	name := string(label)
	if err := p.p.SP(); err != nil {
		return k, false, syntax("Unknown search key, or its argument is missing")
	}
	switch name {
	case "NOT":
		return k, true, p.push(SearchNot, false)
	case "OR":
		return k, true, p.push(SearchOr, false)
	case "UID":
		k.Op = SearchSet
		k.Set, err = p.numSet()
		k.Set.UID = true
	case "HEADER":
		k.Op = SearchHeader
		if k.Header, err = p.p.AString(); err == nil {
			err = p.p.SP()
		}
		if err == nil {
			k.Text, err = p.text()
		}
	case "MODSEQ":
		k.Op, p.req.ModSeq = SearchModSeq, true
		k.ModSeq, err = p.modSeq()
	default:
		return p.argument(name)
	}
	return k, false, err
}

func (p *searchParser) argument(name string) (k SearchKey, open bool, err error) {
	a, ok := searchArgs[name]
	if !ok {
		return k, false, syntax("Unknown search key")
	}
	k.Op = a.op
	switch a.arg {
	case 't':
		k.Text, err = p.text()
	case 'd':
		k.Date, err = p.p.Date()
	case 'n':
		var n uint64
		n, err = p.p.Number(1<<63 - 1)
		k.Size = int64(n)
	case 'k':
		var b []byte
		b, err = p.p.Atom()
		k.Text = string(b)
	}
	if name == "UNKEYWORD" {
		k = not(k)
	}
	return k, false, err
}

func (p *searchParser) text() (string, error) {
	s, err := p.p.AString()
	if err == nil && !utf8.ValidString(s) {
		err = syntax("Text is not UTF-8")
	}
	return s, err
}

// modSeq reads the argument of MODSEQ. The entry that may stand before the number
// says whose flag is meant; all are shared here (RFC 7162 §3.1.5).
func (p *searchParser) modSeq() (uint64, error) {
	if p.p.Peek() == '"' {
		if _, err := p.p.String(); err != nil {
			return 0, err
		}
		if err := p.p.SP(); err != nil {
			return 0, err
		}
		switch label, err := p.p.Label(); {
		case err != nil:
			return 0, err
		case string(label) != "PRIV" && string(label) != "SHARED" && string(label) != "ALL":
			return 0, syntax("Expected priv, shared or all")
		}
		if err := p.p.SP(); err != nil {
			return 0, err
		}
	}
	return p.p.Number(1<<63 - 1)
}

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
