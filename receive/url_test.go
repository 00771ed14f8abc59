package receive

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/message"
)

// The URLs that BURL takes (RFC 4468 §3.3, RFC 5092 §11).
func TestParseURL(t *testing.T) {
	for s, want := range map[string]*imapURL{
		"imap://mx.b.example/INBOX/;UID=7": {host: "mx.b.example", mailbox: "INBOX", uid: 7},
		"IMAP://ana%40b.example;AUTH=*@mx.b.example:143/Sent%20mail/2026;uidvalidity=3/;uid=4294967295": {
			user: "ana@b.example", host: "mx.b.example", mailbox: "Sent mail/2026", validity: 3, uid: 1<<32 - 1},
		"imap://h/Drafts/;UID=7/;SECTION=1.2.MIME":      {host: "h", mailbox: "Drafts", uid: 7, path: []int{1, 2}, section: message.SectionMIME},
		"imap://h/Drafts/;UID=7/;section=TEXT":          {host: "h", mailbox: "Drafts", uid: 7, section: message.SectionText},
		"imap://h/Drafts/;UID=7/;SECTION=2":             {host: "h", mailbox: "Drafts", uid: 7, path: []int{2}},
		"http://h/INBOX/;UID=7":                         nil,
		"imap://h/INBOX":                                nil,
		"imap://h/;UID=7":                               nil,
		"imap://h/INBOX/;UID=0":                         nil,
		"imap://h/INBOX/;UID=4294967296":                nil,
		"imap://h/INBOX/;UID=7;URLAUTH=anonymous:x:abc": nil,
		"imap://h/INBOX;UIDVALIDITY=x/;UID=7":           nil,
		"imap://h/INBOX/;UID=7/;SECTION=MIME":           nil,
		"imap://h/INBOX/;UID=7/;SECTION=1.x.2":          nil,
		"imap://h/%zz/;UID=7":                           nil,
		"imap://h/INBOX/;UID=7/;PARTIAL=0.10":           nil,
		"":                                              nil,
	} {
		got, err := parseURL(s)
		if want == nil {
			if err == nil {
				t.Errorf("%q is taken for %+v", s, got)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("%q is read as %+v, %v", s, got, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("imap://ana%40b.example;AUTH=*@mx.b.example:143/Sent;uidvalidity=3/;uid=5/;SECTION=1.2.HEADER")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURL(s)
		if err != nil {
			return
		}
		if u.uid == 0 || u.mailbox == "" || len(u.path) > maxPath || strings.Contains(u.host, "/") {
			t.Errorf("%q is read as %+v", s, u)
		}
	})
}

// A domain is searched for once in a while, whoever asks how often.
func TestTurnPause(t *testing.T) {
	var turns turns
	now := time.Now()
	if !turns.mayScan("a.example", now) || turns.mayScan("a.example", now.Add(turnPause-1)) || !turns.mayScan("b.example", now) || !turns.mayScan("a.example", now.Add(turnPause)) {
		t.Error("the pause between two searches is not kept")
	}
}
