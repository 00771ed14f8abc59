package mailauth

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// macroPart is a literal or a macro of a macro-string (RFC 7208 §7.1).
type macroPart struct {
	literal    string
	letter     byte // 0 for a literal
	escape     bool // upper case: for URLs
	digits     int  // 0: all
	reverse    bool
	delimiters string
}

// macroParts reads a macro-string and tells what is wrong with it.
func macroParts(s string) (parts []macroPart, why string) {
	literal := func(text string) {
		if n := len(parts); n > 0 && parts[n-1].letter == 0 {
			parts[n-1].literal += text
			return
		}
		parts = append(parts, macroPart{literal: text})
	}
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i != 0 {
			if i < 0 {
				i = len(s)
			}
			if strings.IndexFunc(s[:i], func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
				return nil, "there is a character that no term may have"
			}
			literal(s[:i])
			s = s[i:]
			continue
		}
		switch {
		case strings.HasPrefix(s, "%%"):
			literal("%")
		case strings.HasPrefix(s, "%_"):
			literal(" ")
		case strings.HasPrefix(s, "%-"):
			literal("%20")
		case strings.HasPrefix(s, "%{"):
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return nil, "a macro does not end"
			}
			p, ok := parseMacro(s[2:end])
			if !ok {
				return nil, "this is no macro: " + postino.Printable(s[:end+1])
			}
			parts = append(parts, p)
			s = s[end+1:]
			continue
		default:
			return nil, "a \"%\" begins no macro"
		}
		s = s[2:]
	}
	return parts, ""
}

// parseMacro reads what is between "%{" and "}".
func parseMacro(s string) (p macroPart, ok bool) {
	if s == "" || strings.IndexByte("slodiphcrtv", lower(s[0])) < 0 {
		return p, false
	}
	p = macroPart{letter: lower(s[0]), escape: s[0] < 'a', delimiters: "."}
	s = s[1:]
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	if n > 0 {
		digits, err := strconv.ParseUint(s[:n], 10, 16)
		if digits == 0 || err != nil { // RFC 7208 §7.1: not zero; there are at most 128 parts
			return p, false
		}
		p.digits, s = int(digits), s[n:]
	}
	if s != "" && lower(s[0]) == 'r' {
		p.reverse, s = true, s[1:]
	}
	if s != "" {
		p.delimiters = s
	}
	return p, strings.Trim(s, ".-+,/_=") == ""
}

// domainSpec tells what is wrong with a domain-spec (RFC 7208 §7.1).
func domainSpec(s string) string {
	parts, why := macroParts(s)
	switch {
	case why != "":
		return why
	case len(parts) == 0:
		return "a domain is missing"
	case slices.ContainsFunc(parts, func(p macroPart) bool { return p.letter == 'c' || p.letter == 'r' || p.letter == 't' }):
		return "the macros c, r and t are for explanations only" // RFC 7208 §7.2
	}
	last := parts[len(parts)-1]
	if last.letter != 0 || strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-") {
		return ""
	}
	text := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 || !topLabel(text[dot+1:]) {
		return "this is no domain name"
	}
	return ""
}

// topLabel is toplabel of RFC 7208 §7.1.
func topLabel(s string) bool {
	digits := true
	for i := range len(s) {
		switch c := lower(s[i]); {
		case 'a' <= c && c <= 'z', c == '-' && i > 0 && i < len(s)-1:
			digits = false
		case '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return s != "" && !digits
}

// macroEnv is what the macros stand for.
type macroEnv struct {
	client Client
	local  string // of the sender, unquoted
	sender string // its domain
	domain string // of the record at hand
}

// expand expands a macro-string; ok is false if it is malformed.
func (e *macroEnv) expand(s string) (text string, ok bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	parts, why := macroParts(s)
	if why != "" {
		return "", false
	}
	var b strings.Builder
	for _, p := range parts {
		if p.letter == 0 {
			b.WriteString(p.literal)
			continue
		}
		b.WriteString(p.transform(e.value(p.letter)))
	}
	return b.String(), true
}

func (e *macroEnv) value(letter byte) string {
	switch letter {
	case 's':
		return e.local + "@" + e.sender
	case 'l':
		return e.local
	case 'o':
		return e.sender
	case 'd':
		return e.domain
	case 'i':
		return dotted(e.client.Remote)
	case 'p':
		return "unknown" // RFC 7208 §7.3: should not be used, nor asked for
	case 'v':
		if e.client.Remote.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return e.client.Helo
	case 'c':
		return e.client.Remote.String()
	case 'r':
		if e.client.Host == "" {
			return "unknown"
		}
		return e.client.Host
	}
	now := e.client.Now // 't'
	if now.IsZero() {
		now = time.Now()
	}
	return strconv.FormatInt(now.Unix(), 10)
}

// dotted is an address as names have it (RFC 7208 §7.3, i).
func dotted(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	const hex = "0123456789abcdef"
	var b []byte
	for _, octet := range a.As16() {
		b = append(b, hex[octet>>4], '.', hex[octet&15], '.')
	}
	return string(b[:len(b)-1])
}

// transform splits, turns round, cuts and joins a value (RFC 7208 §7.3).
func (p *macroPart) transform(s string) string {
	if p.digits > 0 || p.reverse || p.delimiters != "." {
		list := strings.Split(strings.Map(func(r rune) rune {
			if strings.ContainsRune(p.delimiters, r) {
				return 0 // which is in no value
			}
			return r
		}, strings.ReplaceAll(s, "\x00", "")), "\x00")
		if p.reverse {
			slices.Reverse(list)
		}
		if p.digits > 0 && p.digits < len(list) {
			list = list[len(list)-p.digits:]
		}
		s = strings.Join(list, ".")
	}
	if p.escape {
		s = escapeURL(s)
	}
	return s
}

// escapeURL escapes all but the unreserved characters (RFC 3986 §2.3).
func escapeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if l := lower(c); 'a' <= l && l <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// fitName takes labels off the left until a name fits (RFC 7208 §7.3).
func fitName(name string) string {
	for len(strings.TrimSuffix(name, ".")) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name
}
