package smtp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
		"EHLO x\r\nAUTH PLAIN AHRpbQB0aW0=\r\nMAIL FROM:<a@example.org> BY=600;R HOLDFOR=5 MT-PRIORITY=3 SOLICIT=org.example:X\r\nRCPT TO:<b@example.org> RRVS=2014-04-03T23:01:00Z;C\r\nBURL imap://x\r\nBDAT 2 LAST\r\n\r\n",
		"EHLO x\r\nXFORWARD NAME=a.example ADDR=IPV6:2001:db8::1 SOURCE=LOCAL\r\nXCLIENT ADDR=198.51.100.7 HELO=h LOGIN=tim PROTO=ESMTP\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBURL imap://short LAST\r\nETRN @a.example\r\n",
		"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<full@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 1\r\nxBDAT 2 LAST\r\n\r\nMAIL FROM:<>\r\nRCPT TO:<miscount@example.org>\r\nDATA\r\n.\r\n",
		"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\nEHLO x\r\nQUIT\r\n", proxy2(0x21, 0x11, tcp4) + "EHLO x\r\nXCLIENT NAME=[UNAVAILABLE]\r\n",
		"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\r\n", "EHLO x\nQUIT\n",
		"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n\n.\r\n.\r\n",
	} {
		for _, flags := range []uint16{0, 255, 0x7ff} {
			f.Add([]byte(seed), flags, uint8(255))
			f.Add([]byte(seed), flags, uint8(7))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, flags uint16, piece uint8) {
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
			BinaryMIME: flags&8 != 0, Normalise: flags&16 != 0, RequireTLS: flags&32 != 0, Limits: Limits{MessageBytes: 1 << 12, ErrorDelay: 1},
			DeliverBy: flags&64 != 0, Priority: flags&64 != 0, NoSoliciting: []string{"a"}, RRVS: flags&64 != 0, FutureRelease: time.Duration(flags&64) * time.Hour,
			ETRN: flags&128 != 0, BURL: flags&128 != 0, XClient: listed(flags&256 != 0), XForward: listed(flags&256 != 0), LMTP: flags&512 != 0, Proxies: listed(flags&1024 != 0)})
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
			asked := bytes.Contains(in, []byte("odd")) || bytes.Contains(in, []byte("yes")) || bytes.Contains(in, []byte("ok251"))
			if strings.HasPrefix(line, "421 4.3.0 Local") && !asked {
				t.Fatalf("a panic: %q", out)
			}
		}
		said := 0
		for i := range b.posts {
			if said++; s.opts.LMTP {
				said += b.posts[i].said - 1
			}
		}
		if accepted != said {
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
	f.Fuzz(func(t *testing.T, s string) {
		var o MailOptions
		if parseMailParams(s, everything(), &o) == nil {
			if o.Size < 0 || o.Size > 1<<30 || len(o.EnvID) > 100 || !isPrintable(o.EnvID) {
				t.Fatalf("%q gave %+v", s, o)
			}
			if again, ok := decodeXtext(xtext(o.EnvID)); o.EnvID != "" && (!ok || again != o.EnvID) {
				t.Fatalf("%q does not survive xtext", o.EnvID)
			}
		}
		if o := termsOf(s); o != nil {
			again := termsOf(appendTerms(o))
			if again == nil || !reflect.DeepEqual(again.Terms, o.Terms) || !slices.Equal(again.Solicit, o.Solicit) {
				t.Fatalf("%q gave %+v, written %q and read %+v", s, o, appendTerms(o), again)
			}
			if !o.HoldUntil.IsZero() && (o.HoldUntil.Before(noon) || o.HoldUntil.After(noon.Add(24*time.Hour)) || !o.DeliverBy.IsZero() && o.HoldUntil.After(o.DeliverBy)) ||
				o.DeliverByReturn && o.DeliverBy.Before(noon.Add(10*time.Minute)) || o.Priority < -9 || o.Priority > 9 {
				t.Fatalf("%q gave %+v", s, o)
			}
		}
		var r postino.Recipient
		if parseRcptParams(s, everything(), &r) == nil {
			if r.Notify&postino.DSNNever != 0 && r.Notify != postino.DSNNever || strings.ContainsAny(r.ORcpt, "\r\n\x00") || len(r.ORcpt) > 500 {
				t.Fatalf("%q gave %+v", s, r)
			}
		}
	})
}

// termsOf reads parameters of MAIL; nil when they are refused.
func termsOf(s string) *MailOptions {
	var o MailOptions
	if parseMailParams(s, everything(), &o) != nil {
		return nil
	}
	return &o
}

// appendTerms writes terms as parameters of MAIL.
func appendTerms(o *MailOptions) string {
	s := ""
	if o.RequireTLS {
		s += " REQUIRETLS"
	}
	if !o.HoldUntil.IsZero() {
		s += " HOLDUNTIL=" + o.HoldUntil.Format(time.RFC3339Nano)
	}
	if !o.DeliverBy.IsZero() {
		mode := map[bool]string{false: "N", true: "R"}[o.DeliverByReturn] + map[bool]string{true: "T"}[o.DeliverByTrace]
		s += fmt.Sprintf(" BY=%d;%s", o.DeliverBy.Sub(noon)/time.Second, mode)
	}
	if o.Priority != 0 {
		s += fmt.Sprintf(" MT-PRIORITY=%d", o.Priority)
	}
	if o.Solicit != nil {
		s += " SOLICIT=" + strings.Join(o.Solicit, ",")
	}
	return s
}

// listed is a list of peers that has all or none.
func listed(yes bool) func(netip.Addr) bool { return func(netip.Addr) bool { return yes } }

// FuzzProxy shows that a header is read the same whatever follows it, that no
// part of one is taken for the whole, and that what was read, written as version
// 2, is read again.
func FuzzProxy(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\nEHLO x\r\n", "PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "PROXY UNKNOWN a b\r\n", "PROXY ", "\r\n\r\n",
		proxy2(0x21, 0x11, tcp4), proxy2(0x20, 0, "x"), proxy2(0x21, 0x21, strings.Repeat(tcp4, 3)), proxy2(0x21, 0x31, strings.Repeat("x", 216)), proxy2(0x21, 0, "")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, n, err := parseProxy(in)
		if err != nil || n == 0 {
			if n != 0 && err == nil || p.src.IsValid() && err == nil {
				t.Fatalf("%q: %+v, %d, %v", in, p, n, err)
			}
			return
		}
		if n > len(in) || n > maxProxyHeader || p.src.IsValid() != p.dst.IsValid() || p.local && p.src.IsValid() || p.src.Addr().Zone() != "" {
			t.Fatalf("%q: %+v, %d", in, p, n)
		}
		for _, part := range [][]byte{in[:n-1], in[:n/2]} {
			if _, k, err := parseProxy(part); k != 0 || err != nil {
				t.Fatalf("%q: %d, %v", part, k, err)
			}
		}
		if again, k, err := parseProxy(append(bytes.Clone(in[:n]), "more"...)); again != p || k != n || err != nil {
			t.Fatalf("%q: %+v, %+v, %d, %v", in, p, again, k, err)
		}
		if !p.src.IsValid() || p.src.Addr().Is4() != p.dst.Addr().Is4() {
			return
		}
		body, family := slices.Concat(p.src.Addr().AsSlice(), p.dst.Addr().AsSlice()), byte(0x11)
		if p.src.Addr().Is6() {
			family = 0x21
		}
		body = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(body, p.src.Port()), p.dst.Port())
		if again, _, err := parseProxy([]byte(proxy2(0x21, family, string(body)))); again != p || err != nil {
			t.Fatalf("%q: %+v, %+v, %v", in, p, again, err)
		}
	})
}

// FuzzOrigin shows that what a peer tells is clean, and reads the same when
// written again.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"NAME=a.example ADDR=IPV6:2001:db8::1 PORT=25 PROTO=ESMTP HELO=x LOGIN=tim+40b DESTADDR=192.0.2.1 DESTPORT=1", "NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]",
		"IDENT=x SOURCE=LOCAL", "ADDR=IPV6:::ffff:192.0.2.1", "NAME=a+0A", "NAME=", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, names := range []string{xclientNames, xforwardNames} {
			var o, again Origin
			if !parseOrigin(s, names, &o) {
				continue
			}
			for _, text := range []string{o.Name, o.Hello, o.Login, o.Ident} {
				if !isPrintable(text) || strings.Contains(text, " ") || len(text) > 255 {
					t.Fatalf("%q gave %+v", s, o)
				}
			}
			if !parseOrigin(writeOrigin(&o), xclientNames+" "+xforwardNames, &again) || again != o {
				t.Fatalf("%q gave %+v, written %q and read %+v", s, o, writeOrigin(&o), again)
			}
		}
	})
}

// writeOrigin writes all attributes of o.
func writeOrigin(o *Origin) string {
	text := func(s string) string {
		if s == "" {
			return "[UNAVAILABLE]"
		}
		return xtext(s)
	}
	ip := func(a netip.Addr) string {
		switch {
		case !a.IsValid():
			return "[UNAVAILABLE]"
		case a.Is6():
			return "IPV6:" + a.String()
		}
		return a.String()
	}
	name := text(o.Name)
	if o.NameLater {
		name = "[TEMPUNAVAIL]"
	}
	return fmt.Sprintf("NAME=%s ADDR=%s PORT=%d PROTO=%s HELO=%s LOGIN=%s DESTADDR=%s DESTPORT=%d IDENT=%s SOURCE=%s", name, ip(o.Addr), o.Port,
		map[bool]string{false: "SMTP", true: "ESMTP"}[o.ESMTP], text(o.Hello), text(o.Login), ip(o.Dest.Addr()), o.Dest.Port(), text(o.Ident), map[bool]string{false: "REMOTE", true: "LOCAL"}[o.Local])
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
		{" ORCPT=rfc822;pel+C3+A9@example.org", "", "utf-8;pelé@example.org"}, {" ORCPT=rfc822;pel+C3@example.org", "501", ""},
		{" ORCPT=rfc822;pel+C2+85", "501", ""}, {" ORCPT=unknown;pel+C3+A9", "501", ""},
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
