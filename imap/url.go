package imap

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

var errURL = errors.New("not the URL of a message")

// ParseURL reads the URL of a message or of a part of one (RFC 5092 §11
// imessagepart), absolute as in
//
//	imap://user@host/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s/;PARTIAL=o.n
//
// or from the "/" before the mailbox on, relative to the server that is asked.
// Paths that do not begin with "/" are refused (RFC 5092 §7.2), and so is URLAUTH
// (RFC 4467), which this server does not make. How to log in (;AUTH=) and the port
// are passed over. Of limits URL, Depth, Items and those of names count.
// What is wrong gives Invalid.
func ParseURL(s string, limits Limits) (*URL, error) {
	lim := limits.withDefaults()
	u := &URL{}
	err := errURL
	if len(s) <= lim.URL {
		err = u.parse(s, &lim)
	}
	if err != nil {
		return nil, postino.E(postino.Invalid, "parse IMAP URL", "", err)
	}
	return u, nil
}

func (u *URL) parse(s string, lim *Limits) error {
	const scheme = "imap://"
	path, ok := strings.CutPrefix(s, "/")
	if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		var server string
		if server, path, ok = strings.Cut(s[len(scheme):], "/"); ok {
			ok = u.parseServer(server)
		}
	}
	// Behind the mailbox every "/;" begins a parameter. In the parts before and
	// between ";" stands for itself only when encoded (§5).
	box, rest, found := strings.Cut(path, "/;")
	if !ok || !found || strings.ContainsAny(path, "?#") {
		return errURL
	}
	return errors.Join(u.parseMailbox(box, lim), u.parseMessage(rest, lim))
}

// parseServer reads "user;AUTH=x@host:port".
func (u *URL) parseServer(s string) (ok bool) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		name, _, _ := strings.Cut(s[:i], ";")
		if u.User, ok = unescape(name); !ok {
			return false
		}
		s = s[i+1:]
	}
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		s = s[:i]
	}
	if u.Host, ok = unescape(s); strings.HasPrefix(s, "[") {
		return ipLiteral(s)
	}
	return ok && s != "" && !strings.ContainsAny(u.Host, "/@:;?#%[] ")
}

// ipLiteral recognises an IPv6 address in brackets (RFC 3986 §3.2.2).
func ipLiteral(s string) bool {
	return len(s) > 2 && s[0] == '[' && strings.IndexByte(s, ']') == len(s)-1 && strings.Trim(s[1:len(s)-1], "0123456789abcdefABCDEF:.") == ""
}

// parseMailbox reads "mailbox;UIDVALIDITY=n". The mailbox is in UTF-8 (§8).
func (u *URL) parseMailbox(s string, lim *Limits) error {
	name, param, more := strings.Cut(s, ";")
	if more {
		text, ok := parameter(param, "UIDVALIDITY")
		if !ok || !nzNumber(text, &u.UIDValidity) {
			return errURL
		}
	}
	name, ok := unescape(name)
	if u.Mailbox = canonicalName(name); !ok || !lim.nameAllowed(u.Mailbox) {
		return errURL
	}
	return nil
}

// parseMessage reads "UID=n/;SECTION=s/;PARTIAL=o.n" without the first ";".
func (u *URL) parseMessage(s string, lim *Limits) error {
	param, rest, more := strings.Cut(s, "/;")
	text, ok := parameter(param, "UID")
	if !ok || !nzNumber(text, &u.UID) {
		return errURL
	}
	if more {
		param, s, more = strings.Cut(rest, "/;")
		if text, ok = parameter(param, "SECTION"); ok {
			if err := u.parseSection(text, lim); err != nil || !more {
				return err
			}
			param, _, more = strings.Cut(s, "/;")
		}
		if text, ok = parameter(param, "PARTIAL"); !ok || more || !u.parsePartial(text) {
			return errURL
		}
	}
	return nil
}

// maxURLField bounds the name of a header field in a URL.
const maxURLField = 255

// parseSection reads a section-spec (RFC 9051 §9).
func (u *URL) parseSection(text string, lim *Limits) error {
	p := wire.Parser{Literals: noLiterals{}}
	p.Reset([]byte(text))
	err := parseSectionSpec(&p, &u.Section, lim)
	for _, f := range u.Section.Fields {
		if len(f) > maxURLField {
			return errURL
		}
	}
	if err != nil || len(p.Rest()) > 0 {
		return errURL
	}
	return nil
}

// noLiterals serves where no client can be asked for the octets of a literal.
type noLiterals struct{}

func (noLiterals) ReadLiteral(*wire.Parser, wire.Literal) ([]byte, error) { return nil, errURL }

// parsePartial reads "offset.length"; without length it goes to the end.
func (u *URL) parsePartial(s string) bool {
	offset, length, limited := strings.Cut(s, ".")
	o, err := strconv.ParseUint(offset, 10, 63)
	n := uint64(math.MaxInt64)
	if err == nil && limited {
		n, err = strconv.ParseUint(length, 10, 63)
	}
	u.Section.Partial, u.Section.Offset, u.Section.Length = true, int64(o), int64(n)
	return err == nil && n > 0
}

// parameter reads "name=value".
func parameter(s, name string) (string, bool) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || !strings.EqualFold(key, name) || strings.IndexByte(value, ';') >= 0 {
		return "", false
	}
	return unescape(value)
}

// unescape removes percent-encoding; what comes out is UTF-8 without controls.
func unescape(s string) (string, bool) {
	s, err := url.PathUnescape(s)
	return s, err == nil && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// nzNumber reads an nz-number.
func nzNumber(s string, n *uint32) bool {
	v, err := strconv.ParseUint(s, 10, 32)
	*n = uint32(v)
	return err == nil && v > 0
}

// String prints the URL; ParseURL reads it back.
func (u *URL) String() string { return string(u.append(nil)) }

func (u *URL) append(dst []byte) []byte {
	if u.Host != "" {
		dst = append(dst, "imap://"...)
		if u.User != "" {
			dst = append(appendEscaped(dst, u.User, ""), '@')
		}
		dst = append(dst, u.Host...)
	}
	dst = appendEscaped(append(dst, '/'), u.Mailbox, ":@/")
	if u.UIDValidity != 0 {
		dst = strconv.AppendUint(append(dst, ";UIDVALIDITY="...), uint64(u.UIDValidity), 10)
	}
	dst = strconv.AppendUint(append(dst, "/;UID="...), uint64(u.UID), 10)
	if s := &u.Section; len(s.Path) > 0 || s.Text != SectionAll {
		dst = appendEscaped(append(dst, "/;SECTION="...), string(s.appendSpec(nil, true)), ":@")
	}
	if s := &u.Section; s.Partial {
		dst = strconv.AppendInt(append(dst, "/;PARTIAL="...), s.Offset, 10)
		if s.Length != math.MaxInt64 {
			dst = strconv.AppendInt(append(dst, '.'), s.Length, 10)
		}
	}
	return dst
}

// appendEscaped percent-encodes all but achar (§11) and the characters in also.
func appendEscaped(dst []byte, s, also string) []byte {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'A' <= c&^0x20 && c&^0x20 <= 'Z', strings.IndexByte("-._~!$'()*+,&=", c) >= 0, strings.IndexByte(also, c) >= 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}
