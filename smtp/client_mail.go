package smtp

import (
	"io"
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
