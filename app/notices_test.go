package app

import (
	"context"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
)

// TestNotice: a user finds in his mailbox, in his language, that his password was
// changed (AU9).
func TestNotice(t *testing.T) {
	ctx := context.Background()
	n := startDev(t, t.TempDir())
	a := postino.Address{Local: "bruno", Domain: "shop.test"}
	imapDo(t, n.address(t, IMAP), "LOGIN bruno@shop.test dev") // makes him
	if _, err := n.Directory.UpdateUser(ctx, a, func(u *directory.User) { u.Language = "it-CH" }); err != nil {
		t.Fatal(err)
	}
	if err := n.Directory.SetPassword(ctx, a, "battery staple"); err != nil {
		t.Fatal(err)
	}
	var got string
	for range 200 {
		got = imapDo(t, n.address(t, IMAP), "LOGIN bruno@shop.test dev", "SELECT INBOX", "FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[TEXT])")
		if strings.Contains(got, "* 1 FETCH") {
			break
		}
	}
	for _, want := range []string{"From: postmaster@shop.test", "To: bruno@shop.test", "Subject: =?", "Auto-Submitted: auto-generated", "Content-Language: it", "Return-Path: <>"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
