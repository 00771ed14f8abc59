package reports

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// level says how much a report tells, so that it fits into MaxSize.
type level struct {
	words int  // octets of each Diagnostic-Code
	names int  // addresses named in the text
	said  int  // replies quoted in the text
	last  bool // nothing that RFC 3461 §6.3 does not demand; no shorter one follows
}

// leastWords has room for both codes of a reply.
const leastWords = 24

// levels are tried in order until one fits.
func levels() [3]level {
	return [...]level{{words: maxValue, names: 40, said: 10}, {words: 150, names: 20, said: 3}, {words: leastWords, names: 10, last: true}}
}

// groups returns the fields of the delivery status: first those of the message,
// then those of each recipient (RFC 3464 §2.2, §2.3).
func (d *DSN) groups(lv level, utf8 bool) [][]message.ReportField {
	all := make([][]message.ReportField, 0, len(d.Rcpts)+1)
	var g fieldGroup
	g.add("Original-Envelope-Id", "", d.EnvID)
	typ := "dns"
	if !strings.Contains(d.ReportingMTA, ".") { // RFC 3461 §6.3 (b): no name that others know
		typ = "x-local-hostname"
	}
	g.add("Reporting-MTA", typ, d.ReportingMTA)
	g.add("Received-From-MTA", "dns", d.ReceivedFrom)
	g.date("Arrival-Date", d.Arrival)
	g.date("Deliver-By-Date", d.DeliverBy) // RFC 2852 §5
	all = append(all, g)
	for i := range d.Rcpts {
		all = append(all, d.Rcpts[i].fields(lv, utf8))
	}
	return all
}

func (r *DSNRcpt) fields(lv level, utf8 bool) []message.ReportField {
	var g fieldGroup
	g.original(r.Original, utf8)
	g.address("Final-Recipient", r.Final, utf8)
	g.add("Action", "", r.Action.String())
	g.add("Status", "", r.status())
	g.add("Remote-MTA", "dns", r.RemoteMTA)
	if r.Diagnostic != "" {
		g.put("Diagnostic-Code", diagnosticType(r.Diagnostic), clean(r.Diagnostic, lv.words))
	}
	if lv.last {
		return g
	}
	g.date("Last-Attempt-Date", r.LastAttempt)
	g.add("Final-Log-ID", "", r.FinalLogID)
	if r.Action == Delayed {
		g.date("Will-Retry-Until", r.WillRetryUntil) // RFC 3464 §2.3.9: of no other action
	}
	return g
}

// diagnosticType is "smtp" for a reply of SMTP and a type of our own for other
// words (RFC 3464 §2.3.6).
func diagnosticType(s string) string {
	if replyCode(s) != "" {
		return "smtp"
	}
	return "x-postino"
}

// replyCode returns the three digits at the start of an SMTP reply (RFC 5321
// §4.2), or nothing.
func replyCode(s string) string {
	if len(s) < 3 || s[0] < '2' || s[0] > '5' || s[1] < '0' || s[1] > '9' || s[2] < '0' || s[2] > '9' {
		return ""
	}
	if len(s) > 3 && s[3] != ' ' && s[3] != '-' {
		return ""
	}
	return s[:3]
}

// fieldGroup is a group of fields whose values are clean.
type fieldGroup []message.ReportField

// add appends a field unless its value is empty.
func (g *fieldGroup) add(name, typ, value string) {
	g.put(name, typ, clean(value, maxValue))
}

// put is add for a value that is clean.
func (g *fieldGroup) put(name, typ, value string) {
	if value == "" {
		return
	}
	if typ != "" {
		value = typ + "; " + value
	}
	*g = append(*g, message.ReportField{Name: name, Value: value})
}

func (g *fieldGroup) date(name string, t time.Time) {
	if !t.IsZero() {
		g.add(name, "", t.Format(dateLayout))
	}
}

// dateLayout is the date-time of RFC 5322 §3.3.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

func (g *fieldGroup) address(name string, a postino.Address, utf8 bool) {
	switch {
	case a.IsNull():
		g.add(name, "rfc822", "unknown")
	case a.NeedsUTF8():
		g.put(name, "utf-8", clean(unitext(a.String(), utf8), maxAddress))
	default:
		s := a.String()
		if strings.Contains(s, "  ") { // in a quoted string; folding leaves single spaces alone
			s = strings.ReplaceAll(s, " ", `\ `)
		}
		g.add(name, "rfc822", s)
	}
}

// original appends Original-Recipient from an ORCPT (RFC 3464 §2.3.1); without
// an address type it says nothing.
func (g *fieldGroup) original(orcpt string, utf8 bool) {
	typ, address, ok := strings.Cut(orcpt, ";")
	if typ = strings.ToLower(typ); !ok || !atom(typ) {
		return
	}
	if typ == "utf-8" || typ == "rfc822" && !asciiOnly(address) {
		typ, address = "utf-8", unitext(address, utf8)
	}
	g.put("Original-Recipient", typ, clean(address, maxAddress))
}

// atom tells whether s is an address type.
func atom(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\".[]`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

// unitext writes an address of type utf-8 so that it can be read back from a
// field (RFC 6533 §3): in ASCII with \x{HEX}, or with its UTF-8 kept and nothing
// escaped but backslashes and the spaces between words.
func unitext(s string, keep bool) string {
	if keep && !strings.ContainsAny(s, `\ `) {
		return s
	}
	out := make([]byte, 0, len(s)+16)
	for _, r := range s {
		special := r == '\\' || r <= ' ' || !keep && (r == '+' || r == '=' || r >= 0x7f)
		if !special {
			out = utf8.AppendRune(out, r)
			continue
		}
		out = fmt.Appendf(out, `\x{%02X}`, r)
	}
	return string(out)
}

// parseUnitext undoes unitext; what is no escape stays as it is.
func parseUnitext(s string) string {
	var out []byte
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		out = append(out, before...)
		if !ok {
			return string(out)
		}
		n := strings.IndexByte(rest[:min(len(rest), 7)], '}')
		if n < 2 {
			out, s = append(out, `\x{`...), rest
			continue
		}
		r, err := strconv.ParseUint(rest[:n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(r)) {
			out, s = append(out, `\x{`...), rest
			continue
		}
		out, s = utf8.AppendRune(out, rune(r)), rest[n+1:]
	}
}
