package mailauth

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// AuthResult is the result of one method (RFC 8601 §2.2).
type AuthResult struct {
	Method string // in lower case: dkim, spf, dmarc, arc
	Result Result
	// Reason is for people; Comment too, and stands in parentheses. Either may be
	// empty, and hold anything: the writer escapes it.
	Reason, Comment string
	Props           []Prop
}

// Prop is a property that a method judged, "header.d=example.org".
type Prop struct {
	Type, Name, Value string
}

// AuthResults is an Authentication-Results field.
type AuthResults struct {
	// ID is the authserv-id: who says it. Without checking it the rest proves
	// nothing.
	ID string
	// Results are empty for "none".
	Results []AuthResult
}

const maxResultText = 200

// AppendAuthResults appends a whole Authentication-Results field with its CRLF
// (RFC 8601 §2.2). No value can bring in a result, a field or a line.
func AppendAuthResults(dst []byte, id string, results []AuthResult) []byte {
	return append(dst, appendResults(folder{[]byte("Authentication-Results:"), 23}, id, results)...)
}

func appendResults(f folder, id string, results []AuthResult) []byte {
	f.put(value(id))
	if len(results) == 0 {
		f.join("; none")
	}
	for _, r := range results {
		f.join(";")
		f.fold()
		f.join(keyword(r.Method) + "=" + keyword(string(r.Result)))
		if r.Comment != "" {
			f.put("(" + escape(r.Comment, `()\`) + ")")
		}
		if r.Reason != "" {
			f.put(`reason="` + escape(r.Reason, `"\`) + `"`)
		}
		for _, p := range r.Props {
			f.put(keyword(p.Type) + "." + keyword(p.Name) + "=" + value(p.Value))
		}
	}
	return append(f.dst, crlf...)
}

// keyword leaves only what a keyword may have.
func keyword(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (lower(byte(r)) >= 'a' && lower(byte(r)) <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return r
		}
		return -1
	}, s)
	if s == "" {
		return "x"
	}
	return s
}

// value writes a value bare where it is a token or an address, else in quotes.
func value(s string) string {
	for i := 0; i < len(s); i++ {
		if !valueChar(s[i]) {
			return `"` + escape(s, `"\`) + `"`
		}
	}
	if s == "" || len(s) > maxResultText || strings.Count(s, "@") > 1 {
		return `"` + escape(s, `"\`) + `"`
	}
	return s
}

func valueChar(b byte) bool {
	return b > ' ' && b < 0x7f && !strings.ContainsRune(`()<>,;:\"/[]?=`, rune(b))
}

// escape makes a text printable, short, and puts a backslash before the marks.
func escape(s, marks string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxResultText {
		s = strings.ToValidUTF8(s[:maxResultText], "")
	}
	var b strings.Builder
	for _, r := range postino.Printable(s) {
		if b.Len() > 2*maxResultText { // a line has at most 998 octets
			break
		}
		if strings.ContainsRune(marks, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Results are the results of the signatures for Authentication-Results (RFC 8601
// §2.7.1, RFC 6008 §4, RFC 8617 §6).
func (v *Verdict) Results() []AuthResult {
	var list []AuthResult
	for i := range v.DKIM {
		s := &v.DKIM[i]
		r := AuthResult{Method: "dkim", Result: s.Result, Reason: s.Reason}
		if s.KeyBits > 0 {
			r.Comment = strconv.Itoa(s.KeyBits) + "-bit key"
		}
		if s.Testing {
			r.Comment = strings.TrimPrefix(r.Comment+", testing", ", ")
		}
		for _, p := range []Prop{{"header", "d", s.Domain}, {"header", "i", s.Identity}, {"header", "s", s.Selector},
			{"header", "a", s.Algorithm}, {"header", "b", v.prefix(i)}} {
			if p.Value != "" {
				r.Props = append(r.Props, p)
			}
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		list = append(list, AuthResult{Method: "dkim", Result: None})
	}
	arc := AuthResult{Method: "arc", Result: v.ARC.Result, Reason: v.ARC.Reason}
	if v.ARC.Result == Pass {
		arc.Props = []Prop{{"header", "oldest-pass", strconv.Itoa(v.ARC.OldestPass)}}
	}
	return append(list, arc)
}

// prefix is the beginning of b= that no other signature has, of at least 8 octets.
func (v *Verdict) prefix(i int) string {
	b := v.DKIM[i].Data
	for n := 8; n < len(b); n++ {
		alone := true
		for j := range v.DKIM {
			alone = alone && (j == i || !strings.HasPrefix(v.DKIM[j].Data, b[:n]))
		}
		if alone {
			return b[:n]
		}
	}
	return b
}

var (
	errResults     = errors.New("not a value of Authentication-Results")
	errResultsMany = errors.New("too many results")
)

const maxProps = 64

// ParseAuthResults reads the value of an Authentication-Results field (RFC 8601
// §2.2), or what follows the instance in ARC-Authentication-Results. More than max
// results, zero for 100, are refused like what is malformed, with
// postino.Invalid; ID is set if it could be read.
func ParseAuthResults(v []byte, max int) (*AuthResults, error) {
	p := &resultParser{rest: v}
	a := &AuthResults{ID: strings.ToLower(p.word(";"))}
	if max <= 0 {
		max = 100
	}
	if p.skip(); !p.bad && len(p.rest) > 0 && p.rest[0] != ';' {
		if version := p.word(";"); version != "1" {
			p.bad = true
		}
	}
	for !p.bad && p.take(';') {
		if p.skip(); len(p.rest) == 0 {
			break // a last ";" is common
		}
		if len(a.Results) == max {
			return a, postino.E(postino.Invalid, "read authentication results", a.ID, errResultsMany)
		}
		if r, ok := p.result(); ok {
			a.Results = append(a.Results, r)
		}
	}
	if p.skip(); p.bad || a.ID == "" || len(p.rest) > 0 {
		return a, postino.E(postino.Invalid, "read authentication results", a.ID, errResults)
	}
	return a, nil
}

// resultParser reads tokens; bad stays once it is set.
type resultParser struct {
	rest    []byte
	comment string // the last one
	bad     bool
}

// skip passes over white space and comments, which nest (RFC 5322 §3.2.2).
func (p *resultParser) skip() {
	depth, text := 0, []byte(nil)
	for i, b := 0, byte(0); i < len(p.rest); i++ {
		switch b = p.rest[i]; {
		case b == '(':
			if depth++; depth == 1 {
				text = text[:0]
				continue
			}
		case b == ')' && depth > 0:
			if depth--; depth == 0 {
				p.comment = string(text)
				continue
			}
		case b == '\\' && depth > 0 && i+1 < len(p.rest):
			i++
			b = p.rest[i]
		case b == ' ', b == '\t', b == '\r', b == '\n':
		case depth == 0:
			p.rest = p.rest[i:]
			return
		}
		if depth > 0 && len(text) < maxResultText {
			text = append(text, b)
		}
	}
	p.rest = nil
	p.bad = p.bad || depth > 0
}

func (p *resultParser) take(b byte) bool {
	p.skip()
	if len(p.rest) == 0 || p.rest[0] != b {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// word reads a value to white space, a comment or one of the stops; pieces of it
// may be in quotes.
func (p *resultParser) word(stops string) string {
	p.skip()
	var out []byte
	for len(p.rest) > 0 {
		b := p.rest[0]
		if b <= ' ' || b == '(' || strings.IndexByte(stops, b) >= 0 {
			break
		}
		p.rest = p.rest[1:]
		if b == '"' {
			out = p.quoted(out)
		} else {
			out = append(out, b)
		}
	}
	return string(out)
}

func (p *resultParser) quoted(out []byte) []byte {
	for i := 0; i < len(p.rest); i++ {
		switch b := p.rest[i]; {
		case b == '"':
			p.rest = p.rest[i+1:]
			return out
		case b == '\\' && i+1 < len(p.rest):
			i++
			out = append(out, p.rest[i])
		case b != '\r' && b != '\n':
			out = append(out, b)
		}
	}
	p.rest, p.bad = nil, true
	return out
}

// result reads what stands between two ";"; ok is false for "none".
func (p *resultParser) result() (r AuthResult, ok bool) {
	r.Method = strings.ToLower(p.word(";=/"))
	if p.skip(); r.Method == "none" && (len(p.rest) == 0 || p.rest[0] == ';') {
		return r, false
	}
	if p.take('/') {
		p.bad = p.bad || p.word(";=") != "1"
	}
	p.bad = p.bad || !p.take('=') || r.Method == ""
	r.Result = Result(strings.ToLower(p.word(";=")))
	p.comment = ""
	p.bad = p.bad || r.Result == ""
	p.skip()
	r.Comment = p.comment
	for !p.bad && len(p.rest) > 0 && p.rest[0] != ';' {
		name := strings.ToLower(p.word(";=."))
		prop := Prop{Type: name}
		dot := p.take('.')
		if dot {
			prop.Name = strings.ToLower(p.word(";="))
		}
		if p.bad = p.bad || !p.take('=') || len(r.Props) == maxProps || name == "" || dot && prop.Name == ""; p.bad {
			break
		}
		prop.Value = p.word(";")
		switch {
		case dot:
			r.Props = append(r.Props, prop)
		case name == "reason":
			r.Reason = prop.Value
		default:
			p.bad = true
		}
		p.skip()
	}
	return r, !p.bad
}

// RemoveAuthResults appends the raw header without the Authentication-Results that
// claim to be ours (RFC 8601 §5, MA2), and tells how many it left out. ours judges
// an id, which is in lower-case A-labels when it is a domain. Fields with a name,
// an id or a version that cannot be read go too, for a reader might see ours in
// them. Fields of ARC stay: what they claim is proven by
// their seals or not at all.
func RemoveAuthResults(dst, rawHeader []byte, ours func(id string) bool) (out []byte, removed int) {
	end := 0
	for f := range message.Fields(rawHeader) {
		end += len(f.Raw)
		if claims(f.Raw, ours) {
			removed++
			continue
		}
		dst = append(dst, f.Raw...)
	}
	return append(dst, rawHeader[end:]...), removed
}

// What is looked at of a name and of an id, with the comments before it: the work
// stays linear.
const (
	maxClaimName = 256
	maxClaimID   = 4 << 10
)

// claims tells whether a raw field, or what a reader takes for one who ends lines
// at any CR, is one of ours.
func claims(raw []byte, ours func(string) bool) bool {
	for line := raw; len(line) > 0; {
		name, _, ok := bytes.Cut(line[:min(len(line), maxClaimName)], []byte{':'})
		if ok && isAuthResults(name) && claimed(line[len(name)+1:], ours) {
			return true
		}
		i := 1 + bytes.IndexByte(line, '\r')
		if i == 0 {
			return false
		}
		if line = line[i:]; len(line) > 0 && line[0] == '\n' {
			line = line[1:]
		}
	}
	return false
}

// isAuthResults compares a name without what is no visible character in it.
func isAuthResults(name []byte) bool {
	const want = "authentication-results"
	n := 0
	for _, b := range name {
		switch {
		case b <= ' ' || b >= 0x7f:
		case n < len(want) && lower(b) == want[n]:
			n++
		default:
			return false
		}
	}
	return n == len(want)
}

// claimed tells whether the id at the start of a value is ours, or none that can
// be read.
func claimed(v []byte, ours func(string) bool) bool {
	cut := len(v) > maxClaimID
	p := &resultParser{rest: v[:min(len(v), maxClaimID)]}
	id := canonicalID(p.word(";"))
	if p.bad || id == "" || strings.Contains(id, "=?") || cut && len(p.rest) == 0 {
		return true
	}
	if p.skip(); len(p.rest) > 0 && p.rest[0] != ';' && p.word(";") != "1" {
		return true // RFC 8601 §5: a version that we do not know
	}
	return ours(id)
}

// canonicalID makes ids comparable: an authserv-id has the syntax of a value but
// is a domain nearly always (RFC 8601 §2.5).
func canonicalID(id string) string {
	id = strings.TrimRight(strings.TrimSpace(id), ".")
	if d, err := postino.CanonicalDomain(id); err == nil {
		return d
	}
	return strings.ToLower(id)
}
