package submit

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// What refuses a submission.
var (
	// ErrSender: From names somebody whom the user may not send as (Denied; SS22).
	ErrSender = errors.New("you may not send as the author in From")
	// ErrFrom: there is more than one From field (Invalid; MA1).
	ErrFrom = errors.New("more than one From field")
)

// maxAuthors is how many addresses of From are looked at; more are refused.
const maxAuthors = 100

// mend rewrites a header as a submission agent does: Bcc goes, what is missing
// and must be there comes, and the author is who he may be (RFC 6409 §6.1, §8).
func (l *Letter) mend(h []byte) ([]byte, error) {
	out := make([]byte, 0, len(h)+256)
	var from, sender message.Field
	var froms int
	date, id := false, false
	for f := range message.Fields(h) {
		switch {
		case f.Is("bcc"), f.Is("resent-bcc"):
			continue
		case f.Is("sender"):
			sender = f // written at the end, when the author is known
			continue
		case f.Is("from"):
			from = f
			froms++
		case f.Is("date"):
			date = true
		case f.Is("message-id"):
			id = true
		}
		out = append(out, f.Raw...)
	}
	if froms > 1 {
		return nil, postino.E(postino.Invalid, "submit", l.ID.String(), ErrFrom)
	}
	authors, err := l.authors(from.Value)
	if err != nil {
		return nil, err
	}
	now := l.ID.Time()
	if froms == 0 {
		out = l.appendAuthor(out, "From")
	}
	if !date {
		out = now.AppendFormat(append(out, "Date: "...), time.RFC1123Z)
		out = append(out, "\r\n"...)
	}
	if !id {
		out = append(append(append(out, "Message-ID: <"...), l.ID.String()...), '@')
		out = append(append(out, l.p.opts.Hostname...), ">\r\n"...)
	}
	keep, err := l.keepSender(sender, authors)
	switch {
	case err != nil:
		return nil, err
	case keep:
		out = append(out, sender.Raw...)
	case froms > 0 && authors != 1 && l.User.ID != 0: // RFC 5322 §3.6.2
		out = l.appendAuthor(out, "Sender")
	}
	return out, nil
}

// authors counts the addresses of From, and refuses those that are not the
// user's. Programs on this machine, which have no account, are believed.
func (l *Letter) authors(from []byte) (n int, err error) {
	for _, a := range message.ParseAddressList(from, maxAuthors+1) {
		if a.Host == "" { // a group, or nothing that could be an address
			continue
		}
		n++
		may, err := l.maySend(a)
		if err == nil && (!may || n > maxAuthors) {
			err = postino.E(postino.Denied, "submit", l.ID.String(), ErrSender)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// keepSender tells whether a Sender field says the truth.
func (l *Letter) keepSender(f message.Field, authors int) (bool, error) {
	list := message.ParseAddressList(f.Value, 2)
	if len(f.Raw) == 0 || len(list) != 1 || authors == 0 && l.User.ID != 0 {
		return false, nil
	}
	return l.maySend(list[0])
}

func (l *Letter) maySend(a message.Address) (bool, error) {
	if l.User.ID == 0 {
		return true, nil
	}
	addr, err := postino.ParseAddress(postino.Address{Local: a.Mailbox, Domain: a.Host}.String())
	if err != nil {
		return false, nil
	}
	return l.p.opts.Directory.MaySendAs(context.Background(), l.User.ID, addr)
}

// appendAuthor writes a field that names the user, or for programs on this
// machine the reverse-path.
func (l *Letter) appendAuthor(b []byte, field string) []byte {
	a := l.Envelope.From
	if l.User.ID != 0 {
		a = l.User.Address
	}
	if a.IsNull() {
		a = postino.Address{Local: "postmaster", Domain: l.p.opts.Hostname}
	}
	w := bytes.NewBuffer(b)
	message.NewBuilder(w, message.BuilderOptions{UTF8: l.Envelope.SMTPUTF8}).
		Addresses(field, message.Address{Name: l.User.Name, Mailbox: a.Local, Host: a.Domain})
	return w.Bytes()
}
