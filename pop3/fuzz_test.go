package pop3

import (
	"strings"
	"testing"
)

// FuzzSession: whatever a client says, every line has an answer that is well formed, no
// panic, and without QUIT nothing changes.
func FuzzSession(f *testing.F) {
	for _, s := range []string{"", "QUIT\r\n", "CAPA\r\nLANG it\r\nUTF8\r\n", "AUTH PLAIN\r\nAGFubgBzZXNhbWU=\r\nSTAT\r\n", "AUTH PLAIN\r\n*\r\n",
		"RETR 1\r\nTOP 2 1\r\nLIST\r\nUIDL 1\r\nDELE 1\r\nRSET\r\nDELE 3\r\nQUIT\r\n", "TOP 1 999999999\r\nLIST 0000000001\r\n", "USER \xff\r\nPASS\r\n",
		"GET / HTTP/1.1\r\n", strings.Repeat("x", 600), "STLS\r\nX", "USER ann\nPASS sesame\nRETR 2\n"} {
		f.Add(false, uint16(0), s)
		f.Add(true, uint16(3), s)
	}
	f.Fuzz(func(t *testing.T, in bool, piece uint16, say string) {
		if len(say) > 1<<16 {
			return
		}
		store := newMemStore("A: b\r\n\r\n.\r\nc", "Subject: é\r\n\r\nx\r\n", "\r\n")
		store.piece = int(piece % 64)
		if in {
			say = login + say
		}
		out := talk(store, nil, say)
		if strings.Contains(out, "Internal error") {
			t.Fatalf("%q: %q", say, out)
		}
		if !strings.HasSuffix(out, "\r\n") {
			t.Fatalf("half a reply: %q", out)
		}
		if store.locked {
			t.Fatal("the maildrop is still locked")
		}
		if !strings.Contains(strings.ToUpper(say), "QUIT") && store.state() != "123" {
			t.Fatalf("%q changed the store to %q", say, store.state())
		}
	})
}
