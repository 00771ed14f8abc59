package reports

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Build writes the report as a message: multipart/report with a text for people,
// a delivery status for programs, and what comes back of the original (RFC 3464
// §2, RFC 6522 §3, RFC 6533 §4). It is never larger than MaxSize: first the
// original's body is left out, then parts of its header, then words. Its envelope
// has the null sender and NOTIFY=NEVER (RFC 3461 §6.2); SMTPUTF8 is needed only if
// d.SMTPUTF8 or d.To.NeedsUTF8, and 8BITMIME if Full comes back with 8-bit octets.
//
// The error is of kind Invalid when there is no such report, Full when there are
// too many recipients for one: see Split.
func (d *DSN) Build(w io.Writer) error {
	const op = "build report"
	if d.To.IsNull() || d.Date.IsZero() || len(d.Rcpts) == 0 || d.ReportingMTA == "" {
		return postino.E(postino.Invalid, op, "without recipient, date or host", nil)
	}
	failed := false
	for i := range d.Rcpts {
		a := d.Rcpts[i].Action
		if failed = failed || a == Failed; a.String() == "" {
			return postino.E(postino.Invalid, op, "without action", nil)
		}
	}
	r := report{DSN: *d, speaker: newSpeaker(d.Lang)}
	full, err := r.prepare(failed)
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	for _, lv := range levels() {
		out, err := r.fit(lv, full)
		if err != nil {
			return postino.E(postino.Internal, op, "", err)
		}
		if out != nil {
			_, err = w.Write(out)
			return err
		}
	}
	return postino.E(postino.Full, op, "with too many recipients", nil)
}

// report is a DSN on its way to octets.
type report struct {
	DSN
	speaker
	references []string
}

// prepare fills in what was left to Build and returns the original if all of it
// is to come back.
func (r *report) prepare(failed bool) (full []byte, err error) {
	if r.Full != nil && (r.Headers == nil || failed && r.Ret == postino.DSNReturnFull) {
		if full, err = io.ReadAll(io.LimitReader(r.Full, MaxSize)); err != nil {
			return nil, err
		}
		if r.Headers == nil {
			r.Headers = full[:message.HeaderEnd(full)]
			if len(r.Headers) == MaxSize { // what was read ends inside a field
				r.Headers = cutHeader(r.Headers, MaxSize-1)
			}
		}
		if !failed || r.Ret != postino.DSNReturnFull || len(full) == MaxSize {
			full = nil
		}
	}
	r.Headers = cutHeader(r.Headers, 512<<10) // SS9; the empty line is no field
	sum := message.Summarize(r.Headers)
	if r.Subject == "" {
		r.Subject = sum.Subject()
	}
	if r.MessageID == "" {
		r.MessageID = sum.MessageID
	}
	for _, id := range append(slices.Clone(sum.References), r.MessageID) {
		if plainID(id) && !slices.Contains(r.references, id) {
			r.references = append(r.references, id)
		}
	}
	if r.Rand == nil {
		r.Rand = rand.Reader
	}
	if r.To.Domain == "" { // <postmaster>
		r.To.Domain = r.ReportingMTA
	}
	if r.ID == "" {
		var b [16]byte
		if _, err := io.ReadFull(r.Rand, b[:]); err != nil {
			return nil, err
		}
		r.ID = hex.EncodeToString(b[:]) + "@" + r.ReportingMTA
	}
	return full, nil
}

// plainID tells whether a message id from outside can be written again.
func plainID(id string) bool {
	if id == "" || len(id) > 250 || strings.ContainsAny(id, " <>\"\\") {
		return false
	}
	return asciiOnly(id) && postino.Printable(id) == id
}

// returned is what comes back of the original.
type returned struct {
	told   string // the text about it: full, headers, cut; empty for none
	octets []byte
}

// fit renders the report with as much of the original as fits, or returns nil
// when the level says too much.
func (r *report) fit(lv level, full []byte) ([]byte, error) {
	base, err := r.render(lv, returned{})
	if err != nil {
		return nil, err
	}
	room := MaxSize - len(base) - 400 // the part's own fields and the words about it
	if room < min(len(r.Headers), 8<<10) && !lv.last {
		return nil, nil
	}
	for _, back := range []returned{
		{"full", full}, {"headers", r.Headers},
		{"cut", cutHeader(r.Headers, room)}, {"cut", cutHeader(r.Headers, room/3)}, // a third, if each octet is escaped
	} {
		if len(back.octets) == 0 || len(back.octets) > room || back.told == "full" && !r.returnable(full) {
			continue
		}
		out, err := r.render(lv, back)
		if err != nil || len(out) <= MaxSize {
			return out, err
		}
	}
	if len(base) > MaxSize {
		return nil, nil
	}
	return base, nil
}

// cutHeader keeps the first fields of a header, whole, in at most max octets.
func cutHeader(header []byte, max int) []byte {
	n := 0
	for f := range message.Fields(header) {
		if n+len(f.Raw) > max {
			break
		}
		n += len(f.Raw)
	}
	return header[:n]
}

// returnable tells whether the original can come back octet for octet: a message
// in a message has no transfer encoding of its own (RFC 2045 §6.4), and its
// header is ASCII unless the way back takes SMTPUTF8.
func (r *report) returnable(full []byte) bool {
	return message.NeededEncoding(full) != "binary" && (r.utf8() || asciiOnly(full[:message.HeaderEnd(full)]))
}

// utf8 tells whether the report may hold UTF-8 in headers and fields.
func (d *DSN) utf8() bool { return d.SMTPUTF8 || d.To.NeedsUTF8() }

func (r *report) render(lv level, back returned) ([]byte, error) {
	var out bytes.Buffer
	b := message.NewBuilder(&out, message.BuilderOptions{Rand: r.Rand, UTF8: r.utf8()})
	b.Date("Date", r.Date)
	b.Addresses("From", message.Address{Name: "Mail Delivery System", Mailbox: "MAILER-DAEMON", Host: r.ReportingMTA})
	b.Addresses("To", message.Address{Mailbox: r.To.Local, Host: r.To.Domain})
	b.Field("Subject", r.subject(r.speaker))
	b.IDs("Message-ID", r.ID)
	if n := len(r.references); n > 0 && plainID(r.MessageID) {
		b.IDs("In-Reply-To", r.MessageID)
		b.IDs("References", r.references[max(0, n-20):]...)
	}
	b.Structured("Auto-Submitted", AutoReplied) // RFC 3834 §5

	groups := r.groups(lv, r.utf8())
	typ, encoding := "message/delivery-status", ""
	if r.utf8() && !asciiFields(groups) {
		typ, encoding = "message/global-delivery-status", "8bit"
	}
	part, partEncoding := r.returnedType(back)
	if partEncoding == "8bit" {
		encoding = "8bit"
	}
	// RFC 6533 §4.4: the report type is the same for the types with UTF-8.
	b.Multipart("report", encoding, message.Param{Name: "report-type", Value: "delivery-status"})
	b.Part()
	b.Structured("Content-Language", r.tag)
	b.Text("plain", r.text(r.speaker, lv, back.told))
	b.Part()
	b.Report(typ, groups...)
	if part != "" {
		b.Part()
		if partEncoding == "encoded" {
			b.Text(strings.TrimPrefix(part, "text/"), string(message.AppendUTF8(nil, "", back.octets)))
		} else {
			b.Raw(part, back.octets)
		}
	}
	err := b.Close()
	return out.Bytes(), err
}

// returnedType chooses the media type of what comes back, and whether it goes as
// it is ("7bit", "8bit") or "encoded", as RFC 6522 §4 allows for broken headers.
func (r *report) returnedType(back returned) (typ, encoding string) {
	if back.told == "" {
		return "", ""
	}
	encoding = message.NeededEncoding(back.octets)
	header := back.octets[:message.HeaderEnd(back.octets)]
	global := !asciiOnly(header)
	switch {
	case back.told == "full" && global:
		return "message/global", encoding
	case back.told == "full":
		return "message/rfc822", encoding
	case encoding == "7bit":
		return "text/rfc822-headers", encoding
	case encoding == "8bit" && r.utf8() && bytes.Equal(header, bytes.ToValidUTF8(header, nil)):
		return "message/global-headers", encoding
	}
	return "text/rfc822-headers", "encoded"
}

func asciiFields(groups [][]message.ReportField) bool {
	for _, g := range groups {
		for _, f := range g {
			if !asciiOnly(f.Value) {
				return false
			}
		}
	}
	return true
}
