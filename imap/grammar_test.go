package imap

import (
	"fmt"
	"strconv"
	"strings"
)

// checkResponses holds what a server sent against the grammar of RFC 9051 §9 and
// the extensions that are announced, strictly: one space, nothing unknown.
// With cut set the last response may be cut off by the end of the connection.
func checkResponses(b []byte, cut bool) (err error) {
	g := &grammar{b: b, messages: -1}
	start := 0
	defer func() {
		if v := recover(); v != nil {
			f, ok := v.(grammarError)
			if !ok {
				panic(v)
			}
			if cut && f.atEnd {
				return
			}
			err = fmt.Errorf("%s at %d in response %.300q", f.text, g.pos, b[start:])
		}
	}()
	for g.pos < len(b) {
		start = g.pos
		g.response()
		g.lit("\r\n")
	}
	return nil
}

type grammarError struct {
	text  string
	atEnd bool
}

type grammar struct {
	b        []byte
	pos      int
	language bool // the client chose one
	messages int  // by EXISTS and EXPUNGE; -1 unknown
}

func (g *grammar) fail(text string) {
	panic(grammarError{text, g.pos >= len(g.b)})
}

func (g *grammar) peek() byte {
	if g.pos >= len(g.b) {
		g.fail("end")
	}
	return g.b[g.pos]
}

func (g *grammar) try(s string) bool {
	if strings.HasPrefix(string(g.b[g.pos:min(len(g.b), g.pos+len(s))]), s) && len(g.b)-g.pos >= len(s) {
		g.pos += len(s)
		return true
	}
	return false
}

func (g *grammar) lit(s string) {
	if !g.try(s) {
		if len(g.b)-g.pos < len(s) && strings.HasPrefix(s, string(g.b[g.pos:])) {
			g.pos = len(g.b)
		}
		g.fail(fmt.Sprintf("expected %q", s))
	}
}

func (g *grammar) sp() { g.lit(" ") }

func (g *grammar) span(ok func(c byte) bool) string {
	start := g.pos
	for g.pos < len(g.b) && ok(g.b[g.pos]) {
		g.pos++
	}
	return string(g.b[start:g.pos])
}

func atomChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`(){%*"\]`, rune(c))
}

func (g *grammar) atom() string {
	s := g.span(atomChar)
	if s == "" {
		g.fail("expected an atom")
	}
	return s
}

func (g *grammar) number() uint64 {
	s := g.span(func(c byte) bool { return '0' <= c && c <= '9' })
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || len(s) > 1 && s[0] == '0' {
		g.fail("expected a number")
	}
	return n
}

func (g *grammar) nz() uint64 {
	n := g.number()
	if n == 0 || n > 1<<32-1 {
		g.fail("expected an nz-number")
	}
	return n
}

func (g *grammar) text() {
	s := g.span(func(c byte) bool { return c != '\r' && c != '\n' && c != 0 })
	for i := range len(s) { // RFC 5255 §3.5: UTF-8 once a language was chosen
		if s[i] >= 0x80 && !g.language || s[i] < ' ' {
			g.fail("text is not ASCII")
		}
	}
	if s == "" {
		g.fail("expected text")
	}
}

func (g *grammar) string() string {
	if g.try(`"`) {
		var out []byte
		for !g.try(`"`) {
			c := g.peek()
			g.pos++
			if c == '\\' {
				if c = g.peek(); c != '"' && c != '\\' {
					g.fail("wrong escape")
				}
				g.pos++
			}
			if c == '\r' || c == '\n' || c == 0 {
				g.fail("control in quoted string")
			}
			out = append(out, c)
		}
		return string(out)
	}
	g.lit("{")
	n := int(g.number())
	g.lit("}\r\n")
	if g.pos+n > len(g.b) {
		g.pos = len(g.b)
		g.fail("literal too short")
	}
	g.pos += n
	return string(g.b[g.pos-n : g.pos])
}

func (g *grammar) nstring() {
	if !g.try("NIL") {
		g.string()
	}
}

func (g *grammar) astring() string {
	if c := g.peek(); c == '"' || c == '{' {
		return g.string()
	}
	s := g.span(func(c byte) bool { return atomChar(c) || c == ']' })
	if s == "" {
		g.fail("expected an astring")
	}
	return s
}

func (g *grammar) list(item func()) {
	g.lit("(")
	for first := true; !g.try(")"); first = false {
		if !first {
			g.sp()
		}
		item()
	}
}

func (g *grammar) flag() {
	if g.try(`\*`) {
		return
	}
	g.try(`\`)
	g.atom()
}

func (g *grammar) set() {
	for {
		g.nz()
		if g.try(":") {
			g.nz()
		}
		if !g.try(",") {
			return
		}
	}
}

func (g *grammar) response() {
	switch {
	case g.try("+ "):
		if g.peek() != '\r' { // base64 may be empty
			g.text()
		}
		return
	case g.try("* "):
		g.untagged()
		return
	}
	g.span(func(c byte) bool { return (atomChar(c) || c == ']') && c != '+' })
	g.sp()
	switch w := g.atom(); w {
	case "OK", "NO", "BAD":
		g.sp()
		g.respText()
	default:
		g.fail("tagged " + w)
	}
}

func (g *grammar) respText() {
	if g.try("[") {
		g.code()
		g.lit("] ")
	}
	g.text()
}

func (g *grammar) code() {
	switch w := g.atom(); w {
	case "CAPABILITY":
		g.capabilities()
	case "PERMANENTFLAGS":
		g.sp()
		g.list(g.flag)
	case "UIDNEXT", "UIDVALIDITY", "UNSEEN":
		g.sp()
		g.nz()
	case "HIGHESTMODSEQ":
		g.sp()
		g.number()
	case "APPENDUID":
		g.sp()
		g.nz()
		g.sp()
		g.set()
	case "COPYUID":
		g.sp()
		g.nz()
		g.sp()
		g.set()
		g.sp()
		g.set()
	case "MODIFIED":
		g.sp()
		g.set()
	case "MAILBOXID":
		g.sp()
		g.objectID()
	case "BADURL":
		g.sp()
		if g.span(func(c byte) bool { return c > ' ' && c < 0x7f && c != ']' && c != '\\' }) == "" {
			g.fail("no URL")
		}
	case "METADATA":
		g.sp()
		switch w := g.atom(); w {
		case "LONGENTRIES", "MAXSIZE":
			g.sp()
			g.number()
		case "TOOMANY", "NOPRIVATE":
		default:
			g.fail("unknown METADATA code " + w)
		}
	case "BADEVENT":
		g.sp()
		g.list(func() { g.atom() })
	case "BADCHARSET":
		g.sp()
		g.list(func() { g.astring() })
	case "NOUPDATE":
		g.sp()
		g.string()
	case "UNDEFINED-FILTER":
		g.sp()
		g.atom()
	case "MESSAGELIMIT": // RFC 9738 §5
		g.sp()
		g.nz()
		if g.try(" ") {
			g.nz()
		}
	case "INPROGRESS": // RFC 9585 §5
		g.lit(" (")
		if !g.try("NIL") {
			g.string()
		}
		g.sp()
		if g.try("NIL NIL)") {
			return
		}
		g.number()
		g.sp()
		if !g.try("NIL") {
			g.nz()
		}
		g.lit(")")
	case "TOOFEW", "TOOMANY":
	case "READ-ONLY", "READ-WRITE", "CLOSED", "TRYCREATE", "NONEXISTENT", "ALREADYEXISTS", "CANNOT", "NOPERM",
		"AUTHENTICATIONFAILED", "PRIVACYREQUIRED", "SERVERBUG", "UNAVAILABLE", "OVERQUOTA", "LIMIT", "TOOBIG",
		"USEATTR", "HASCHILDREN", "EXPUNGEISSUED", "CORRUPTION",
		"UIDREQUIRED", "COMPRESSIONACTIVE", "NOTIFICATIONOVERFLOW", "BADCOMPARATOR", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN",
		"INUSE", "CLIENTBUG":
	default:
		g.fail("unknown response code " + w)
	}
}

func (g *grammar) capabilities() {
	rev2 := false
	for g.try(" ") {
		w := g.span(func(c byte) bool { return atomChar(c) })
		rev2 = rev2 || w == "IMAP4rev2"
	}
	if !rev2 {
		g.fail("no IMAP4rev2")
	}
}

func (g *grammar) mailbox() { g.astring() }

// objectID is "(" objectid ")" (RFC 8474 §7).
func (g *grammar) objectID() {
	g.lit("(")
	s := g.span(func(c byte) bool {
		return c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c&^0x20 && c&^0x20 <= 'Z'
	})
	if s == "" || len(s) > 255 {
		g.fail("expected an objectid")
	}
	g.lit(")")
}

// rights are letters, each once (RFC 4314 §7).
func (g *grammar) rights() {
	s := g.astring()
	for i := range s {
		if !strings.ContainsRune("lrswipkxteacd", rune(s[i])) || strings.IndexByte(s[i+1:], s[i]) >= 0 {
			g.fail("wrong rights " + s)
		}
	}
}

func (g *grammar) untagged() {
	if c := g.peek(); '0' <= c && c <= '9' {
		g.message()
		return
	}
	switch w := g.atom(); w {
	case "OK", "NO", "BAD", "BYE":
		g.sp()
		g.respText()
	case "CAPABILITY":
		g.capabilities()
	case "ENABLED":
		for g.try(" ") {
			g.atom()
		}
	case "FLAGS":
		g.sp()
		g.list(g.flag)
		g.messages = -1 // a SELECT begins
	case "LIST", "LSUB":
		g.sp()
		g.mailboxList()
	case "STATUS":
		g.sp()
		g.mailbox()
		g.sp()
		g.list(func() {
			w := g.atom()
			g.sp()
			if w == "MAILBOXID" {
				g.objectID()
				return
			}
			g.number()
		})
	case "ACL":
		g.sp()
		g.mailbox()
		for g.try(" ") {
			g.astring()
			g.sp()
			g.rights()
		}
	case "MYRIGHTS":
		g.sp()
		g.mailbox()
		g.sp()
		g.rights()
	case "LISTRIGHTS":
		g.sp()
		g.mailbox()
		g.sp()
		g.astring()
		for first := true; first || g.try(" "); first = false {
			if first {
				g.sp()
			}
			g.rights()
		}
	case "QUOTA":
		g.sp()
		g.astring()
		g.sp()
		g.list(func() {
			g.atom()
			g.sp()
			g.number()
			g.sp()
			g.number()
		})
	case "QUOTAROOT":
		g.sp()
		g.mailbox()
		for g.try(" ") {
			g.astring()
		}
	case "METADATA":
		g.sp()
		g.mailbox()
		g.sp()
		g.list(func() {
			g.astring()
			g.sp()
			g.try("~")
			g.nstring()
		})
	case "SEARCH", "SORT":
		for g.try(" ") {
			if g.try("(MODSEQ ") {
				g.number()
				g.lit(")")
				break
			}
			g.nz()
		}
	case "ESEARCH":
		g.esearch()
	case "LANGUAGE":
		g.sp()
		g.language = true
		g.list(func() { g.astring() })
	case "COMPARATOR":
		g.sp()
		g.astring()
		if g.try(" ") {
			g.list(func() { g.astring() })
		}
	case "VANISHED":
		g.sp()
		if earlier := g.try("(EARLIER) "); !earlier && g.messages >= 0 {
			start := g.pos
			g.set()
			if g.messages -= g.count(start); g.messages < 0 {
				g.fail("VANISHED of more than there are")
			}
			break
		}
		g.set()
	case "THREAD":
		if g.try(" ") {
			g.threads()
		}
	case "UIDBATCHES":
		g.uidBatches()
	case "NAMESPACE":
		for range 3 {
			g.sp()
			if g.try("NIL") {
				continue
			}
			g.lit("(")
			for !g.try(")") {
				g.lit("(")
				g.string()
				g.lit(` "/"`)
				if g.try(` "TRANSLATION" (`) {
					g.string()
					g.lit(")")
				}
				g.lit(")")
			}
		}
	case "ID":
		g.sp()
		if !g.try("NIL") {
			g.list(g.nstring)
		}
	default:
		g.fail("unknown response " + w)
	}
}

func (g *grammar) mailboxList() {
	selectability := 0
	g.list(func() {
		g.lit(`\`)
		switch w := g.atom(); w {
		case "NonExistent", "Noselect", "Marked", "Unmarked":
			if selectability++; selectability > 1 {
				g.fail("two attributes about selecting")
			}
		case "Noinferiors", "HasChildren", "HasNoChildren", "Subscribed", "Remote",
			"All", "Archive", "Drafts", "Flagged", "Junk", "Sent", "Trash", "Important", "Memos", "Scheduled", "Snoozed":
		default:
			g.fail("unknown attribute " + w)
		}
	})
	g.lit(` "/" `)
	g.mailbox()
	if g.try(" ") {
		g.list(func() {
			g.string()
			g.sp()
			g.list(func() { g.astring() })
		})
	}
}

// count is how many numbers the set has that was read since start.
func (g *grammar) count(start int) (n int) {
	ranges, _ := parseRanges(g.b[start:g.pos], 1<<20)
	for _, r := range ranges {
		n += int(r.Stop-r.Start) + 1
	}
	return n
}

func (g *grammar) message() {
	n := int(g.number())
	g.sp()
	switch w := g.atom(); w {
	case "EXISTS":
		if n < g.messages {
			g.fail("EXISTS shrinks")
		}
		g.messages = n
		return
	case "RECENT":
		return
	case "EXPUNGE":
		if n < 1 || g.messages >= 0 && n > g.messages {
			g.fail("EXPUNGE of no message")
		}
		if g.messages > 0 {
			g.messages--
		}
	case "FETCH":
		if n < 1 || g.messages >= 0 && n > g.messages {
			g.fail("FETCH of no message")
		}
		fallthrough
	case "UIDFETCH":
		if n < 1 {
			g.fail("UIDFETCH of no message")
		}
		g.sp()
		if g.peek() == '(' && g.pos+1 < len(g.b) && g.b[g.pos+1] == ')' {
			g.fail("empty FETCH")
		}
		g.list(g.attribute)
	default:
		g.fail("unknown message data " + w)
	}
}

func (g *grammar) attribute() {
	w := g.span(func(c byte) bool { return atomChar(c) && c != '[' && c != '<' })
	switch w {
	case "FLAGS":
		g.sp()
		g.list(g.flag)
	case "UID":
		g.sp()
		g.nz()
	case "MODSEQ":
		g.lit(" (")
		if g.number() == 0 {
			g.fail("mod-sequence 0")
		}
		g.lit(")")
	case "RFC822.SIZE":
		g.sp()
		g.number()
	case "EMAILID":
		g.sp()
		g.objectID()
	case "THREADID":
		g.sp()
		if !g.try("NIL") {
			g.objectID()
		}
	case "PREVIEW":
		g.sp()
		g.nstring()
	case "SAVEDATE", "INTERNALDATE":
		g.sp()
		if w == "SAVEDATE" && g.try("NIL") {
			return
		}
		if len(g.string()) != 26 {
			g.fail("length of date-time")
		}
	case "ENVELOPE", "BODYSTRUCTURE":
		g.sp()
		g.nested()
	case "BODY", "BINARY", "BINARY.SIZE":
		if w == "BODY" && g.try(" ") {
			g.nested()
			return
		}
		g.section(w)
		g.sp()
		if w == "BINARY.SIZE" {
			g.number()
			return
		}
		g.try("~")
		g.nstring()
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		g.sp()
		g.nstring()
	default:
		g.fail("unknown item " + w)
	}
}

func (g *grammar) section(kind string) {
	g.lit("[")
	for c := g.peek(); '0' <= c && c <= '9'; c = g.peek() {
		g.nz()
		if !g.try(".") {
			break
		}
	}
	if g.peek() != ']' {
		switch w := g.atom(); w {
		case "HEADER", "TEXT", "MIME":
		case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
			g.sp()
			g.list(func() { g.astring() })
		default:
			g.fail("unknown section " + w)
		}
		if kind != "BODY" {
			g.fail("text in a binary section")
		}
	}
	g.lit("]")
	if g.try("<") {
		g.number()
		g.lit(">")
	}
}

// nested is a parenthesised structure of strings, numbers and NIL.
func (g *grammar) nested() {
	for depth := 0; ; {
		switch c := g.peek(); {
		case c == '(':
			g.pos++
			depth++
			continue
		case c == ')':
			g.pos++
			depth--
		case '0' <= c && c <= '9':
			g.number()
		default:
			g.nstring()
		}
		if depth == 0 {
			return
		}
		if g.peek() != ')' && g.peek() != '(' {
			g.sp()
		}
	}
}
