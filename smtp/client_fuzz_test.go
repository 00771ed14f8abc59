package smtp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// FuzzClient gives a client any octets as the words of its server: it ends,
// keeps its limits, tells one class of outcome per recipient, and success only
// if all of the content went out and a 2yz came for it.
func FuzzClient(f *testing.F) {
	const chunking = "220 a\r\n250-b\r\n250 CHUNKING\r\n250 m\r\n250 r\r\n250 r\r\n"
	pipelining := strings.Replace(chunking, "250 CH", "250-PIPELINING\r\n250 CH", 1)
	for _, s := range []string{
		"220 a\r\n250-b\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 100\r\n250 a\r\n250 b\r\n550 c\r\n250 d\r\n",
		"220 a\r\n500 b\r\n250 c\r\n250 d\r\n250 e\r\n250 f\r\n354 g\r\n250 2.0.0 h\r\n",
		"220 a\r\n250-b\r\n250 PIPELINING\r\n250 a\r\n550 b\r\n550 c\r\n354 d\r\n554 e\r\n250 f\r\n",
		"220 a\r\n250-b\r\n250 AUTH LOGIN\r\n334 eA==\r\n334 eA==\r\n235 c\r\n421 4.3.2 x\r\n",
		"554 a\r\n", "220-\r\n", "220 a\r\n250-LIMITS RCPTMAX=1\r\n250 LIMITS RCPTDOMAINMAX=1\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(255))
	}
	for _, s := range []string{chunking, pipelining} {
		for _, end := range []string{
			"250 1\r\n250 2\r\n250 3\r\n250 last\r\n250 last\r\n250 m\r\n", "250 1\r\n250 2\r\n250 3\r\n451 last\r\n250 reset\r\n",
			"250-1\r\n250 1\r\n452 2\r\n503 3\r\n503 last\r\n250 reset\r\n250 m\r\n", "250 1\r\n421 2\r\n", "250 1\r\n250 2\r\n354 3\r\n", "250 1\r\n250 2\r\n250 3\r\n",
			"250 1\r\n550 2\r\n250 3\r\n250 last\r\n", "250 1\r\n250-2\r\n550 2\r\n250 last\r\n",
		} {
			f.Add([]byte(s+end), uint8(8))
			f.Add([]byte(s+end), uint8(9))
		}
	}
	long := strings.Repeat("0123456789\r\n", 100<<10/12)
	f.Fuzz(func(t *testing.T, in []byte, flags uint8) {
		cc, sc := pipe()
		go io.Copy(io.Discard, sc)
		go func() {
			sc.Write(in)
			sc.(*memConn).CloseWrite()
		}()
		defer sc.Close()
		tap := &tapConn{Conn: cc}
		lmtp := flags&1 != 0
		c, err := NewClient(context.Background(), tap, ClientOptions{Name: "x.example", LMTP: lmtp, OneFlight: flags&2 != 0, AuthInsecure: true, Limits: ClientLimits{Reply: 2000}})
		if err != nil {
			checkClientError(t, err)
			return
		}
		defer c.Close()
		if flags&2 != 0 {
			checkClientError(t, c.Auth(context.Background(), sasl.LoginClient("tim", "tim")))
		}
		for range 3 {
			m := letter("x\r\n.y\n", "a", "b")
			if flags&8 != 0 {
				m = letter(long, "a", "b")
			}
			if flags&4 != 0 {
				m.Size = 0
			}
			from := tap.in - c.buffered()
			tap.out.Reset()
			res, err := c.Send(context.Background(), m)
			checkClientError(t, err)
			if res == nil {
				continue
			}
			success := false
			for i := range res.Rcpts {
				r := res.Final(i)
				if r.Code == 0 && err == nil || r.Code/100 == 3 || len(r.Text) > 2000 || strings.ContainsAny(r.Text, "\r\x00\x1b") {
					t.Fatalf("%d: %+v with %v", i, r, err)
				}
				success = success || r.Success()
			}
			_, chunks := c.Has("CHUNKING")
			checkTaken(t, tap.out.String(), string(in[from:]), chunks, success, res.Unknown)
		}
		checkClientError(t, c.Quit(context.Background()))
		if c.big != nil || c.Usable() {
			t.Fatal("something is left")
		}
	})
}

// tapConn notes what a client wrote and how much it read.
type tapConn struct {
	net.Conn
	out bytes.Buffer
	in  int
}

func (c *tapConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Write(p[:n])
	return n, err
}

func (c *tapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in += n
	return n, err
}

// checkTaken compares an outcome with what was written in a transaction, out, and
// the replies from its begin on, in.
func checkTaken(t *testing.T, out, in string, chunks, success, unknown bool) {
	t.Helper()
	ended := !chunks && strings.HasSuffix(out, "\r\n.\r\n")
	envelope, middle := 0, 0
	for rest := out; chunks && rest != "" && !ended; {
		line, text, _ := strings.Cut(rest, "\r\n")
		if rest = text; !strings.HasPrefix(line, "BDAT ") {
			envelope++
			continue
		}
		n, last := 0, strings.HasSuffix(line, " LAST")
		if fmt.Sscanf(line, "BDAT %d", &n); n > len(text) {
			break
		}
		if rest = text[n:]; !last {
			middle++
		}
		ended = last
	}
	if (success || unknown) && !ended {
		t.Fatalf("success %v, unknown %v, but the content is not complete", success, unknown)
	}
	if !success {
		return
	}
	var codes []byte // the first digits of replies
	for line := range strings.SplitSeq(in, "\r\n") {
		if len(line) == 3 || len(line) > 3 && line[3] == ' ' {
			codes = append(codes, line[0])
		}
	}
	if !chunks {
		envelope = 0
	}
	if len(codes) <= envelope+middle || bytes.Count(codes[envelope:envelope+middle], []byte("2")) != middle || !bytes.Contains(codes[envelope+middle:], []byte("2")) {
		t.Fatalf("success after %d commands and %d chunks by %q", envelope, middle, codes)
	}
}

func checkClientError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if e := clientError(t, err); strings.ContainsAny(e.Error(), "\r\n\x00\x1b") || e.Permanent() && e.Reply == nil {
		t.Fatalf("%q", e.Error())
	}
}

// FuzzClientCommands is SC2: whatever an envelope holds, MAIL and RCPT are one
// line each, without control octets, and our server reads the same values.
func FuzzClientCommands(f *testing.F) {
	f.Add("from", "example.org", "a", "example.net", "rfc822;a@b", "env id", "sub", uint32(0xffffffff), int64(1))
	f.Add("a\r\nRSET", "example.org\r\n", "b> NOTIFY=NEVER", "[::1]", "utf-8;\u00e4 +=\\@b", "x\ny", "\u00e4", uint32(0), int64(0))
	f.Add("\"", "", "postmaster", "", "x;\x00", "", "", uint32(7), int64(-1))
	f.Fuzz(func(t *testing.T, fl, fd, tl, td, orcpt, envid, sub string, bits uint32, size int64) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		on := func(i int) bool { return bits&(1<<i) != 0 }
		c := &Client{authed: on(0), offers: offers{pipelining: true, chunking: true, binary: on(1), eightBit: true, utf8: on(2), size: on(3), dsn: on(4), auth: on(5),
			requireTLS: on(6), deliverBy: on(7), priority: on(8), futureRelease: on(9), rrvs: on(10)}}
		env := &postino.Envelope{From: postino.Address{Local: fl, Domain: fd}, SMTPUTF8: on(11), Body: postino.Body(bits >> 12 & 3), EnvID: envid, Ret: postino.DSNReturn(bits >> 14 & 3)}
		env.RequireTLS, env.DeliverByReturn, env.DeliverByTrace = on(16), on(17), on(18)
		env.Priority = int8(bits>>19&31) - 16
		if on(24) {
			env.DeliverBy = now.Add(time.Duration(size%100000) * time.Second)
		}
		if on(25) {
			env.HoldUntil = now.Add(time.Duration(size%1000) * time.Second)
		}
		rcpt := postino.Recipient{Address: postino.Address{Local: tl, Domain: td}, Notify: postino.DSNNotify(bits >> 26 & 15), ORcpt: orcpt}
		if on(30) {
			rcpt.ValidSince, rcpt.ValidSinceContinue = now, on(29)
		}
		env.Rcpts = []postino.Recipient{rcpt}
		m := &Mail{Envelope: env, Size: size & (1<<40 - 1), Auth: &postino.Address{Local: sub, Domain: "example.com"}, Has8Bit: on(31)}
		s := &sending{c: c, m: m, res: &Result{Rcpts: make([]Reply, 1)}, now: now}
		if err := s.check(); err != nil || s.n == 0 {
			return
		}
		ext := &extensions{dsn: true, binary: true, auth: true, requireTLS: true, rrvs: true, deliverBy: true, priority: true, raise: true,
			holdFor: time.Hour, holdUntil: now.Add(time.Hour), size: 1 << 40, now: now}

		line := oneLine(t, s.appendMail(nil), "MAIL FROM:")
		from, rest, err := postino.ParsePath(line, s.utf8)
		if canonical(env.From) && (err != nil || from != env.From) {
			t.Fatalf("%q gave %+v, %v", line, from, err)
		}
		if err == nil && (env.DeliverBy.IsZero() || !env.HoldUntil.After(env.DeliverBy)) {
			var o MailOptions
			if r := parseMailParams(rest, ext, &o); r != nil {
				t.Fatalf("%q: %v", line, r)
			}
			if c.offers.size && o.Size != m.Size || o.SMTPUTF8 != s.utf8 || o.EnvID != "" && o.EnvID != env.EnvID || o.RequireTLS != (env.RequireTLS && c.offers.requireTLS) ||
				c.offers.deliverBy && !o.DeliverBy.Equal(env.DeliverBy) || o.Priority != 0 && o.Priority != env.Priority || o.HoldUntil.After(now) && !o.HoldUntil.Equal(env.HoldUntil) {
				t.Fatalf("%q gave %+v", line, o)
			}
		}
		line = oneLine(t, s.appendRcpt(nil, &rcpt), "RCPT TO:")
		to, rest, err := postino.ParsePath(line, s.utf8)
		if canonical(rcpt.Address) && (err != nil || to != rcpt.Address) {
			t.Fatalf("%q gave %+v, %v", line, to, err)
		}
		if err != nil {
			return
		}
		var got postino.Recipient
		if r := parseRcptParams(rest, ext, &got); r != nil {
			t.Fatalf("%q: %v", line, r)
		}
		if got.ORcpt != "" && got.ORcpt != orcpt || c.offers.rrvs && (!got.ValidSince.Equal(rcpt.ValidSince) || strings.HasSuffix(line, ";C") != rcpt.ValidSinceContinue) {
			t.Fatalf("%q gave %+v", line, got)
		}
	})
}

// canonical tells whether a is what the parser makes of it.
func canonical(a postino.Address) bool {
	if a.IsNull() || a == (postino.Address{Local: "postmaster"}) {
		return true
	}
	d, err := postino.CanonicalDomain(a.Domain)
	return err == nil && d == a.Domain && norm.NFC.String(a.Local) == a.Local
}

// oneLine checks a command and gives its arguments.
func oneLine(t *testing.T, b []byte, prefix string) string {
	t.Helper()
	line, ok := strings.CutSuffix(string(b), "\r\n")
	args, ok2 := strings.CutPrefix(line, prefix)
	if !ok || !ok2 || strings.ContainsFunc(args, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(b) > 4096 {
		t.Fatalf("%q", b)
	}
	return args
}

// FuzzClientBody compares the one pass with what it means: whatever the pieces,
// lines end in CRLF, and the server's scanner gives the mended text back.
func FuzzClientBody(f *testing.F) {
	for _, s := range []string{"", ".", "\r", "\n", "a\r\n.b\n.\r.\r\n", "\r\r\n\n", "..\r\n"} {
		f.Add([]byte(s), uint8(1), uint8(4))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece, room uint8) {
		want := strings.ReplaceAll(strings.ReplaceAll(string(in), "\r\n", "\n"), "\r", "\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		want = strings.ReplaceAll(want, "\n", "\r\n")
		var out []byte
		b := body{buf: make([]byte, 0, int(room)+1), stuff: true, bol: true}
		b.flush = func(p []byte) error { out = append(out, p...); return nil }
		for rest := in; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			b.Write(rest[:n])
			rest = rest[n:]
		}
		if err := b.finish(); err != nil || b.in != int64(len(in)) {
			t.Fatal(err)
		}
		b.put(dotCRLF)
		out = append(out, b.buf...)
		bare := strings.ReplaceAll(string(in), "\r\n", "")
		if b.mend != strings.ContainsAny(bare, "\r\n") {
			t.Fatalf("mend is %v for %q", b.mend, in)
		}
		d := dots{start: true}
		var got []byte
		for rest := out; ; {
			w, n, end := d.scan(rest)
			got = append(got, rest[:w]...)
			if rest = rest[n:]; end {
				if len(rest) != 0 {
					t.Fatalf("%q ends early in %q", in, out)
				}
				break
			}
			if n == 0 {
				t.Fatalf("%q does not end", out)
			}
		}
		if string(got) != want {
			t.Fatalf("%q gave %q, want %q", in, got, want)
		}
	})
}
