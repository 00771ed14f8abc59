package reports

import (
	"io"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Notice is a message that tells a user what was changed about how he gets in
// (AU9).
type Notice struct {
	// Lang is the user's language, or empty.
	Lang string
	// What is "password", "app-password", "app-password-removed" or "token".
	What string
	// Name is that of the app password or token; it comes from outside.
	Name string
	// From and To are postmaster and user; ID is a message id without brackets.
	From, To postino.Address
	ID       string
	Date     time.Time
}

// Build writes the message with CRLF line ends.
func (n *Notice) Build(w io.Writer) error {
	s := newSpeaker(n.Lang)
	data := map[string]string{"Name": clean(n.Name, 120), "Address": n.To.Unicode(), "Date": s.date(n.Date)}
	mailbox := func(a postino.Address) message.Address { return message.Address{Mailbox: a.Local, Host: a.Domain} }
	b := message.NewBuilder(w, message.BuilderOptions{UTF8: n.To.NeedsUTF8()})
	b.Date("Date", n.Date)
	b.Addresses("From", mailbox(n.From))
	b.Addresses("To", mailbox(n.To))
	b.Field("Subject", s.say("notice."+n.What+".subject", data))
	b.IDs("Message-ID", n.ID)
	b.Field("Auto-Submitted", "auto-generated") // RFC 3834 §5
	b.Field("Content-Language", s.tag)
	b.Text("plain", s.say("notice."+n.What, data)+"\n\n"+s.say("notice.act", data)+"\n")
	return b.Close()
}
