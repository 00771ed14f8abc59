package smtp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// FuzzSession feeds a whole client to a session: no panic but those asked for,
// well-formed replies only, every 250 for content is one message, everything is
// closed.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"EHLO x\r\nMAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<b@example.org> NOTIFY=NEVER\r\nDATA\r\nx\r\n..\r\n.\r\nQUIT\r\n",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nowrite@[192.0.2.1]>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\nde",
		"HELO x\r\nAUTH LOGIN\r\nVRFY a\r\nEXPN b\r\nHELP\r\nNOOP\r\nSTARTTLS\r\n",
		"EHLO x\r\nAUTH LOGIN\r\ndGlt\r\ndGlt\r\nAUTH PLAIN =\r\nAUTH PLAIN\r\n*\r\n",
		"EHLO x\r\nMAIL FROM:<\xc3\xa4@example.org> SMTPUTF8 RET=FULL ENVID=a+2Bb AUTH=<>\r\nRCPT TO:<b@example.org> ORCPT=utf-8;\\x{F6}@b\r\n",
		"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\r\n", "EHLO x\nQUIT\n",
		"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n\n.\r\n.\r\n",
	} {
		f.Add([]byte(seed), uint8(0), uint8(255))
		f.Add([]byte(seed), uint8(255), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, flags, piece uint8) {
		if len(in) > 64<<10 {
			return // what a pipe holds both ways
		}
		for _, word := range []string{"panic", "slow"} {
			if bytes.Contains(bytes.ToLower(in), []byte(word)) {
				return // the fake does what it is asked
			}
		}
		b := &fake{login: "tim"}
		s := NewServer(Options{Hostname: "mx.example.org", Backend: b, AuthInsecure: flags&1 != 0, LaxPipelining: flags&2 != 0, DSN: flags&4 != 0,
			BinaryMIME: flags&8 != 0, Normalise: flags&16 != 0, RequireTLS: flags&32 != 0, Limits: Limits{MessageBytes: 1 << 12, ErrorDelay: 1}})
		cc, sc := pipe()
		done := make(chan struct{})
		go func() {
			s.ServeConn(context.Background(), sc)
			close(done)
		}()
		c := &client{t, cc, bufio.NewReader(cc)}
		var out []string
		read := make(chan struct{})
		go func() {
			defer close(read)
			for {
				lines, err := c.reply()
				if err != nil {
					return
				}
				out = append(out, lines[len(lines)-1])
			}
		}()
		for rest := in; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			if _, err := cc.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		cc.(*memConn).CloseWrite()
		<-done
		<-read
		cc.Close()
		b.check(t)
		accepted := 0
		for _, line := range out {
			if strings.HasPrefix(line, "250 2.0.0 Queued") {
				accepted++
			}
			if strings.HasPrefix(line, "421 4.3.0 Local") && !bytes.Contains(in, []byte("odd")) {
				t.Fatalf("a panic: %q", out)
			}
		}
		if accepted != len(b.posts) {
			t.Fatalf("%d times 250, %d messages: %q", accepted, len(b.posts), out)
		}
		for _, p := range b.posts {
			if text := strings.ReplaceAll(p.content, "\r\n", ""); p.opts.Body != postino.BodyBinaryMIME && strings.ContainsAny(text, "\r\n") {
				t.Fatalf("bare CR or LF in %q", p.content)
			}
		}
	})
}

// FuzzParams shows that what the parameter parsers accept is clean and within
// its bounds, and reads the same when written again.
func FuzzParams(f *testing.F) {
	for _, s := range []string{" SIZE=1 BODY=7BIT SMTPUTF8", " RET=HDRS ENVID=a+2Bb", " AUTH=e+3Dmc2@example.com", " AUTH=<>", "  NOTIFY=SUCCESS,FAILURE  ORCPT=rfc822;a+40b",
		" NOTIFY=NEVER", " ORCPT=utf-8;\\x{1F600}a", " X", " =", " SIZE=", " size=00000000000000000001"} {
		f.Add(s)
	}
	all := extensions{dsn: true, binary: true, auth: true, size: 1 << 30}
	f.Fuzz(func(t *testing.T, s string) {
		var o MailOptions
		if parseMailParams(s, &all, &o) == nil {
			if o.Size < 0 || o.Size > all.size || len(o.EnvID) > 100 || !isPrintable(o.EnvID) {
				t.Fatalf("%q gave %+v", s, o)
			}
			if again, ok := decodeXtext(xtext(o.EnvID)); o.EnvID != "" && (!ok || again != o.EnvID) {
				t.Fatalf("%q does not survive xtext", o.EnvID)
			}
		}
		var r postino.Recipient
		if parseRcptParams(s, &all, &r) == nil {
			if r.Notify&postino.DSNNever != 0 && r.Notify != postino.DSNNever || strings.ContainsAny(r.ORcpt, "\r\n\x00") || len(r.ORcpt) > 500 {
				t.Fatalf("%q gave %+v", s, r)
			}
		}
	})
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// xtext encodes as RFC 3461 §4 says.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			b.WriteString("+" + strings.ToUpper(string([]byte{"0123456789abcdef"[c>>4], "0123456789abcdef"[c&15]})))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func TestMailParams(t *testing.T) {
	for _, c := range []struct{ in, code string }{
		{"", ""}, {" ", ""}, {" SIZE=1", ""}, {" SIZE=0", ""}, {" size=5  body=7bit ", ""}, {" SMTPUTF8", ""}, {" BODY=BINARYMIME", ""},
		{"SIZE=1", "501"}, {" SIZE", "501"}, {" SIZE=", "501"}, {" SIZE=x", "501"}, {" SIZE=+1", "501"}, {" SIZE=123456789012345678901", "501"},
		{" SIZE=1001", "552"}, {" SIZE=18446744073709551616", "552"}, {" SIZE=1 SIZE=1", "501"},
		{" BODY", "501"}, {" BODY=9BIT", "555"}, {" SMTPUTF8=1", "501"}, {" SMTPUTF8 SMTPUTF8", "501"},
		{" RET=FULL", ""}, {" RET=ALL", "501"}, {" RET=FULL RET=FULL", "501"},
		{" ENVID=a+2Bb", ""}, {" ENVID=a+2bb", "501"}, {" ENVID=a+0Ab", "501"}, {" ENVID=a+", "501"}, {" ENVID=a=b", "501"},
		{" ENVID=" + strings.Repeat("x", 100), ""}, {" ENVID=" + strings.Repeat("x", 101), "501"},
		{" AUTH=<>", ""}, {" AUTH=a+40example.org", ""}, {" AUTH=a@example.org", ""}, {" AUTH=no", "501"},
		{" FOO", "555"}, {" FOO=bar", "555"}, {" F_O=bar", "501"}, {" -F=bar", "501"}, {" =x", "501"}, {" HOLDFOR=1", "555"},
	} {
		var o MailOptions
		r := parseMailParams(c.in, &extensions{dsn: true, binary: true, auth: true, size: 1000}, &o)
		if code := codeOf(r); code != c.code {
			t.Errorf("MAIL%q: %q, want %q", c.in, code, c.code)
		}
	}
	for _, p := range []string{" RET=FULL", " ENVID=x", " AUTH=<>", " BODY=BINARYMIME"} {
		var o MailOptions
		if code := codeOf(parseMailParams(p, &extensions{size: 1000}, &o)); code != "555" {
			t.Errorf("not announced %q: %s", p, code)
		}
	}
}

func TestRcptParams(t *testing.T) {
	for _, c := range []struct{ in, code, orcpt string }{
		{"", "", ""}, {" NOTIFY=NEVER", "", ""}, {" NOTIFY=success,Failure,DELAY", "", ""},
		{" NOTIFY=NEVER,DELAY", "501", ""}, {" NOTIFY=", "501", ""}, {" NOTIFY", "501", ""}, {" NOTIFY=DELAY,DELAY", "501", ""}, {" NOTIFY=DELAY,", "501", ""},
		{" NOTIFY=DELAY NOTIFY=DELAY", "501", ""},
		{" ORCPT=rfc822;a+2Bb@example.org", "", "rfc822;a+b@example.org"}, {" ORCPT=rfc822;", "501", ""}, {" ORCPT=;x", "501", ""}, {" ORCPT=x", "501", ""},
		{" ORCPT=rfc822;a+0D+0Ab", "501", ""}, {" ORCPT=rfc822;a+00", "501", ""}, {" ORCPT=r_2;a", "501", ""}, {" ORCPT=rfc822;" + strings.Repeat("x", 494), "501", ""},
		{` ORCPT=utf-8;\x{E4}@x`, "", "utf-8;ä@x"}, {" ORCPT=utf-8;ä@x", "", "utf-8;ä@x"}, {` ORCPT=utf-8;\x{0A}`, "501", ""}, {` ORCPT=utf-8;\x{D800}`, "501", ""},
		{` ORCPT=utf-8;\x{110000}`, "501", ""}, {` ORCPT=utf-8;\x{`, "501", ""}, {` ORCPT=utf-8;a\b`, "501", ""}, {" SIZE=1", "555", ""},
	} {
		var r postino.Recipient
		if code := codeOf(parseRcptParams(c.in, &extensions{dsn: true}, &r)); code != c.code || code == "" && r.ORcpt != c.orcpt {
			t.Errorf("RCPT%q: %q %q, want %q %q", c.in, code, r.ORcpt, c.code, c.orcpt)
		}
	}
}

func codeOf(r *Reply) string {
	if r == nil {
		return ""
	}
	return r.Error()[:3]
}

// TestReply shows that nothing a session says can break the dialogue.
func TestReply(t *testing.T) {
	for _, c := range []struct {
		r    Reply
		want string
	}{
		{Reply{250, "2.1.0", "OK"}, "250 2.1.0 OK\r\n"},
		{Reply{250, "", "a\nb\nc"}, "250-a\r\n250-b\r\n250 c\r\n"},
		{Reply{550, "", "No"}, "550 5.0.0 No\r\n"},
		{Reply{451, "5.1.1", "No"}, "451 4.0.0 No\r\n"},
		{Reply{0, "", "x"}, "451 4.3.0 x\r\n"},
		{Reply{999, "9.9.9", "x"}, "451 4.3.0 x\r\n"},
		{Reply{550, "5.1.1", "ä\r\x00\x1b"}, "550 5.1.1 ?????\r\n"},
		{Reply{550, "5.1.1", "a\n250 2.0.0 b"}, "550-5.1.1 a\r\n550 5.1.1 250 2.0.0 b\r\n"},
	} {
		if got := string(c.r.appendTo(nil)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
	long := Reply{550, "5.1.1", strings.Repeat("x", 2000)}
	if n := len(long.appendTo(nil)); n != maxReplyLine {
		t.Error(n)
	}
}

// TestKinds shows the table from kinds to replies.
func TestKinds(t *testing.T) {
	for k, want := range map[postino.Kind]string{postino.Internal: "451 4.3.0", postino.Invalid: "550 5.0.0", postino.NotFound: "550 5.1.1", postino.Denied: "550 5.7.1",
		postino.Full: "452 4.3.1", postino.Conflict: "451 4.3.0", postino.Transient: "451 4.3.0", postino.Corrupt: "451 4.3.0", postino.Kind(99): "451 4.3.0"} {
		if got := ReplyFor(postino.E(k, "op", "object", io.EOF)).Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "object") {
			t.Errorf("%v: %q", k, got)
		}
	}
}
