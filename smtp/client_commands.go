package smtp

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// appendMail appends the MAIL command with its CRLF.
func (t *sending) appendMail(b []byte) []byte {
	m, env, o := t.m, t.m.Envelope, &t.c.offers
	b = append(b, "MAIL FROM:<"...)
	b = append(env.From.Append(b), '>')
	if o.size && m.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), m.Size, 10)
	}
	switch {
	case t.binary:
		b = append(b, " BODY=BINARYMIME"...)
	case !o.eightBit:
	case env.Body == postino.Body8BitMIME || m.Has8Bit || m.HasUTF8Header:
		b = append(b, " BODY=8BITMIME"...)
	case env.Body == postino.Body7Bit:
		b = append(b, " BODY=7BIT"...)
	}
	if t.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if o.auth {
		b = t.appendAuth(b)
	}
	if o.dsn {
		switch env.Ret {
		case postino.DSNReturnFull:
			b = append(b, " RET=FULL"...)
		case postino.DSNReturnHeaders:
			b = append(b, " RET=HDRS"...)
		}
		if env.EnvID != "" {
			b = appendParam(b, " ENVID=", env.EnvID, 100) // RFC 3461 §4.4
		}
	}
	if env.RequireTLS && o.requireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if !env.DeliverBy.IsZero() && o.deliverBy {
		b = appendBy(b, env, t.now)
	}
	if env.Priority != 0 && env.Priority >= -9 && env.Priority <= 9 && o.priority {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(env.Priority), 10)
	}
	if env.HoldUntil.After(t.now) { // RFC 4865 §3
		b = appendTime(append(b, " HOLDUNTIL="...), env.HoldUntil)
	}
	return append(b, '\r', '\n')
}

// appendAuth appends AUTH=, where it is known who submitted or that nobody says
// so (RFC 4954 §5).
func (t *sending) appendAuth(b []byte) []byte {
	a := t.m.Auth
	switch {
	case a == nil && !t.c.authed:
		return b
	case a == nil || a.IsNull() || a.NeedsUTF8() || !sendable(*a):
		return append(b, " AUTH=<>"...)
	}
	return appendXtext(append(b, " AUTH="...), a.String())
}

// appendBy appends the time that is left (RFC 2852 §4).
func appendBy(b []byte, env *postino.Envelope, now time.Time) []byte {
	left := int64(env.DeliverBy.Sub(now) / time.Second)
	left = max(min(left, 999_999_999), -999_999_999)
	b = strconv.AppendInt(append(b, " BY="...), left, 10)
	if env.DeliverByReturn {
		b = append(b, ";R"...)
	} else {
		b = append(b, ";N"...)
	}
	if env.DeliverByTrace {
		b = append(b, 'T')
	}
	return b
}

// appendRcpt appends the RCPT command with its CRLF.
func (t *sending) appendRcpt(b []byte, to *postino.Recipient) []byte {
	o := &t.c.offers
	b = append(b, "RCPT TO:<"...)
	b = append(to.Address.Append(b), '>')
	if o.dsn {
		b = appendNotify(b, t.notify(to.Notify))
		if to.ORcpt != "" {
			b = appendORcpt(b, to.ORcpt, t.utf8)
		}
	}
	if !to.ValidSince.IsZero() && o.rrvs { // RFC 7293 §3.1
		b = appendTime(append(b, " RRVS="...), to.ValidSince)
		if to.ValidSinceContinue {
			b = append(b, ";C"...)
		}
	}
	return append(b, '\r', '\n')
}

// notify adds DELAY where a wish for delivery in time gets lost here (RFC 2852
// §4.1.4.2).
func (t *sending) notify(n postino.DSNNotify) postino.DSNNotify {
	env := t.m.Envelope
	switch {
	case env.DeliverBy.IsZero() || t.c.offers.deliverBy || n == postino.DSNNever:
		return n
	case n == 0:
		return postino.DSNFailure | postino.DSNDelay
	}
	return n | postino.DSNDelay
}

// appendNotify appends NOTIFY= (RFC 3461 §4.1).
func appendNotify(b []byte, n postino.DSNNotify) []byte {
	if n&postino.DSNNever != 0 {
		return append(b, " NOTIFY=NEVER"...)
	}
	sep := " NOTIFY="
	for _, one := range [...]struct {
		bit  postino.DSNNotify
		name string
	}{{postino.DSNSuccess, "SUCCESS"}, {postino.DSNFailure, "FAILURE"}, {postino.DSNDelay, "DELAY"}} {
		if n&one.bit != 0 {
			b = append(append(b, sep...), one.name...)
			sep = ","
		}
	}
	return b
}

// appendORcpt appends ORCPT= (RFC 3461 §4.2, RFC 6533 §3), or nothing when the
// value could not have come from a parser.
func appendORcpt(b []byte, orcpt string, native bool) []byte {
	kind, addr, ok := strings.Cut(orcpt, ";")
	for i := range len(kind) {
		ok = ok && (isAlnum(kind[i]) || kind[i] == '-')
	}
	if !ok || kind == "" || addr == "" {
		return b
	}
	const limit = 500 // RFC 3461 §4.2
	if !strings.EqualFold(kind, "utf-8") {
		return appendParam(b, " ORCPT="+kind+";", addr, limit-len(kind)-1)
	}
	start := len(b)
	b = append(append(append(b, " ORCPT="...), kind...), ';')
	value := len(b) - len(kind) - 1
	if !utf8.ValidString(addr) || harmless(addr) != addr {
		return b[:start]
	}
	for _, r := range addr {
		switch {
		case r == '\\' || r == '+' || r == '=' || r <= ' ' || r >= 0x80 && !native:
			b = append(b, '\\', 'x', '{')
			if r < 16 {
				b = append(b, '0')
			}
			b = append(append(b, strings.ToUpper(strconv.FormatInt(int64(r), 16))...), '}')
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	if len(b)-value > limit {
		return b[:start]
	}
	return b
}

// appendParam appends name and the xtext of s; nothing at all when s is not
// printable ASCII or does not fit (SC2).
func appendParam(b []byte, name, s string, limit int) []byte {
	start := len(b)
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return b
		}
	}
	b = append(b, name...)
	value := len(b)
	if b = appendXtext(b, s); len(b)-value > limit {
		return b[:start]
	}
	return b
}

// appendXtext encodes printable ASCII (RFC 3461 §4).
func appendXtext(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			b = append(b, '+', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// appendTime appends a date-time of RFC 3339 in UTC, to the second.
func appendTime(b []byte, at time.Time) []byte {
	return at.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
}
