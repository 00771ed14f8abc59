package imap

import (
	"strings"
	"unicode/utf8"

	"github.com/postino-mail/postino/message"
)

// searchParser reads search keys with a stack of its own (IM3, G3).
type searchParser struct {
	*conn
	req     *SearchRequest
	charset string // of texts; empty for UTF-8
	stack   []searchFrame
	keys    int
	filters []string // FILTERs within which the keys stand, see filter
	fetched int      // FILTERs so far

	fuzzy, dollar bool // FUZZY and "$" were used
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
		case top.op == SearchNot || top.op == SearchFuzzy || top.op == SearchOr && len(top.keys) == 2:
			key = SearchKey{Op: top.op, Keys: top.keys}
		case top.op == SearchOr:
			return key, false, p.p.SP()
		case top.paren && p.p.Try(')'):
			key = joinKeys(top.keys)
		case top.paren || len(p.p.Rest()) > 1:
			return key, false, p.p.SP()
		default:
			key = joinKeys(top.keys)
			p.stack = p.stack[:len(p.stack)-1]
			return key, true, p.end()
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
	"NEW":               {Op: SearchAnd, Keys: []SearchKey{flagKey(Recent), not(flagKey(Seen))}},
	"ALL":               {Op: SearchAll},
	"SAVEDATESUPPORTED": {Op: SearchAll}, // RFC 8514 §4.3
}

func flagKey(f Flag) SearchKey  { return SearchKey{Op: SearchFlag, Flag: f} }
func not(k SearchKey) SearchKey { return SearchKey{Op: SearchNot, Keys: []SearchKey{k}} }

// searchArgs are the keys with one argument, by its kind.
var searchArgs = map[string]struct {
	op  SearchOp
	arg byte // text, date, number, seconds (nz-number), keyword, object id
}{
	"FROM": {SearchFrom, 't'}, "TO": {SearchTo, 't'}, "CC": {SearchCc, 't'}, "BCC": {SearchBcc, 't'},
	"SUBJECT": {SearchSubject, 't'}, "BODY": {SearchBody, 't'}, "TEXT": {SearchText, 't'},
	"BEFORE": {SearchBefore, 'd'}, "ON": {SearchOn, 'd'}, "SINCE": {SearchSince, 'd'},
	"SENTBEFORE": {SearchSentBefore, 'd'}, "SENTON": {SearchSentOn, 'd'}, "SENTSINCE": {SearchSentSince, 'd'},
	"LARGER": {SearchLarger, 'n'}, "SMALLER": {SearchSmaller, 'n'},
	"KEYWORD": {SearchKeyword, 'k'}, "UNKEYWORD": {SearchKeyword, 'k'},
	"YOUNGER": {SearchYounger, 's'}, "OLDER": {SearchOlder, 's'}, // RFC 5032 §3
	"SAVEDBEFORE": {SearchSavedBefore, 'd'}, "SAVEDON": {SearchSavedOn, 'd'}, "SAVEDSINCE": {SearchSavedSince, 'd'},
	"EMAILID": {SearchEmailID, 'o'}, "THREADID": {SearchThreadID, 'o'},
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
	case c == '$':
		k.Op, p.dollar = SearchSet, true
		k.Set, err = p.numSet()
		return k, false, err
	case c == '*' || '0' <= c && c <= '9':
		if err := p.messageNumbers(); err != nil { // RFC 9586 §3.5
			return k, false, err
		}
		k.Op, p.seqs = SearchSet, true
		k.Set, err = p.numSet()
		k.Set.UID = false // within UID SEARCH too (RFC 9051 §6.4.9)
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
	case "FUZZY": // RFC 6203 §3
		p.fuzzy = true
		return k, true, p.push(SearchFuzzy, false)
	case "FILTER":
		k, err = p.filter()
	case "UID":
		k.Op, p.dollar = SearchSet, p.dollar || p.p.Peek() == '$'
		k.Set, err = p.numSet()
		k.Set.UID = true
	case "UIDAFTER", "UIDBEFORE": // RFC 9738 §3.2
		var uid uint32
		uid, err = p.nonZero()
		k = uidsBeyond(name == "UIDAFTER", uid)
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

// uidsBeyond are the UIDs above or below one. There may be none: "*" has no part in it.
func uidsBeyond(above bool, uid uint32) SearchKey {
	k := SearchKey{Op: SearchSet, Set: NumSet{UID: true}}
	switch {
	case above && uid < 1<<32-1:
		k.Set.Ranges = []Range{{uid + 1, 1<<32 - 1}}
	case !above && uid > 1:
		k.Set.Ranges = []Range{{1, uid - 1}}
	}
	return k
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
	case 's':
		var n uint64
		if n, err = p.p.Number(1<<32 - 1); err == nil && n == 0 {
			err = syntax("Expected a number of seconds above 0")
		}
		k.Size = int64(n)
	case 'k', 'o':
		var b []byte
		b, err = p.p.Atom()
		k.Text = string(b)
		if a.arg == 'o' && err == nil && !isObjectID(k.Text) {
			err = syntax("Expected an object id")
		}
	}
	if name == "UNKEYWORD" {
		k = not(k)
	}
	return k, false, err
}

// isObjectID tells whether s is an objectid (RFC 8474 §7).
func isObjectID(s string) bool {
	return len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	})
}

// text reads a text and gives it in UTF-8.
func (p *searchParser) text() (string, error) {
	s, err := p.p.AString()
	if err == nil && p.charset != "" {
		return string(message.AppendUTF8(nil, p.charset, []byte(s))), nil
	}
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
