package mailauth

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// DMARCPolicy is what a domain asks to be done with mail that fails (RFC 9989
// §4.7). It is empty where there is none.
type DMARCPolicy string

// The policies, from the weakest.
const (
	PolicyNone       DMARCPolicy = "none"
	PolicyQuarantine DMARCPolicy = "quarantine"
	PolicyReject     DMARCPolicy = "reject"
)

// weight orders policies.
func (p DMARCPolicy) weight() int {
	switch p {
	case PolicyReject:
		return 3
	case PolicyQuarantine:
		return 2
	case PolicyNone:
		return 1
	}
	return 0
}

// weaker is the policy one level below.
func (p DMARCPolicy) weaker() DMARCPolicy {
	if p == PolicyReject {
		return PolicyQuarantine
	}
	return PolicyNone
}

// DMARCRecord is a DMARC policy record (RFC 9989 §4.7).
type DMARCRecord struct {
	// Text is the record as published, fit for logs.
	Text string
	// P, SP and NP are empty when absent. A record without a valid p=, or with an
	// sp= or np= that is none, has only P, none (RFC 9989 §4.10.1).
	P, SP, NP DMARCPolicy
	// ADKIMStrict and ASPFStrict tell of adkim=s and aspf=s.
	ADKIMStrict, ASPFStrict bool
	// RUA and RUF are where aggregate and failure reports go, at most 20 each.
	RUA, RUF []ReportURI
	// FO is which failures are reported: "0", or letters joined by ":". It means
	// nothing without RUF.
	FO string
	// PSD is 'y', 'n' or 'u'; Testing tells of t=y.
	PSD     byte
	Testing bool
	// Pct, RI and RF are of RFC 7489 and have no effect (RFC 9989 §A.6, §C.5.2): -1,
	// 0 and "" when absent.
	Pct, RI int
	RF      string
	// Valid tells whether the record applies to mail: it has a valid p=, sp= and
	// np=, or a report address. Others only matter to the tree walk.
	Valid bool
}

// FailureOption tells whether fo= has one of its letters: '0', '1', 'd' or 's'.
func (r *DMARCRecord) FailureOption(c byte) bool { return strings.IndexByte(r.FO, c) >= 0 }

// ReportURI is where reports are sent.
type ReportURI struct {
	// URI is without the size limit that RFC 7489 allowed behind a "!", which is
	// Limit: "10m", empty without one.
	URI, Limit string
	// Mailto is the address of a mailto: URI, zero for other schemes.
	Mailto postino.Address
}

// Problem is something wrong with a record that a domain published, in words for
// its administrator.
type Problem struct {
	// Error tells that receivers ignore the thing or the record; else it is advice.
	Error bool
	// Tag is the tag or term, as far as it can be told, fit for logs; At its octet
	// in the record.
	Tag  string
	At   int
	Text string
}

const maxReportURIs = 20

// isDMARC tells whether a text is a DMARC record: it begins with v=DMARC1 (RFC 9989
// §4.7, v).
func isDMARC(text string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(first, "=")
	return ok && strings.EqualFold(strings.TrimRight(name, wsp), "v") && strings.Trim(value, wsp) == "DMARC1"
}

const wsp = " \t"

// ParseDMARC reads a policy record. It is nil when the text is none, as RFC 9989
// §4.7 says of one that does not begin with v=DMARC1. All else that is wrong is
// passed over (§4.8) and told in the problems.
func ParseDMARC(text string) (*DMARCRecord, []Problem) {
	p := dmarcParser{r: &DMARCRecord{Text: postino.Printable(text), FO: "0", PSD: 'u', Pct: -1}}
	if len(text) > maxRecord {
		p.problem(true, "v", 0, "the record is too long")
		return nil, p.problems
	}
	if !isDMARC(text) {
		p.problem(true, "v", 0, "the record does not begin with v=DMARC1")
		return nil, p.problems
	}
	at := strings.IndexByte(text, ';') + 1
	for at > 0 && at < len(text) {
		piece, rest, more := strings.Cut(text[at:], ";")
		p.tag(piece, at, strings.Trim(rest, wsp) == "")
		if at += len(piece) + 1; !more {
			break
		}
	}
	p.finish()
	return p.r, p.problems
}

type dmarcParser struct {
	r        *DMARCRecord
	seen     []string
	invalid  bool // sp= or np= are present and wrong
	problems []Problem
}

func (p *dmarcParser) problem(isError bool, tag string, at int, text string) {
	p.problems = append(p.problems, Problem{isError, postino.Printable(tag), at, text})
}

// tag reads what stands between two ";".
func (p *dmarcParser) tag(piece string, at int, last bool) {
	if strings.Trim(piece, wsp) == "" {
		if !last {
			p.problem(false, "", at, "there is nothing between two \";\"")
		}
		return
	}
	at += len(piece) - len(strings.TrimLeft(piece, wsp))
	name, value, ok := strings.Cut(piece, "=")
	name, value = strings.ToLower(strings.Trim(name, wsp)), strings.Trim(value, wsp)
	switch {
	case !ok || !letters(name):
		p.problem(true, name[:min(len(name), 20)], at, "this is no tag: a name, \"=\" and a value are wanted")
		return
	case slices.Contains(p.seen, name):
		p.problem(true, name, at, "the tag appears twice: only the first one counts")
		return
	case len(p.seen) == maxTags:
		p.problem(true, name, at, "there are too many tags")
		return
	}
	p.seen = append(p.seen, name)
	if !dmarcValue(value) {
		p.problem(true, name, at, "the value is empty or has characters that no value may have")
		p.invalid = p.invalid || name == "sp" || name == "np"
		return
	}
	p.value(name, value, at)
}

func letters(s string) bool {
	for i := range len(s) {
		if c := lower(s[i]); c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

func dmarcValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

func (p *dmarcParser) value(name, value string, at int) {
	r := p.r
	switch name {
	case "p":
		r.P = p.policy(name, value, at)
		if len(p.seen) > 1 {
			p.problem(false, name, at, "some older receivers want p= directly behind v=")
		}
	case "sp":
		r.SP = p.policy(name, value, at)
		p.invalid = p.invalid || r.SP == ""
	case "np":
		r.NP = p.policy(name, value, at)
		p.invalid = p.invalid || r.NP == ""
	case "adkim":
		r.ADKIMStrict = p.choice(name, value, at, "rs") == 's'
	case "aspf":
		r.ASPFStrict = p.choice(name, value, at, "rs") == 's'
	case "t":
		r.Testing = p.choice(name, value, at, "ny") == 'y'
	case "psd":
		r.PSD = p.choice(name, value, at, "uny")
	case "rua":
		r.RUA = p.uris(name, value, at)
	case "ruf":
		r.RUF = p.uris(name, value, at)
	case "fo":
		p.options(value, at)
	case "pct":
		r.Pct = p.historic(name, value, at, 100)
	case "ri":
		r.RI = max(0, p.historic(name, value, at, 1<<31-1))
	case "rf":
		r.RF = value
		p.problem(false, name, at, "the tag has no effect any more (RFC 9989)")
	case "v":
		p.problem(true, name, at, "the tag appears twice: only the first one counts")
	default:
		p.problem(false, name, at, "nobody knows this tag")
	}
}

func (p *dmarcParser) policy(name, value string, at int) DMARCPolicy {
	switch policy := DMARCPolicy(strings.ToLower(value)); policy {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		return policy
	}
	p.problem(true, name, at, "the policy is not none, quarantine or reject")
	return ""
}

// choice reads one of some letters, the first of which is the default.
func (p *dmarcParser) choice(name, value string, at int, of string) byte {
	if len(value) == 1 && strings.IndexByte(of, lower(value[0])) >= 0 {
		return lower(value[0])
	}
	p.problem(true, name, at, "the value is not one of "+strings.Join(strings.Split(of, ""), ", "))
	return of[0]
}

func (p *dmarcParser) historic(name, value string, at, most int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > most {
		p.problem(true, name, at, "the value is no number in its range")
		return -1
	}
	p.problem(false, name, at, "the tag has no effect any more (RFC 9989)")
	return n
}

func (p *dmarcParser) options(value string, at int) {
	var list []string
	for option := range strings.SplitSeq(strings.ToLower(value), ":") {
		option = strings.Trim(option, wsp)
		switch {
		case len(option) != 1 || strings.IndexByte("01ds", option[0]) < 0:
			p.problem(true, "fo", at, "an option is not one of 0, 1, d, s")
		case !slices.Contains(list, option):
			list = append(list, option)
		}
	}
	if slices.Contains(list, "0") && slices.Contains(list, "1") {
		p.problem(true, "fo", at, "0 and 1 exclude each other")
		list = slices.DeleteFunc(list, func(s string) bool { return s == "0" }) // 1 has all that 0 has
	}
	if len(list) > 0 {
		p.r.FO = strings.Join(list, ":")
	}
}

// uris reads a list of report addresses (RFC 9989 §4.6, §4.8).
func (p *dmarcParser) uris(name, value string, at int) []ReportURI {
	var list []ReportURI
	for text := range strings.SplitSeq(value, ",") {
		text = strings.Trim(text, wsp)
		u, ok := reportURI(text)
		switch {
		case !ok:
			p.problem(true, name, at, "this is no address for reports: "+postino.Printable(text[:min(len(text), 100)]))
		case len(list) == maxReportURIs:
			p.problem(true, name, at, "there are too many addresses")
			return list
		default:
			list = append(list, u)
		}
	}
	return list
}

func reportURI(text string) (r ReportURI, ok bool) {
	text, size, sized := strings.Cut(text, "!")
	if sized {
		digits := strings.TrimRight(strings.ToLower(size), "kmgt")
		if _, err := strconv.ParseUint(digits, 10, 64); err != nil || len(size)-len(digits) > 1 {
			return r, false
		}
		r.Limit = size
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" || strings.ContainsAny(text, wsp) {
		return r, false
	}
	r.URI = text
	if u.Scheme != "mailto" {
		return r, true
	}
	address, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return r, false
	}
	r.Mailto, err = postino.ParseAddress(address)
	return r, err == nil
}

// finish applies what RFC 9989 §4.10.1 says of records without valid policies.
func (p *dmarcParser) finish() {
	r := p.r
	if r.FO != "0" && r.RUF == nil {
		p.problem(false, "fo", 0, "fo= means nothing without ruf=")
	}
	if r.Valid = r.P != "" && !p.invalid; r.Valid {
		return
	}
	if r.P == "" && !slices.Contains(p.seen, "p") {
		p.problem(true, "p", 0, "p= is missing")
	}
	r.Valid = len(r.RUA) > 0
	r.P, r.SP, r.NP = PolicyNone, "", ""
}
