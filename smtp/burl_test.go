package smtp

import "testing"

// TestBURL is RFC 4468.
func TestBURL(t *testing.T) {
	login := hello + "C: AUTH PLAIN " + b64("\x00tim\x00tim") + "\nS: 235 \n"
	const rcpt = "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \n"
	for _, d := range []struct {
		name, script, post string
	}{
		{"whole", login + rcpt + "C: BURL imap://x LAST\nS: 250 2.0.0 Queued as id1", "url\r\n"},
		{"pipelined", login + "R: MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.org>\\r\\nBURL imap://x last\\r\\n\nS: 250 \nS: 250 \nS: 250 2.0.0 Queued", "url\r\n"},
		{"mixed", login + rcpt + "R: BDAT 3\\r\\na\\r\\nBURL imap://x\\r\\nBDAT 3 LAST\\r\\nb\\r\\n\nS: 250 \nS: 250 2.0.0 Chunk\nS: 250 2.0.0 Queued", "a\r\nurl\r\nb\r\n"},
		{"first", login + rcpt + "R: BURL imap://x\\r\\nBDAT 0 LAST\\r\\n\nS: 250 2.0.0 Chunk\nS: 250 2.0.0 Queued", "url\r\n"},
		{"a line end in two pieces", login + rcpt + "R: BURL imap://cr\\r\\nBDAT 1 LAST\\r\\n\\n\nS: 250 \nS: 250 2.0.0 Queued", "a\r\n"},
		{"no DATA after it", login + rcpt + "C: BURL imap://x\nS: 250 \nC: DATA\nS: 503 \nC: RCPT TO:<c@example.org>\nS: 503 \nC: BURL imap://x LAST\nS: 250 ", "url\r\nurl\r\n"},
		{"no login", hello + rcpt + "C: BURL imap://x LAST\nS: 530 5.7.0\nC: DATA\nS: 503 ", ""},
		{"no transaction", login + "C: BURL imap://x LAST\nS: 503 5.5.1", ""},
		{"no recipient", login + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: BURL imap://x LAST\nS: 554 5.5.1\nC: RCPT TO:<b@example.org>\nS: 250 \nC: BURL imap://x LAST\nS: 250 ", "url\r\n"},
		{"missing ends all", login + rcpt + "R: BDAT 1\\r\\nxBURL imap://missing\\r\\nBDAT 1 LAST\\r\\nx\nS: 250 \nS: 554 5.6.6\nS: 503 ", ""},
		{"refused", login + rcpt + "C: BURL imap://no LAST\nS: 550 5.1.1\nC: DATA\nS: 503 ", ""},
		{"denied", login + rcpt + "C: BURL imap://denied LAST\nS: 554 5.7.8", ""},
		{"later", login + rcpt + "C: BURL imap://later LAST\nS: 451 4.4.1", ""},
		{"an error is no success", login + rcpt + "C: BURL imap://ok251 LAST\nS: 421 4.3.0\nE:", ""},
		{"plain error", login + rcpt + "C: BURL imap://plain LAST\nS: 451 4.3.0", ""},
		{"not as long as said", login + rcpt + "C: BURL imap://short LAST\nS: 451 4.3.0\nC: DATA\nS: 503 ", ""},
		{"too big by size", login + rcpt + "C: BURL imap://huge LAST\nS: 552 5.3.4", ""},
		{"too big in octets", login + rcpt + "C: BURL imap://long LAST\nS: 552 5.3.4\nC: NOOP\nS: 250 ", ""},
		{"bare LF SS1", login + rcpt + "C: BURL imap://bare LAST\nS: 554 5.6.0\nC: DATA\nS: 503 ", ""},
		{"bare CR at the end SS1", login + rcpt + "C: BURL imap://cr LAST\nS: 554 5.6.0\nC: DATA\nS: 503 ", ""},
		{"bare CR before BDAT SS1", login + rcpt + "R: BURL imap://cr\\r\\nBDAT 1 LAST\\r\\nx\nS: 250 \nS: 554 5.6.0\nE:", ""},
		{"syntax ends all", login + rcpt + "R: BDAT 1\\r\\nxBURL nothing\\r\\nBDAT 1 LAST\\r\\nx\nS: 250 \nS: 501 5.5.4\nS: 503 ", ""},
		{"octets end all", login + rcpt + "R: BDAT 1\\r\\nxBURL imap://\\t LAST\\r\\nBDAT 1 LAST\\r\\nx\nS: 250 \nS: 501 5.5.2\nS: 503 ", ""},
		{"bad end", login + rcpt + "C: BURL imap://x FIRST\nS: 501 5.5.4", ""},
		{"panic", login + rcpt + "C: BURL imap://panic LAST\nS: 421 4.3.0\nE:", ""},
	} {
		t.Run(d.name, func(t *testing.T) {
			f := &fake{login: "tim"}
			play(t, Options{BURL: true, AuthInsecure: true, Limits: Limits{MessageBytes: 64 << 10}}, f, d.script)
			if len(f.posts) > 1 || (len(f.posts) == 1) != (d.post != "") || d.post != "" && f.posts[0].content != d.post {
				t.Errorf("%+v, want %q", f.posts, d.post)
			}
		})
	}
	play(t, Options{}, &fake{}, hello+rcpt+"C: BURL imap://x LAST\nS: 502 5.5.1\nC: DATA\nS: 354 \nC: .\nS: 250 ")
	for in, want := range map[string]bool{"imap://a/b;uid=1;urlauth=submit+x:internal:91": true, "x:y": true, "": false, ":x": false, "x": false, "x:": false, "1x:y": false, "x_:y": false, "x:\"": false, "x:ä": false} {
		if isURI([]byte(in)) != want {
			t.Errorf("%q: %v", in, !want)
		}
	}
}
