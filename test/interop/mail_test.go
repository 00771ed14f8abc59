package interop

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// message makes a mail with CRLF line ends: dot lines, 8-bit text, a long line.
func message(id, to, body string) string {
	return strings.ReplaceAll(fmt.Sprintf(`Date: Sat, 21 Nov 2026 10:00:00 +0000
From: Sender <sender@client.test>
To: <%s>
Subject: interop %s
Message-ID: <%s@client.test>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

%s`, to, id, id, body), "\n", "\r\n")
}

// by makes a user the author of a message: what users send is refused when its From
// is not theirs.
func by(author, mail string) string { return strings.Replace(mail, "sender@client.test", author, 1) }

var oddBody = ".\n..\n.hidden\n\nGrüße, 日本語, \t tab\n" + strings.Repeat("x", 990) + "\n\n \n. \nend\n"

// open logs a user in over TLS with the client that tests use to look.
func open(t *testing.T, s *server, user int, handler *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialTLS(s.imaps, &imapclient.Options{TLSConfig: s.tlsConfig(t), UnilateralDataHandler: handler})
	if err != nil {
		t.Fatalf("connect to %s: %v", s.imaps, err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(s.user(user), s.password).Wait(); err != nil {
		t.Fatalf("login: %v", err)
	}
	return c
}

// everybodys are the mailboxes that users are born with.
var everybodys = []string{"INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive"}

// empty removes all mail of the user's INBOX and all mailboxes made by tests, so
// that they also run against a server that has seen them before.
func empty(t *testing.T, s *server, user int) {
	t.Helper()
	c := open(t, s, user, nil)
	boxes, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, b := range boxes {
		if !slices.Contains(everybodys, b.Mailbox) {
			c.Delete(b.Mailbox).Wait()
		}
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatalf("select: %v", err)
	}
	if box.NumMessages > 0 {
		all := imap.SeqSet{{Start: 1, Stop: 0}}
		if err := c.Store(all, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
			t.Fatalf("store: %v", err)
		}
		if err := c.Expunge().Close(); err != nil {
			t.Fatalf("expunge: %v", err)
		}
	}
	c.Logout().Wait()
}

// await polls until the user's mailbox holds n messages and returns their octets.
func await(t *testing.T, s *server, user int, box string, n int) [][]byte {
	t.Helper()
	c := open(t, s, user, nil)
	defer c.Logout()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		data, err := c.Select(box, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatalf("select %s: %v", box, err)
		}
		if int(data.NumMessages) == n {
			break
		}
		if int(data.NumMessages) > n || time.Now().After(deadline) {
			t.Fatalf("%s of %s holds %d messages, want %d", box, s.user(user), data.NumMessages, n)
		}
	}
	if n == 0 {
		return nil
	}
	section := &imap.FetchItemBodySection{Peek: true}
	fetched, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	var all [][]byte
	for _, m := range fetched {
		all = append(all, m.FindBodySection(section))
	}
	return all
}

// wantDelivered checks that a delivered mail is what was sent, below the trace
// fields that servers add on top.
func wantDelivered(t *testing.T, got []byte, sent string) {
	t.Helper()
	if !bytes.HasSuffix(got, []byte(sent)) {
		_, below, _ := bytes.Cut(got, []byte("\r\nDate: "))
		same := 0
		for below = append([]byte("Date: "), below...); same < min(len(below), len(sent)) && below[same] == sent[same]; {
			same++
		}
		t.Errorf("delivered mail differs from what was sent at octet %d: got %q, want %q", same, clip(string(below[same:])), clip(sent[same:]))
		return
	}
	trace := string(got[:len(got)-len(sent)])
	for _, field := range []string{"Return-Path: <", "Received: from "} {
		if !strings.Contains(trace, field) {
			t.Errorf("no %q among the trace fields:\n%s", field, trace)
		}
	}
}

func clip(s string) string {
	if len(s) > 600 {
		return s[:300] + " … " + s[len(s)-300:]
	}
	return s
}
