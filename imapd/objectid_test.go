package imapd

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/mailbox"
)

func TestObjectIDs(t *testing.T) {
	if got := emailObjectID(0x1a, 0xff); got != "M1a-ff" {
		t.Error(got)
	}
	if got := threadObjectID(1, 2); got != "T1-2" {
		t.Error(got)
	}
	if got := mailboxObjectID(1, 2); got != "F1-2" {
		t.Error(got)
	}
	for _, s := range []string{"", "M", "M1", "M1-", "M1-02", "M1-G", "T1-2", "M2-2", "M1-2-2", "m1-2", "M01-2", "M1-+2"} {
		if n, ok := parseObjectID(emailPrefix, 1, s); ok {
			t.Errorf("%q is %d", s, n)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, n := rapid.Uint64().Draw(t, "account"), rapid.Uint64().Draw(t, "id")
		s := emailObjectID(mailbox.AccountID(a), mailbox.EmailID(n))
		if got, ok := parseObjectID(emailPrefix, mailbox.AccountID(a), s); !ok || got != n || len(s) > 255 {
			t.Fatalf("%q gives %d, %v", s, got, ok)
		}
	})
}
