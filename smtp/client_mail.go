package smtp

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// Mail is one message for one transaction.
type Mail struct {
	// Envelope says from whom and to whom; at least one recipient. What it asks
	// beyond that is passed on when the server offers it. Send does not change it.
	Envelope *postino.Envelope
	// Size is how many octets Content writes, exactly; 0 when that is not known,
	// then it is not announced. A message that turns out to have another size is
	// never completed: it is damaged. Content of BODY=BINARYMIME must have it.
	Size int64
	// Auth is the submitter for AUTH= (RFC 4954 §5). nil says AUTH=<> on
	// connections that authenticated and nothing on others.
	Auth *postino.Address
	// Content writes the stored octets in pieces of any size. It is called once
	// or, when the server takes no recipient, maybe not at all. Its error aborts
	// the message. It writes lines ending in CRLF; others are mended on the way,
	// unless the envelope says BINARYMIME.
	Content func(w io.Writer) error
	// Has8Bit and HasUTF8Header are facts about the content: an octet above 127
	// anywhere, and one in the header (RFC 6532).
	Has8Bit, HasUTF8Header bool
	// Allow8Bit sends 8-bit content to a server without 8BITMIME as it is.
	Allow8Bit bool
}

// Replies in the server's place, for what cannot be sent to it.
var (
	replyNoUTF8      = Reply{550, "5.6.7", "Message needs SMTPUTF8, which the next server does not offer"}
	replyNoUTF8Rcpt  = Reply{553, "5.6.7", "Address needs SMTPUTF8, which the next server does not offer"}
	replyNo8Bit      = Reply{554, "5.6.3", "Message needs 8BITMIME, which the next server does not offer"}
	replyNoBinary    = Reply{554, "5.6.3", "Message needs BINARYMIME, which the next server does not offer"}
	replyNoTLS       = Reply{550, "5.7.30", "Message needs REQUIRETLS, which the next server does not offer"}
	replyNoBy        = Reply{550, "5.3.3", "Message needs DELIVERBY, which the next server does not offer"}
	replyByOver      = Reply{550, "5.4.7", "The time left is less than the next server takes for a delivery"}
	replyNoHold      = Reply{450, "4.3.3", "Message must be held, which the next server does not offer"}
	replyNoRRVS      = Reply{550, "5.7.19", "Recipient needs RRVS, which the next server does not offer"}
	replyTooBigNext  = Reply{552, "5.3.4", "Message size exceeds what the next server announced"}
	replyNextTime    = Reply{452, "4.5.3", "Not offered: the next server takes no more recipients at once"}
	replyUnsendable  = Reply{501, "5.1.3", "Address cannot stand in a command"}
	replyUnsendable7 = Reply{501, "5.1.7", "Sender address cannot stand in a command"}
)

func refusal(r Reply, err error) *ClientError {
	return &ClientError{Stage: StageCheck, Reply: &r, Err: err}
}

// check decides, before anything is said, whether the server can take m, and
// with which parameters.
func (t *sending) check() *ClientError {
	m, env, o := t.m, t.m.Envelope, &t.c.offers
	eight := m.Has8Bit || m.HasUTF8Header
	needUTF8 := m.HasUTF8Header || env.From.NeedsUTF8()
	held := env.HoldUntil.After(t.now)
	left := env.DeliverBy.Sub(t.now)
	switch {
	case !sendable(env.From):
		return refusal(replyUnsendable7, nil)
	case needUTF8 && !o.utf8:
		return refusal(replyNoUTF8, ErrNotOffered)
	case env.Body == postino.BodyBinaryMIME && !o.binary:
		return refusal(replyNoBinary, ErrNotOffered)
	case env.Body != postino.BodyBinaryMIME && eight && !o.eightBit && !m.Allow8Bit:
		return refusal(replyNo8Bit, ErrNotOffered)
	case env.RequireTLS && !o.requireTLS && !env.From.IsNull(): // RFC 8689 §4.2.1, §5
		return refusal(replyNoTLS, ErrNotOffered)
	case m.Size > o.maxSize && o.maxSize > 0: // RFC 1870 §5
		return refusal(replyTooBigNext, ErrTooBig)
	case held && (!o.futureRelease || !o.holds(env.HoldUntil)):
		return refusal(replyNoHold, ErrNotOffered)
	case env.DeliverBy.IsZero() || !env.DeliverByReturn:
	case !o.deliverBy: // RFC 2852 §4.1.4.1
		return refusal(replyNoBy, ErrNotOffered)
	case left < time.Second || left < time.Duration(o.minBy)*time.Second:
		return refusal(replyByOver, ErrNotOffered)
	}
	t.binary = env.Body == postino.BodyBinaryMIME
	t.choose()
	// RFC 6531 §3.4: not said when nothing needs it. With 8-bit content that is
	// not known, as the header of a part may hold UTF-8.
	t.utf8 = o.utf8 && (needUTF8 || t.utf8 || env.SMTPUTF8 && m.Has8Bit)
	return nil
}

// holds tells whether the server holds mail until at (RFC 4865 §4.1).
func (o *offers) holds(at time.Time) bool {
	end, err := time.Parse(time.RFC3339, o.holdUntil)
	return err != nil || !at.After(end)
}

// choose picks the recipients to be offered; those left out get our reply.
func (t *sending) choose() {
	rcpts := t.m.Envelope.Rcpts
	n := 0
	for i := range rcpts {
		r := t.fit(&rcpts[i], n)
		if r == nil {
			if n++; t.order != nil {
				t.order = append(t.order, i)
			}
			continue
		}
		if t.order == nil {
			t.order = make([]int, 0, len(rcpts))
			for k := range i {
				t.order = append(t.order, k)
			}
		}
		t.res.Rcpts[i] = *r
		t.res.Skipped = append(t.res.Skipped, i)
	}
	t.n = n
}

// fit tells why a recipient cannot be offered as number n+1; nil when it can.
func (t *sending) fit(to *postino.Recipient, n int) *Reply {
	o := &t.c.offers
	switch {
	case to.Address.Local == "" || !sendable(to.Address):
		return &replyUnsendable
	case to.Address.NeedsUTF8() && !o.utf8:
		return &replyNoUTF8Rcpt
	case !to.ValidSince.IsZero() && !to.ValidSinceContinue && !o.rrvs: // RFC 7293 §5.1.1
		return &replyNoRRVS
	case o.rcptMax > 0 && n >= o.rcptMax: // RFC 9422 §4.2
		return &replyNextTime
	case o.domainMax > 0 && !t.c.mayMeet(to.Address.Domain):
		return &replyNextTime
	}
	t.utf8 = t.utf8 || to.Address.NeedsUTF8()
	return nil
}

// mayMeet counts the domains of a session (RFC 9422 §4.3).
func (c *Client) mayMeet(domain string) bool {
	if _, ok := c.domains[domain]; ok {
		return true
	}
	if len(c.domains) >= c.offers.domainMax {
		return false
	}
	if c.domains == nil {
		c.domains = make(map[string]struct{})
	}
	c.domains[domain] = struct{}{}
	return true
}

// sendable tells whether an address can stand in a command (SC2). Addresses
// come from our parsers, but nothing that would end the line or the path passes
// here whatever was stored.
func sendable(a postino.Address) bool {
	if len(a.Local) > postino.MaxLocal || len(a.Domain) > postino.MaxDomain || a.Local == "" && a.Domain != "" || a.Domain == "" && a.Local != "" && a.Local != "postmaster" {
		return false
	}
	if 2*len(a.Local)+len(a.Domain)+5 > postino.MaxPath && len(a.Append(nil))+2 > postino.MaxPath {
		return false
	}
	ascii := true
	for i := range len(a.Local) {
		c := a.Local[i]
		if c < ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < 0x80
	}
	for i := range len(a.Domain) {
		if c := a.Domain[i]; !isAlnum(c) && c != '-' && c != '.' && c != '[' && c != ']' && c != ':' {
			return false
		}
	}
	return ascii || utf8.ValidString(a.Local) && harmless(a.Local) == a.Local
}

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
