package mailauth

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// SPFRecord is an SPF record (RFC 7208 §4.5, §12).
type SPFRecord struct {
	// Text is the record as published, fit for logs.
	Text  string
	Terms []SPFTerm
	// Redirect and Exp are the domain-specs of the modifiers, empty when absent.
	Redirect, Exp string
}

// SPFTerm is a mechanism or a modifier.
type SPFTerm struct {
	// At is the octet of the record where Text, the term as written, begins.
	At   int
	Text string
	// Qualifier of a mechanism is one of "+-~?"; 0 for modifiers.
	Qualifier byte
	// Name is in lower case: all include a mx ptr ip4 ip6 exists, or a modifier.
	Name string
	// Domain is the domain-spec, with its macros; the value of other modifiers.
	Domain string
	// Prefix is the network of ip4 and ip6; CIDR4 and CIDR6 are what a and mx
	// compare, 32 and 128 when absent.
	Prefix       netip.Prefix
	CIDR4, CIDR6 int
}

// bare is the term without qualifier.
func (t *SPFTerm) bare() string { return strings.TrimLeft(t.Text, "+-~?") }

// result is what a mechanism makes of clients that match (RFC 7208 §4.6.2).
func (t *SPFTerm) result() Result {
	switch t.Qualifier {
	case '-':
		return Fail
	case '~':
		return SoftFail
	case '?':
		return Neutral
	}
	return Pass
}

// maxSPFRecord is MA3.
const maxSPFRecord = 4 << 10

// isSPF tells whether a text is an SPF record (RFC 7208 §4.5).
func isSPF(text string) bool {
	return len(text) >= 6 && strings.EqualFold(text[:6], "v=spf1") && (len(text) == 6 || text[6] == ' ')
}

// ParseSPF reads an SPF record. It is nil when the text is none. A problem that is
// an error makes the record worthless to receivers: their result is permerror (RFC
// 7208 §4.6).
func ParseSPF(text string) (*SPFRecord, []Problem) {
	p := spfParser{r: &SPFRecord{Text: postino.Printable(text[:min(len(text), maxSPFRecord)])}}
	switch {
	case !isSPF(text):
		p.problem(true, "v", 0, "the record does not begin with v=spf1 and a space")
		return nil, p.problems
	case len(text) > maxSPFRecord:
		p.problem(true, "v", 0, "the record is longer than 4 KiB")
		return p.r, p.problems
	}
	for at := 6; at < len(text); {
		if text[at] == ' ' {
			at++
			continue
		}
		n := strings.IndexByte(text[at:], ' ')
		if n < 0 {
			n = len(text) - at
		}
		p.term(text[at:at+n], at)
		at += n
	}
	p.finish(len(text))
	return p.r, p.problems
}

type spfParser struct {
	r        *SPFRecord
	problems []Problem
}

func (p *spfParser) problem(isError bool, tag string, at int, text string) {
	p.problems = append(p.problems, Problem{isError, postino.Printable(tag[:min(len(tag), 100)]), at, text})
}

// term reads a directive or a modifier (RFC 7208 §4.6.1).
func (p *spfParser) term(text string, at int) {
	t := SPFTerm{At: at, Text: text, CIDR4: 32, CIDR6: 128}
	if i := strings.IndexAny(text, ":/="); i > 0 && text[i] == '=' {
		t.Name, t.Domain = strings.ToLower(text[:i]), text[i+1:]
		p.modifier(&t)
		return
	}
	rest := text
	t.Qualifier = '+'
	if strings.IndexByte("+-~?", text[0]) >= 0 {
		t.Qualifier, rest = text[0], text[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	t.Name, rest = strings.ToLower(rest[:end]), rest[end:]
	if why := t.mechanism(rest); why != "" {
		p.problem(true, text, at, why)
		return
	}
	p.r.Terms = append(p.r.Terms, t)
}

// mechanism reads what follows the name of a mechanism (RFC 7208 §5), and tells
// what is wrong with it.
func (t *SPFTerm) mechanism(rest string) string {
	argument, has := strings.CutPrefix(rest, ":")
	switch t.Name {
	case "all":
		if rest != "" {
			return "all has no argument"
		}
		return ""
	case "ip4", "ip6":
		return t.network(argument)
	case "include", "exists":
		if !has {
			return t.Name + " needs a domain"
		}
		return t.domain(argument)
	case "ptr":
		if rest == "" {
			return ""
		}
		if !has {
			return "ptr has no prefix length"
		}
		return t.domain(argument)
	case "a", "mx":
		spec, why := t.lengths(rest)
		if why != "" || spec == "" {
			return why
		}
		if spec[0] != ':' {
			return "a \":\" is missing"
		}
		return t.domain(spec[1:])
	}
	return "nobody knows this mechanism"
}

func (t *SPFTerm) domain(spec string) string {
	t.Domain = spec
	return domainSpec(spec)
}

// network reads an address with or without prefix length (RFC 7208 §5.6).
func (t *SPFTerm) network(s string) string {
	host, length, has := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" || ip.Is4() != (t.Name == "ip4") {
		return "this is no address of " + map[string]string{"ip4": "IPv4", "ip6": "IPv6"}[t.Name]
	}
	bits := ip.BitLen()
	if has {
		n, ok := prefixLength(length, bits)
		if !ok {
			return "this is no prefix length"
		}
		bits = n
	}
	t.Prefix = netip.PrefixFrom(ip, bits)
	return ""
}

// lengths takes a dual-cidr-length off the end (RFC 7208 §5.3).
func (t *SPFTerm) lengths(s string) (spec, why string) {
	digits := func() (string, bool) {
		i := strings.LastIndexByte(s, '/')
		if i < 0 || strings.IndexFunc(s[i+1:], func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
			return "", false
		}
		d := s[i+1:]
		s = s[:i]
		return d, true
	}
	ok := true
	d, has := digits()
	if has && strings.HasSuffix(s, "/") {
		s = s[:len(s)-1]
		t.CIDR6, ok = prefixLength(d, 128)
		if !ok {
			return s, "this is no prefix length"
		}
		d, has = digits()
	}
	if has {
		t.CIDR4, ok = prefixLength(d, 32)
	}
	if !ok {
		return s, "this is no prefix length"
	}
	return s, ""
}

func prefixLength(s string, most int) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && int(n) <= most && (len(s) == 1 || s[0] != '0')
}

func (p *spfParser) modifier(t *SPFTerm) {
	value := &p.r.Redirect
	switch t.Name {
	case "exp":
		value = &p.r.Exp
		fallthrough
	case "redirect":
		if why := domainSpec(t.Domain); why != "" {
			p.problem(true, t.Text, t.At, why)
			return
		}
		if *value != "" { // RFC 7208 §6
			p.problem(true, t.Text, t.At, t.Name+"= appears twice")
			return
		}
		*value = t.Domain
	case "v":
		p.problem(true, t.Text, t.At, "v= appears twice")
		return
	default:
		if !modifierName(t.Name) {
			p.problem(true, t.Text, t.At, "this is no name of a modifier")
			return
		}
		if _, why := macroParts(t.Domain); why != "" {
			p.problem(true, t.Text, t.At, why)
			return
		}
		p.problem(false, t.Text, t.At, "nobody knows this modifier")
	}
	p.r.Terms = append(p.r.Terms, *t)
}

func modifierName(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && strings.IndexByte("-_.", c) < 0) {
			return false
		}
	}
	return s != ""
}

// finish adds advice to a record of size octets.
func (p *spfParser) finish(size int) {
	all := slices.IndexFunc(p.r.Terms, func(t SPFTerm) bool { return t.Name == "all" })
	for i, t := range p.r.Terms {
		switch {
		case t.Name == "all" && t.Qualifier == '+':
			p.problem(false, t.Text, t.At, "this lets the whole world send for the domain")
		case t.Name == "ptr":
			p.problem(false, t.Text, t.At, "ptr is slow and unreliable and should not be used (RFC 7208 §5.5)")
		case all >= 0 && i > all && t.Qualifier != 0:
			p.problem(false, t.Text, t.At, "nothing behind all is ever looked at")
		case all >= 0 && t.Name == "redirect":
			p.problem(false, t.Text, t.At, "redirect= means nothing beside all")
		case t.Prefix.IsValid() && t.Qualifier == '+' && t.Prefix.Bits() == 0:
			p.problem(false, t.Text, t.At, "this lets the whole world send for the domain")
		}
	}
	if all < 0 && p.r.Redirect == "" {
		p.problem(false, "all", size, "there is no all at the end: other hosts are neither allowed nor forbidden")
	}
}
