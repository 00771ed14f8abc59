package reports

import (
	"io"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Limits bounds what ParseDSN reads. A zero field means the default that its
// comment names, never "unlimited".
type Limits struct {
	// Bytes bounds the message in octets. Default 1 MiB.
	Bytes int64
	// Rcpts bounds the recipients; further ones are passed over. Default 1,000.
	Rcpts int
}

// ParseDSN reads a delivery status notification: what Build wrote, and what other
// servers send. Fields that are broken or missing stay zero; Full is never set.
// The error is of kind Invalid when the message is no DSN or tells of no
// recipient, Full when it is too large, and that of r when it cannot be read.
//
// A report inside a message that is attached is not seen: it is not for us.
// A message without a delivery status but with X-Failed-Recipients, as Exim wrote
// them for long, counts as a failure of these recipients.
func ParseDSN(r io.Reader, lim Limits) (*DSN, error) {
	const op = "parse report"
	if lim.Bytes <= 0 {
		lim.Bytes = 1 << 20
	}
	if lim.Rcpts <= 0 {
		lim.Rcpts = 1000
	}
	raw, err := io.ReadAll(io.LimitReader(r, lim.Bytes+1))
	if err != nil {
		return nil, postino.E(postino.Transient, op, "", err)
	}
	if int64(len(raw)) > lim.Bytes {
		return nil, postino.E(postino.Full, op, "too large", nil)
	}
	p := reportParser{raw: raw, x: message.Parse(raw, message.Limits{}), lim: lim}
	p.header()
	if !p.parts() {
		p.failedRecipients()
	}
	if len(p.d.Rcpts) == 0 {
		return nil, postino.E(postino.Invalid, op, "no delivery status", nil)
	}
	return &p.d, nil
}

type reportParser struct {
	raw []byte
	x   *message.Index
	lim Limits
	d   DSN
}

// header reads the report's own header.
func (p *reportParser) header() {
	for f := range message.Fields(p.x.Header()) {
		switch {
		case f.Is("to"):
			if list := message.ParseAddressList(f.Value, 1); len(list) > 0 {
				p.d.To = address(list[0].String())
			}
		case f.Is("date"):
			p.d.Date, _ = message.ParseDate(f.Value)
		case f.Is("message-id"):
			p.d.ID = firstID(f.Value)
		case f.Is("in-reply-to"):
			p.d.MessageID = firstID(f.Value)
		}
		p.d.SMTPUTF8 = p.d.SMTPUTF8 || !asciiOnly(f.Value)
	}
}

func firstID(value []byte) string {
	if ids := message.ParseMessageIDs(value, 0); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// address reads an address, the zero one when it is none.
func address(s string) postino.Address {
	a, err := postino.ParseAddress(s)
	if err != nil {
		return postino.Address{}
	}
	return a
}

// parts reads the parts; false means that none is a delivery status.
func (p *reportParser) parts() (found bool) {
	inside := make([]bool, len(p.x.Parts)) // a message in the message
	for i := range p.x.Parts {
		part := &p.x.Parts[i]
		if i > 0 && (inside[part.Parent] || p.x.Parts[part.Parent].Message()) {
			inside[i] = true
			continue
		}
		global := part.Type == "message" && strings.HasPrefix(part.Subtype, "global")
		switch {
		case part.Multipart():
		case !found && (part.Is("message", "delivery-status") || part.Is("message", "global-delivery-status")):
			found = true
			p.status(partBody(p.raw, part))
		case found && p.d.Ret == postino.DSNReturnUnset && (part.Is("message", "rfc822") || part.Is("message", "global")):
			p.d.Ret = postino.DSNReturnFull
			p.returned(partBody(p.raw, part))
		case found && p.d.Ret == postino.DSNReturnUnset && (part.Is("text", "rfc822-headers") || part.Is("message", "global-headers")):
			p.d.Ret = postino.DSNReturnHeaders
			p.returned(partBody(p.raw, part))
		case part.Type == "text" && p.d.Lang == "" && len(part.Language) > 0:
			p.d.Lang = part.Language[0]
		}
		p.d.SMTPUTF8 = p.d.SMTPUTF8 || global
	}
	return found
}

// returned takes what is known of the original from its header.
func (p *reportParser) returned(b []byte) {
	p.d.Headers = b[:message.HeaderEnd(b)]
	sum := message.Summarize(p.d.Headers)
	p.d.Subject = sum.Subject()
	if sum.MessageID != "" {
		p.d.MessageID = sum.MessageID
	}
}

// status reads the groups of fields of a delivery status. The first one is of
// the message, but fields are known by their names, since some servers leave out
// the empty line after it or write several.
func (p *reportParser) status(b []byte) {
	for len(b) > 0 {
		n := message.HeaderEnd(b)
		var r DSNRcpt
		for f := range message.Fields(b[:n]) {
			value := string(message.Unfold(f.Value))
			if !p.messageField(&f, value) {
				r.field(&f, value)
			}
		}
		if r.finish() && len(p.d.Rcpts) < p.lim.Rcpts {
			p.d.Rcpts = append(p.d.Rcpts, r)
		}
		b = b[n:]
	}
}

// messageField reads a field of the message; false means that it is none.
func (p *reportParser) messageField(f *message.Field, value string) bool {
	switch {
	case f.Is("original-envelope-id"):
		p.d.EnvID = value
	case f.Is("reporting-mta"):
		p.d.ReportingMTA = host(value)
	case f.Is("received-from-mta"):
		p.d.ReceivedFrom = host(value)
	case f.Is("arrival-date"):
		p.d.Arrival, _ = message.ParseDate(f.Value)
	case f.Is("deliver-by-date"):
		p.d.DeliverBy, _ = message.ParseDate(f.Value)
	default:
		return false
	}
	return true
}

// field reads a field of a recipient.
func (r *DSNRcpt) field(f *message.Field, value string) {
	switch {
	case f.Is("original-recipient"):
		if typ, a := typed(value); a != "" {
			r.Original = typ + ";" + a
		}
	case f.Is("final-recipient"):
		typ, a := typed(value)
		if typ == "rfc822" || typ == "utf-8" || typ == "" {
			r.Final = address(a)
		}
		if r.Final.IsNull() && a != "" && r.Original == "" && typ != "" {
			r.Original = typ + ";" + a
		}
	case f.Is("action"):
		word := keyword(f.Value)
		for _, a := range actions() {
			if a.String() == word {
				r.Action = a
			}
		}
	case f.Is("status"):
		if s, _, _ := strings.Cut(strings.TrimSpace(uncomment(value)), " "); enhanced(s) != "" {
			r.Status = s
		}
	case f.Is("remote-mta"):
		r.RemoteMTA = host(value)
	case f.Is("diagnostic-code"):
		_, words, ok := strings.Cut(value, ";")
		if !ok {
			words = value
		}
		r.Diagnostic = strings.TrimSpace(words)
	case f.Is("last-attempt-date"):
		r.LastAttempt, _ = message.ParseDate(f.Value)
	case f.Is("will-retry-until"):
		r.WillRetryUntil, _ = message.ParseDate(f.Value)
	case f.Is("final-log-id"):
		r.FinalLogID = value
	}
}

// finish tells whether the fields were of a recipient, and fills in the action
// from the status or the other way round when one is missing.
func (r *DSNRcpt) finish() bool {
	if r.Final.IsNull() && r.Original == "" {
		return false
	}
	switch {
	case r.Action != 0:
	case r.Status == "":
		return false
	default:
		r.Action = map[byte]Action{'2': Delivered, '4': Delayed, '5': Failed}[r.Status[0]]
	}
	r.Status = r.status()
	return true
}

// typed splits "type; value" (RFC 3464 §2.1.2) and undoes what the type or bad
// habits put around an address.
func typed(s string) (typ, value string) {
	typ, value, ok := strings.Cut(s, ";")
	if !ok {
		typ, value = "", s
	}
	typ, value = strings.ToLower(strings.TrimSpace(typ)), strings.TrimSpace(value)
	if typ == "utf-8" {
		value = parseUnitext(value)
	}
	if len(value) > 2 && value[0] == '<' && value[len(value)-1] == '>' {
		value = value[1 : len(value)-1]
	}
	return typ, value
}

// host reads the name of an MTA, without type, comments and final dot.
func host(s string) string {
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = s[i+1:]
	}
	return strings.TrimSuffix(strings.TrimSpace(uncomment(s)), ".")
}

// failedRecipients reads X-Failed-Recipients.
func (p *reportParser) failedRecipients() {
	for f := range message.Fields(p.x.Header()) {
		if !f.Is("x-failed-recipients") {
			continue
		}
		for _, a := range message.ParseAddressList(f.Value, p.lim.Rcpts) {
			if final := address(a.String()); !final.IsNull() && len(p.d.Rcpts) < p.lim.Rcpts {
				p.d.Rcpts = append(p.d.Rcpts, DSNRcpt{Final: final, Action: Failed, Status: "5.0.0"})
			}
		}
	}
}
