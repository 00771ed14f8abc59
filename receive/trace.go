package receive

import (
	"bytes"
	"crypto/tls"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/postino-mail/postino/message"
)

// appendReceived writes the trace field of this hop (RFC 5321 §4.4).
func (t *transaction) appendReceived(b []byte, now time.Time) []byte {
	c := t.s.conn
	b = append(b, "Received: from "...)
	if t.s.user.ID != 0 {
		// Where users sit is nobody's business (SS22).
		b = append(b, "localhost (client address withheld)"...)
	} else if t.s.b.opts.Profile == Local {
		b = append(append(append(b, "localhost ("...), c.RemoteAddr().String()...), ')')
	} else {
		name, _ := c.Hello()
		b = appendFrom(b, name, c.Remote())
	}
	b = append(b, "\r\n\tby "...)
	b = t.appendDomain(b, t.s.b.opts.Hostname)
	b = append(b, " with "...)
	b = append(b, c.Protocol(t.opts.SMTPUTF8)...) // RFC 3848, RFC 6531 §4.3
	if len(t.opts.Solicit) > 0 {                  // RFC 3865 §2.6; a class has no character that could end the comment
		b = append(append(append(b, "\r\n\t(SOLICIT="...), strings.Join(t.opts.Solicit, ",")...), ')')
	}
	b = append(b, " id "...)
	b = append(b, t.letter.ID.String()...)
	if state := c.TLS(); state != nil { // RFC 8314 §4.3
		b = append(b, "\r\n\ttls "...)
		b = append(b, tls.CipherSuiteName(state.CipherSuite)...)
		b = append(append(append(b, " ("...), tls.VersionName(state.Version)...), ')')
	}
	if p := t.opts.Priority; p != 0 { // RFC 6710 §4.1
		b = strconv.AppendInt(append(b, "\r\n\tpriority "...), int64(p), 10)
	}
	if len(t.accepted) == 1 { // RFC 5321 §7.2: several would tell on each other
		b = append(b, "\r\n\tfor <"...)
		a := t.accepted[0]
		if t.opts.SMTPUTF8 && a.Domain != "" {
			b = append(b, a.Unicode()...)
		} else {
			b = a.Append(b)
		}
		b = append(b, '>')
	}
	b = append(b, ";\r\n\t"...)
	b = now.AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

// appendDomain writes a domain in U-labels where SMTPUTF8 allows them (RFC 6531
// §3.7.3).
func (t *transaction) appendDomain(b []byte, d string) []byte {
	if t.opts.SMTPUTF8 && strings.Contains(d, "xn--") {
		if u, err := idna.Display.ToUnicode(d); err == nil {
			d = u
		}
	}
	return append(b, d...)
}

// appendFrom writes the name that the client gave itself, if it can be one, and
// the address that it came from.
func appendFrom(b []byte, name string, remote netip.Addr) []byte {
	if !heloShape(name) {
		name = "unknown"
	}
	b = append(append(b, name...), " ("...)
	switch {
	case !remote.IsValid():
		b = append(b, "local"...) // a socket without addresses
	case remote.Is6():
		b = append(remote.AppendTo(append(b, "[IPv6:"...)), ']')
	default:
		b = append(remote.AppendTo(append(b, '[')), ']')
	}
	return append(b, ')')
}

// heloShape tells whether a name consists of what domains and address literals
// are made of: anything else could forge parts of the field.
func heloShape(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return true
}

// loops tells whether a message has gone in a circle (SS24, RFC 5321 §6.3): too
// many Received fields, too many of them ours, or a Delivered-To field with one
// of the addresses that the message goes to.
func loops(header []byte, hostname string, lim *Limits, to iter.Seq[[]byte]) bool {
	received, own := 0, 0
	var delivered map[string]bool // many fields and many recipients meet only here
	for f := range message.Fields(header) {
		switch {
		case f.Is("received"):
			if received++; byHost(f.Value, hostname) {
				own++
			}
			if received > lim.Received || own > lim.Own {
				return true
			}
		case f.Is("delivered-to"):
			if delivered == nil {
				delivered = map[string]bool{}
			}
			delivered[lower(bytes.TrimSpace(message.Unfold(f.Value)))] = true
		}
	}
	if delivered == nil {
		return false
	}
	for a := range to {
		if delivered[lower(a)] {
			return true
		}
	}
	return false
}

func lower(a []byte) string { return string(bytes.ToLower(a)) }

// byHost tells whether the by clause of a Received field names the host.
func byHost(value []byte, hostname string) bool {
	by := false
	for word := range bytes.FieldsSeq(value) {
		if by {
			return strings.EqualFold(string(word), hostname)
		}
		by = strings.EqualFold(string(word), "by")
	}
	return false
}
