package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
)

// village is a development server with its small Internet.
type village struct {
	*DevNode
	t *testing.T
}

func newVillage(t *testing.T) *village {
	t.Helper()
	d, err := StartDev(t.Context(), DevOptions{Password: "dev", PortBase: -1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &village{d, t}
}

// mail sends a message from dev@localhost, as a program on this machine does.
func (v *village) mail(to string) {
	v.t.Helper()
	v.mailFrom("dev@localhost", to)
}

func (v *village) mailFrom(from, to string) {
	v.t.Helper()
	if err := v.try(from, to); err != nil {
		v.t.Fatal(to, err)
	}
}

// try returns the refusal of what mailFrom sends.
func (v *village) try(from, to string) error {
	v.t.Helper()
	c, err := smtp.Dial(v.address(v.t, SMTP)) // smtp.SendMail would want a certificate that it knows
	if err == nil {
		defer c.Close()
		err = c.Mail(from)
	}
	if err == nil {
		err = c.Rcpt(to)
	}
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: %s\r\nSubject: to %s\r\n\r\nHello.\r\n", from, to)
	return w.Close()
}

// inbox waits until a mailbox holds n messages and returns their ENVELOPEs.
func (v *village) inbox(s *Stores, address string, n int) []string {
	v.t.Helper()
	a, err := postino.ParseAddress(address)
	if err != nil {
		v.t.Fatal(err)
	}
	var all []string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if all = v.envelopes(s, a); len(all) == n {
			return all
		}
		<-time.After(5 * time.Millisecond)
	}
	v.t.Fatalf("%s has %d messages, not %d: %q", address, len(all), n, all)
	return nil
}

func (v *village) envelopes(s *Stores, address postino.Address) (all []string) {
	u, err := s.Directory.User(v.t.Context(), address)
	if postino.Is(err, postino.NotFound) {
		return nil
	}
	if err != nil {
		v.t.Fatal(err)
	}
	a, err := s.Mailboxes.Account(v.t.Context(), mailbox.AccountID(u.ID))
	if err != nil {
		v.t.Fatal(err)
	}
	defer a.Close()
	box, err := a.Mailbox("INBOX")
	if err != nil {
		v.t.Fatal(err)
	}
	view, err := a.Open(v.t.Context(), box.ID)
	if err != nil {
		v.t.Fatal(err)
	}
	snap := view.Snapshot()
	var ids []mailbox.EmailID
	for i := range snap.Len() {
		ids = append(ids, snap.Email(i))
	}
	err = a.Emails(v.t.Context(), ids, mailbox.WantRow, func(_ int, e *mailbox.Email) bool {
		all = append(all, string(e.Prefix)+string(e.Envelope))
		return true
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

// The small Internet of a development server shows delivery, forwarding both
// ways, greylisting, and each way to fail.
func TestDevInternet(t *testing.T) {
	v := newVillage(t)
	v.mail("ana@friend.test")
	if got := v.inbox(v.Rest.Stores, "ana@friend.test", 1)[0]; !strings.Contains(got, "to ana@friend.test") {
		t.Errorf("a friend gets %s", got)
	}
	v.mail("away@localhost")
	v.inbox(v.Rest.Stores, "dev@friend.test", 1)
	v.mail("bob@forward.test")
	if got := v.inbox(v.Stores, "bob@localhost", 1)[0]; !strings.Contains(got, "Return-Path: <SRS0=") || !strings.Contains(got, "Delivered-To: bob@localhost") {
		t.Errorf("what is forwarded comes as %s", got)
	}
	for i, to := range []string{"rcpt550@friend.test", "data554@friend.test", "x@nomail.test", "x@nowhere.test"} {
		v.mail(to)
		if got := v.inbox(v.Stores, "dev@localhost", i+1)[i]; !strings.Contains(got, "Not delivered: to "+to) {
			t.Errorf("mail to %s gives the report %s", to, got)
		}
	}
	waits := map[string]string{
		"rcpt451@friend.test": "451 4.0.0 You asked for this", "data450@friend.test": "450 4.0.0 You asked for this",
		"x@slow.test": "451 4.7.1 Greylisted", "x@dead.test": "4.4.1 cannot connect to mx.dead.test",
	}
	for to := range waits {
		v.mail(to)
	}
	for to, words := range waits {
		var items []*queue.Item
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
			var err error
			if items, err = v.Queue.List(t.Context(), queue.Filter{Recipient: to}); err != nil {
				t.Fatal(err)
			}
			if len(items) == 1 && items[0].Rcpts[0].Reply != "" {
				break
			}
		}
		if len(items) != 1 || !strings.HasPrefix(items[0].Rcpts[0].Reply, words) {
			t.Errorf("mail to %s waits as %s", to, fmt.Sprint(items))
		}
	}
	if _, err := v.Queue.Retry(t.Context(), queue.Filter{Recipient: "x@slow.test"}, true, nil); err != nil {
		t.Fatal(err)
	}
	v.inbox(v.Rest.Stores, "x@slow.test", 1)
}

// Codes that no magic recipient has, and names that only look like one.
func TestMagicReply(t *testing.T) {
	for local, want := range map[string]bool{"rcpt451": true, "rcpt599": true, "rcpt250": false, "rcpt": false, "rcpt4x1": false, "xrcpt451": false, "rcpt1000": false} {
		if got := magicReply(local, "rcpt") != nil; got != want {
			t.Errorf("%s fails: %v", local, got)
		}
	}
}

// Mail of all servers of the small Internet is signed with keys in its DNS, also
// when it is sent on; what is sealed passes (MA5).
func TestInternetSigns(t *testing.T) {
	v := newVillage(t)
	v.mailFrom("dev@here.test", "someone@friend.test")
	v.inbox(v.Rest.Stores, "someone@friend.test", 1)
	msg := v.message(v.Rest.Stores, "someone@friend.test")
	end := message.HeaderEnd(msg)
	verifier := mailauth.NewVerifier(msg[:end], mailauth.VerifyOptions{Resolver: v.Resolver, Now: time.Now()})
	verifier.Write(msg[end:])
	got := ""
	for _, s := range verifier.Verify(t.Context()).DKIM {
		got += s.Domain + " " + s.Algorithm + " " + string(s.Result) + "; "
	}
	if want := "here.test rsa-sha256 pass; here.test ed25519-sha256 pass; "; got != want {
		t.Errorf("signed by %q, want %q\n%s", got, want, msg)
	}
}

// message reads the first message in the INBOX of an address.
func (v *village) message(s *Stores, address string) []byte {
	v.t.Helper()
	who, err := postino.ParseAddress(address)
	if err != nil {
		v.t.Fatal(err)
	}
	u, err := s.Directory.User(v.t.Context(), who)
	if err != nil {
		v.t.Fatal(err)
	}
	a, err := s.Mailboxes.Account(v.t.Context(), mailbox.AccountID(u.ID))
	if err != nil {
		v.t.Fatal(err)
	}
	defer a.Close()
	box, err := a.Mailbox("INBOX")
	if err != nil {
		v.t.Fatal(err)
	}
	_, body, err := a.OpenMessage(v.t.Context(), "INBOX", box.UIDValidity, 1)
	if err != nil {
		v.t.Fatal(err)
	}
	defer body.Close()
	var b bytes.Buffer
	if _, err := body.WriteTo(&b); err != nil {
		v.t.Fatal(err)
	}
	return b.Bytes()
}

// The small Internet shows what becomes of mail that its domain proves, and of
// mail that is not its domain's.
func TestInternetJudges(t *testing.T) {
	v := newVillage(t)
	v.mailFrom("dev@here.test", "carol@friend.test")
	v.inbox(v.Rest.Stores, "carol@friend.test", 1)
	msg := string(v.message(v.Rest.Stores, "carol@friend.test"))
	for _, want := range []string{"Authentication-Results: mx.friend.test;", "spf=pass", "dkim=pass", "dmarc=pass", "header.from=here.test"} {
		if !strings.Contains(msg, want) {
			t.Errorf("no %s in %s", want, msg)
		}
	}
	if err := v.try("ceo@forged.test", "dev@localhost"); err == nil || !strings.Contains(err.Error(), "5.7.1 Email rejected per DMARC policy for forged.test") {
		t.Errorf("mail from forged.test: %v", err)
	}
	v.mailFrom("shop@junk.test", "dave@localhost")
	v.mailFrom("dev@here.test", "dave@localhost")
	if got := v.inbox(v.Stores, "dave@localhost", 1)[0]; !strings.Contains(got, "dmarc=pass") {
		t.Errorf("INBOX has %s", got)
	}
	u, err := v.Directory.User(t.Context(), postino.Address{Local: "dave", Domain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := v.Mailboxes.Account(t.Context(), mailbox.AccountID(u.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	junk, err := a.Mailbox("Junk")
	if err != nil || junk.Messages != 1 {
		t.Errorf("Junk has %d messages, %v", junk.Messages, err)
	}
}
