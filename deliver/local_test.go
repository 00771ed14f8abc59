package deliver

import (
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/queue"
)

func TestPrefix(t *testing.T) {
	bob := postino.Address{Local: "bob", Domain: "b.example"}
	for _, tc := range []struct {
		from   postino.Address
		rcpt   queue.Rcpt
		prefix string
		want   string
	}{
		{postino.Address{}, queue.Rcpt{User: bob}, "", "Return-Path: <>\r\nDelivered-To: bob@b.example\r\n"},
		{postino.Address{Local: "x", Domain: "a.example"}, queue.Rcpt{User: bob, Detail: "lists"}, "",
			"Return-Path: <x@a.example>\r\nDelivered-To: bob+lists@b.example\r\n"},
		{postino.Address{Local: "a b", Domain: "a.example"}, queue.Rcpt{User: bob, Detail: "x y"}, "X-Judged: yes\r\n",
			"Return-Path: <\"a b\"@a.example>\r\nDelivered-To: \"bob+x y\"@b.example\r\nX-Judged: yes\r\n"},
	} {
		got := string(appendPrefix(nil, &queue.Item{From: tc.from, Prefix: []byte(tc.prefix)}, &tc.rcpt))
		if got != tc.want {
			t.Errorf("prefix %q, want %q", got, tc.want)
		}
	}
}

// Nothing that an address can hold breaks a line (G6, SS19).
func TestPrefixIsWholeLines(t *testing.T) {
	a := postino.Address{Local: "a\\\"b", Domain: "a.example"}
	got := string(appendPrefix(nil, &queue.Item{From: a}, &queue.Rcpt{User: a, Detail: "<>"}))
	if strings.Count(got, "\r\n") != 2 || strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\n") {
		t.Errorf("prefix %q", got)
	}
}
