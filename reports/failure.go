package reports

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
)

// wanted tells whether the domain asks for a report about the message by fo= (RFC
// 9989 §4.7).
func (f *DMARCFailure) wanted() bool {
	for option := range strings.SplitSeq(f.Policy.FO, ":") {
		switch strings.ToLower(strings.TrimSpace(option)) {
		case "", "0":
			if !f.DKIMAligned && !f.SPFAligned {
				return true
			}
		case "1":
			if !f.DKIMAligned || !f.SPFAligned {
				return true
			}
		case "d":
			for i := range f.DKIM {
				if r := f.DKIM[i].Result; r == mailauth.Fail || r == mailauth.PermError {
					return true
				}
			}
		case "s":
			if r := f.SPF.Result; r == mailauth.Fail || r == mailauth.SoftFail || r == mailauth.PermError {
				return true
			}
		}
	}
	return false
}

// failureReport is one on its way out.
type failureReport struct {
	*DMARCFailure
	id        *Identity
	messageID string
	host      string // our name, that of the Authentication-Results
	incidents int64  // like it since the last report
	// redact is the secret that hides local parts (RFC 6590 §3).
	redact []byte
}

// build writes the report (RFC 9991 §4, RFC 6591 §3, RFC 5965 §2). Of the message
// it has some fields of the header, and no address of another person.
func (f *failureReport) build(w io.Writer, to []postino.Address, now time.Time) error {
	b := message.NewBuilder(w, message.BuilderOptions{})
	head(b, f.id, to, now, f.messageID)
	b.Field("Subject", "DMARC failure report for "+f.HeaderFrom)
	b.Multipart("report", "", message.Param{Name: "report-type", Value: "feedback-report"})
	b.Part()
	b.Text("plain", fmt.Sprintf("This is a report on a message that failed authentication (DMARC, RFC 9991).\n"+
		"It claimed to come from %s and was received from %s on %s.\nIts body and the addresses of other people are left out.\n",
		postino.Printable(f.HeaderFrom), f.Source, f.Time.UTC().Format(time.RFC1123Z)))
	b.Part()
	b.Report("message/feedback-report", f.fields())
	b.Part()
	header := redactHeader(f.Header, f.HeaderFrom, f.redact)
	if message.NeededEncoding(header) == "7bit" {
		b.Raw("text/rfc822-headers", header)
	} else {
		b.Text("rfc822-headers", string(message.AppendUTF8(nil, "", header)))
	}
	return b.Close()
}

func (f *failureReport) fields() []message.ReportField {
	var g fieldGroup
	g.add("Feedback-Type", "", "auth-failure")
	g.add("Version", "", "1")
	g.add("User-Agent", "", strings.ReplaceAll(f.id.Generator, " ", "/"))
	g.add("Auth-Failure", "", "dmarc")
	g.add("Authentication-Results", "", f.host+"; dmarc=fail header.from="+f.HeaderFrom)
	g.add("Identity-Alignment", "", f.alignment())
	g.add("Delivery-Result", "", deliveryResult(f.Disposition))
	g.add("Source-IP", "", f.Source.String())
	if f.SourcePort > 0 { // RFC 6692 §2
		g.add("Source-Port", "", strconv.Itoa(int(f.SourcePort)))
	}
	g.add("Reported-Domain", "", f.HeaderFrom)
	g.date("Arrival-Date", f.Time)
	if a := f.MailFrom; !a.IsNull() {
		g.add("Original-Mail-From", "", "<"+redactLocal(a.Local, a.Domain, f.HeaderFrom, f.redact)+"@"+a.Domain+">")
	}
	g.add("Incidents", "", strconv.FormatInt(f.incidents, 10))
	for i := range f.DKIM { // RFC 9991 §4: of the signature for the author's domain
		if s := &f.DKIM[i]; !f.DKIMAligned && s.Result != mailauth.Pass && related(s.Domain, f.HeaderFrom) {
			g.add("DKIM-Domain", "", s.Domain)
			g.add("DKIM-Identity", "", "@"+s.Domain)
			g.add("DKIM-Selector", "", s.Selector)
			break
		}
	}
	if f.SPFRecord != "" && !f.SPFAligned && related(f.SPF.Domain, f.HeaderFrom) {
		g.add("SPF-DNS", "", "txt : "+f.SPF.Domain+" : "+strconv.Quote(f.SPFRecord))
	}
	return g
}

// alignment lists what did not pass for the author's domain.
func (f *DMARCFailure) alignment() string {
	switch {
	case f.DKIMAligned && f.SPFAligned:
		return "none"
	case f.DKIMAligned:
		return "spf"
	case f.SPFAligned:
		return "dkim"
	}
	return "dkim, spf"
}

// deliveryResult is the word of RFC 6591 §3.2.2 for a disposition.
func deliveryResult(d Disposition) string {
	switch d {
	case Reject:
		return "reject"
	case Quarantine:
		return "spam"
	}
	return "delivered"
}

// related tells whether one domain is the other or above it.
func related(a, b string) bool {
	return a != "" && (a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a))
}

// Which fields of a header a report shows: those that say how the message was made
// and which way it took.
var shownFields = [...]string{
	"from", "sender", "reply-to", "to", "cc", "date", "subject", "message-id", "received", "return-path", "dkim-signature",
	"authentication-results", "arc-seal", "arc-message-signature", "arc-authentication-results", "list-id", "mime-version",
	"content-type", "content-transfer-encoding", "received-spf",
}

// maxShown bounds what is shown of a header.
const maxShown = 32 << 10

// redactHeader keeps the fields that a report shows, and hides in them the local
// parts of all addresses that are not of domain, and the names beside them.
func redactHeader(header []byte, domain string, secret []byte) []byte {
	var out []byte
	for f := range message.Fields(header) {
		shown := ""
		for _, name := range shownFields {
			if f.Is(name) {
				shown = name
			}
		}
		if shown == "" || len(out)+len(f.Raw) > maxShown {
			continue
		}
		switch shown {
		case "to", "cc", "reply-to":
			out = append(append(out, shown...), ": "...)
			for i, a := range message.ParseAddressList(f.Value, 20) {
				if i > 0 {
					out = append(out, ",\r\n "...)
				}
				shown := message.Address{Mailbox: redactLocal(a.Mailbox, domainName(a.Host), domain, secret), Host: a.Host}
				out = append(out, postino.Printable(shown.String())...)
			}
			out = append(out, "\r\n"...)
		case "dkim-signature", "arc-seal", "arc-message-signature", "subject":
			out = append(out, f.Raw...)
		default:
			out = redactText(out, f.Raw, domain, secret)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, "\r\n"...)
	}
	return out
}

// redactText copies text with the local parts of addresses hidden.
func redactText(out, text []byte, domain string, secret []byte) []byte {
	local := func(c byte) bool {
		return c > ' ' && c < 0x7f && !bytes.ContainsRune([]byte(`<>()[]",;:@\`), rune(c)) || c >= 0x80
	}
	for {
		at := bytes.IndexByte(text, '@')
		if at < 0 {
			return append(out, text...)
		}
		begin, end := at, at+1
		for begin > 0 && local(text[begin-1]) {
			begin--
		}
		if begin == at && at > 0 && text[at-1] == '"' { // a quoted local part
			if q := bytes.LastIndexByte(text[:at-1], '"'); q >= 0 {
				begin = q
			}
		}
		for end < len(text) && (local(text[end]) && text[end] != '=') {
			end++
		}
		out = append(out, text[:begin]...)
		if begin < at {
			out = append(out, redactLocal(string(text[begin:at]), domainName(string(text[at+1:end])), domain, secret)...)
		}
		out = append(out, text[at:end]...)
		text = text[end:]
	}
}

// redactLocal hides a local part, always in the same way, unless the address is
// of the domain that the report goes to (RFC 6590 §3).
func redactLocal(local, of, domain string, secret []byte) string {
	if related(of, domain) {
		return local
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(local))
	return "redacted." + base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:9])
}
