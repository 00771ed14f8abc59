package reports

import (
	"bytes"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Feedback is a report about one message in the Abuse Reporting Format (RFC
// 5965): a complaint, or that it failed authentication (RFC 6591, RFC 9991). All
// of it is what the reporter says.
type Feedback struct {
	// Type is abuse, fraud, virus, not-spam, auth-failure, other or a word yet
	// unknown, in lower case.
	Type      string `json:"type"`
	UserAgent string `json:"user-agent,omitempty"`
	// Reporter is the domain that the report comes from.
	Reporter string    `json:"reporter,omitempty"`
	Arrival  time.Time `json:"arrival,omitzero"`
	// Source is the client that the message came from, Port its port (RFC 6692).
	Source    netip.Addr `json:"source,omitzero"`
	Port      uint16     `json:"port,omitempty"`
	MailFrom  string     `json:"mail-from,omitempty"`
	RcptTo    []string   `json:"rcpt-to,omitempty"`
	Domains   []string   `json:"domains,omitempty"` // Reported-Domain
	URIs      []string   `json:"uris,omitempty"`
	Incidents int64      `json:"incidents"` // at least 1
	// AuthFailure is what failed: dmarc, spf, signature, …; Alignment the methods
	// that did not pass for the domain of From; Delivery what became of it.
	AuthFailure string   `json:"auth-failure,omitempty"`
	Alignment   string   `json:"identity-alignment,omitempty"`
	Delivery    string   `json:"delivery-result,omitempty"`
	DKIMDomain  string   `json:"dkim-domain,omitempty"`
	Selector    string   `json:"dkim-selector,omitempty"`
	SPFRecords  []string `json:"spf-dns,omitempty"`
	AuthResults []string `json:"authentication-results,omitempty"`
	// What the header of the message says.
	From      string    `json:"from,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	MessageID string    `json:"message-id,omitempty"`
	Date      time.Time `json:"date,omitzero"`
}

// What a report may name at most.
const (
	maxFeedbackList  = 20
	maxFeedbackField = 1000
)

// ParseFeedback reads a report of the Abuse Reporting Format. Fields that are
// broken or missing stay zero. The error is of kind Invalid when the message is
// no such report, Full when it is too large.
func ParseFeedback(r io.Reader, lim ReadLimits) (*Feedback, error) {
	raw, err := readMessage(r, lim.withDefaults())
	if err != nil {
		return nil, err
	}
	if f := feedback(raw, message.Parse(raw, message.Limits{})); f != nil {
		return f, nil
	}
	return nil, postino.E(postino.Invalid, "read feedback report", "", nil)
}

// readMessage reads what may be no longer than the limit.
func readMessage(r io.Reader, lim ReadLimits) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, lim.Bytes+1))
	if err != nil {
		return nil, postino.E(postino.Transient, "read report", "", err)
	}
	if int64(len(raw)) > lim.Bytes {
		return nil, postino.E(postino.Full, "read report", "", errLarge)
	}
	return raw, nil
}

// feedback finds a feedback report in a message; nil when there is none. One that
// is inside of an attached message is not for us.
func feedback(raw []byte, x *message.Index) *Feedback {
	var out *Feedback
	inside := make([]bool, len(x.Parts))
	for i := range x.Parts {
		part := &x.Parts[i]
		if i > 0 && (inside[part.Parent] || x.Parts[part.Parent].Message()) {
			inside[i] = true
			continue
		}
		switch {
		case out == nil && part.Is("message", "feedback-report"):
			out = &Feedback{Incidents: 1}
			for f := range message.Fields(partBody(raw, part)) {
				out.field(&f)
			}
			if out.Type == "" { // RFC 5965 §3.1: it must be there
				return nil
			}
		case out != nil && out.From == "" && (part.Is("message", "rfc822") || part.Is("message", "global") || part.Is("text", "rfc822-headers")):
			out.original(partBody(raw, part))
		}
	}
	if out != nil {
		if from := message.Summarize(x.Header()).From(); len(from) > 0 {
			out.Reporter = domainName(from[0].Host)
		}
	}
	return out
}

// partBody returns the decoded octets of a part, no more than the message has.
func partBody(raw []byte, part *message.Part) []byte {
	b := raw[part.BodyStart:part.End]
	switch part.Encoding {
	case "", "7bit", "8bit", "binary":
		return b
	}
	b, _ = io.ReadAll(message.NewDecoder(bytes.NewReader(b), part.Encoding)) // reading memory does not fail
	return b
}

// field reads a field of the report.
func (r *Feedback) field(f *message.Field) {
	v := strings.TrimSpace(string(message.Unfold(f.Value)))
	v = v[:min(len(v), maxFeedbackField)]
	switch {
	case f.Is("feedback-type"):
		r.Type = keyword(f.Value)
	case f.Is("user-agent"):
		r.UserAgent = v
	case f.Is("arrival-date"), f.Is("received-date"): // the second is historic
		r.Arrival, _ = message.ParseDate(f.Value)
	case f.Is("source-ip"):
		a, err := netip.ParseAddr(strings.TrimPrefix(strings.Trim(strings.TrimSpace(uncomment(v)), "[]"), "IPv6:"))
		if err == nil {
			r.Source = a.Unmap().WithZone("")
		}
	case f.Is("source-port"):
		n, _ := strconv.ParseUint(strings.TrimSpace(uncomment(v)), 10, 16) // 0 when it is none
		r.Port = uint16(n)
	case f.Is("original-mail-from"):
		r.MailFrom = strings.Trim(v, "<>")
	case f.Is("original-rcpt-to"):
		keep(&r.RcptTo, strings.Trim(v, "<>"))
	case f.Is("reported-domain"):
		keep(&r.Domains, domainName(strings.TrimSpace(uncomment(v))))
	case f.Is("reported-uri"):
		keep(&r.URIs, v)
	case f.Is("incidents"):
		if n, err := strconv.ParseUint(v, 10, 32); err == nil && n > 0 {
			r.Incidents = int64(n)
		}
	case f.Is("auth-failure"):
		r.AuthFailure = keyword(f.Value)
	case f.Is("identity-alignment"):
		r.Alignment = strings.ToLower(v)
	case f.Is("delivery-result"):
		r.Delivery = keyword(f.Value)
	case f.Is("dkim-domain"):
		r.DKIMDomain = domainName(v)
	case f.Is("dkim-selector"):
		r.Selector = v
	case f.Is("spf-dns"):
		keep(&r.SPFRecords, v)
	case f.Is("authentication-results"):
		keep(&r.AuthResults, v)
	}
}

// keep appends a value unless there are many.
func keep(list *[]string, v string) {
	if v != "" && len(*list) < maxFeedbackList {
		*list = append(*list, v)
	}
}

// original takes what is known of the message from its header.
func (r *Feedback) original(b []byte) {
	sum := message.Summarize(b[:message.HeaderEnd(b)])
	if from := sum.From(); len(from) > 0 {
		r.From = from[0].String()
	}
	subject := sum.Subject()
	r.Subject, r.MessageID = subject[:min(len(subject), maxFeedbackField)], sum.MessageID
	for f := range message.Fields(b[:message.HeaderEnd(b)]) {
		if f.Is("date") {
			r.Date, _ = message.ParseDate(f.Value)
		}
	}
}

// About is the domain of ours that the report is about, as far as it says: the
// first of the reported domains, else the author's.
func (r *Feedback) About() string {
	if len(r.Domains) > 0 {
		return r.Domains[0]
	}
	for _, s := range [...]string{r.From, r.MailFrom} {
		if a := address(s); a.Domain != "" {
			return a.Domain
		}
	}
	return r.DKIMDomain
}
