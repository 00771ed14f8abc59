package interop

import (
	"fmt"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestSendToDovecot gives mail to Dovecot by LMTP, over TCP and over a socket, and
// reads it by IMAP.
func TestSendToDovecot(t *testing.T) {
	s, p := usePeer(t, dovecot)
	for _, c := range []struct{ name, host, with string }{
		{"tcp", p.ways["lmtp"], `with LMTP\b`},
		{"socket", "unix:" + p.path("lmtp.sock"), `with LMTP\b`},
		{"tls", p.ways["lmtp"], `with LMTPS\b`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			user, to := s.fresh(t), "box@dovecot.test"
			flags := []string{"--action", "lmtp", "--sender", s.user(user), "--tls", "none"}
			if c.name == "tls" {
				flags = append(flags[:4], "--tls", "required")
			}
			s.route(t, "dovecot.test", c.host, flags...)
			id := "dovecot-" + c.name
			sent := by(s.user(user), message(id, to, oddBody))
			s.users(t, user).post(t, letter{from: s.user(user), params: "BODY=8BITMIME", rcpts: []string{to}, data: sent})
			wantPassedOn(t, p.arrived(t, id), sent, `Return-Path: <`+s.user(user)+`>`, `from mx\.`+s.domain+`.*`+c.with)
			wantRead(t, p, id, sent)
		})
	}
}

// wantRead reads a message of the peer's user by IMAP.
func wantRead(t *testing.T, p *peer, id, sent string) {
	t.Helper()
	c, err := imapclient.DialInsecure(p.ways["imap"], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(peerUser, peerPassword).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: "<" + id + "@client.test>"}}}, nil).Wait()
	if err != nil || len(found.AllUIDs()) != 1 {
		t.Fatalf("%d messages %s by IMAP: %v", len(found.AllUIDs()), id, err)
	}
	section := &imap.FetchItemBodySection{Peek: true}
	m, err := c.Fetch(imap.UIDSetNum(found.AllUIDs()...), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	wantPassedOn(t, m[0].FindBodySection(section), sent)
}

// TestDovecotRefuses has recipients who are refused before and after the content,
// beside one who is not: each has an answer of its own in LMTP (RFC 2033 §4.2).
func TestDovecotRefuses(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user := s.fresh(t)
	s.route(t, "dovecot.test", p.ways["lmtp"], "--action", "lmtp", "--sender", s.user(user))
	body := "text\n"
	for len(body) < 8<<10 {
		body += body
	}
	s.users(t, user).post(t, letter{
		from: s.user(user), params: "ENVID=letter-11 RET=HDRS", rcpts: []string{"nobody@dovecot.test", "full@dovecot.test", "box@dovecot.test"},
		data: by(s.user(user), message("dovecot-refuses", "box@dovecot.test", body)),
	})
	p.arrived(t, "dovecot-refuses")
	want := report{mta: "mx." + s.domain, envID: "letter-11", action: "failed", id: "dovecot-refuses", full: "-"}
	raw := await(t, s, user, "INBOX", 1)[0]
	want.final, want.status, want.diagnostic = "nobody@dovecot.test", `^5\.1\.1`, `550.5\.1\.1`
	wantReport(t, raw, want)
	want.final, want.status, want.diagnostic = "full@dovecot.test", `^5\.2\.2`, `552.5\.2\.2`
	wantReport(t, raw, want)
}

// TestDovecotLarge is about 30 MB and an address with UTF-8, which Dovecot takes
// from those who say that they have one.
func TestDovecotLarge(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user, to := s.fresh(t), "box@dovecot.test"
	s.route(t, "dovecot.test", p.ways["lmtp"], "--action", "lmtp", "--sender", s.user(user))
	sent := by(s.user(user), message("dovecot-large", to, large))
	s.users(t, user).post(t, letter{from: s.user(user), params: "BODY=8BITMIME", rcpts: []string{to}, data: sent})
	wantPassedOn(t, p.arrived(t, "dovecot-large"), sent)
}

// TestDovecotReports asks for a report of success: Dovecot knows nothing of such
// requests, so the report is ours (RFC 3461 §5.2.3).
func TestDovecotReports(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user, to := s.fresh(t), "box@dovecot.test"
	s.route(t, "dovecot.test", p.ways["lmtp"], "--action", "lmtp", "--sender", s.user(user))
	s.users(t, user).post(t, letter{
		from: s.user(user), params: "ENVID=letter-12", rcpts: []string{to}, rcptParams: "NOTIFY=SUCCESS",
		data: by(s.user(user), message("dovecot-success", to, "text\n")),
	})
	wantReport(t, await(t, s, user, "INBOX", 1)[0], report{
		mta: "mx." + s.domain, envID: "letter-12", final: to, action: "delivered", status: `^2\.`, id: "dovecot-success",
	})
}

// TestDovecotWithoutUTF8 sends to an address that needs SMTPUTF8, which Dovecot does
// not offer: it comes back (RFC 6531 §3.2).
func TestDovecotWithoutUTF8(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user, to := s.fresh(t), "pelé@dovecot.test"
	s.route(t, "dovecot.test", p.ways["lmtp"], "--action", "lmtp", "--sender", s.user(user))
	s.users(t, user).post(t, letter{
		from: s.user(user), params: "SMTPUTF8", rcpts: []string{to}, data: by(s.user(user), message("dovecot-utf8", to, "text\n")),
	})
	wantReport(t, await(t, s, user, "INBOX", 1)[0], report{mta: "mx." + s.domain, final: to, action: "failed", status: `^5\.6\.7`, id: "dovecot-utf8"})
}

// TestDovecotThousand gives one message to 1,000 mailboxes.
func TestDovecotThousand(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user := s.fresh(t)
	s.postino(t, "", "user", "limits", s.user(user), "--hour", "none", "--day", "none")
	s.route(t, "dovecot.test", p.ways["lmtp"], "--action", "lmtp", "--sender", s.user(user))
	l := letter{from: s.user(user), data: by(s.user(user), message("dovecot-thousand", "everybody@client.test", "text\n"))}
	for i := range 1000 {
		l.rcpts = append(l.rcpts, fmt.Sprintf("r%d@dovecot.test", i))
	}
	s.users(t, user).post(t, l)
	p.thousand(t, "r")
}
