package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestMoveFromDovecot moves an account in from a live Dovecot, and from its Maildir:
// both times with UIDs, UIDVALIDITY, flags, keywords and dates.
func TestMoveFromDovecot(t *testing.T) {
	s, p := usePeer(t, dovecot)
	host, port := split(t, "127.0.0.1:"+p.port("imap"))
	const user = "mover@dovecot.test"
	old := func(name, password string) *imapclient.Client {
		c, err := imapclient.DialInsecure(host+":"+port, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.Login(name, password).Wait(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := old(user, peerPassword)
	for _, box := range []string{"Sent", "Work.Uni"} {
		if err := c.Create(box, nil).Wait(); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
	if err := c.Subscribe("Work.Uni").Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		box := []string{"INBOX", "Sent", "Work.Uni"}[i%3]
		text := message(fmt.Sprint("move", i), user, strings.Repeat(oddBody, i+1))
		cmd := c.Append(box, int64(len(text)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "$Forwarded", "Kw" + imap.Flag(fmt.Sprint(i%4))}[i%3:]})
		cmd.Write([]byte(text))
		cmd.Close()
		if _, err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	was := inventory(t, c, ".")
	if len(was) < 30 {
		t.Fatalf("%d messages at Dovecot", len(was))
	}
	same := func(how string, n int) {
		t.Helper()
		if is := inventory(t, open(t, s, n, nil), "/"); !slices.Equal(is, was) {
			t.Errorf("%s: was\n%s\nis\n%s", how, strings.Join(was, "\n"), strings.Join(is, "\n"))
		}
	}
	live := s.fresh(t)
	args := []string{"import", "imap", "--host", host, "--port", port, "--tls", "starttls", "--insecure", "--user", user, "--password-file", "-", s.user(live)}
	s.postino(t, peerPassword+"\n", args...)
	same("live", live)
	if out := s.postino(t, peerPassword+"\n", args...); !strings.Contains(out, "0 messages (0 B) imported") {
		t.Errorf("the second run says %s", out)
	}
	files := s.fresh(t)
	s.postino(t, "", "import", "maildir", p.path("mail/mover/Maildir"), s.user(files))
	same("Maildir", files)
}

var spaces = regexp.MustCompile(`\s+`)

// inventory describes each message of an account in one line.
func inventory(t *testing.T, c *imapclient.Client, delimiter string) (all []string) {
	t.Helper()
	boxes, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boxes {
		if slices.Contains(b.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(b.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		sel, err := c.Select(b.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if sel.NumMessages == 0 {
			continue
		}
		msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			flags := slices.DeleteFunc(m.Flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), `\Recent`) })
			slices.Sort(flags)
			body := spaces.ReplaceAllString(string(m.BodySection[0].Bytes), " ")
			all = append(all, fmt.Sprintf("%s %d.%d %v %d %d %.150s", strings.ReplaceAll(b.Mailbox, delimiter, "/"), sel.UIDValidity, m.UID, flags, m.InternalDate.Unix(),
				len(m.BodySection[0].Bytes), body))
		}
	}
	slices.Sort(all)
	return all
}
