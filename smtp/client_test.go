package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// TestClientEveryReplyAtEveryStage shows the outcome of each recipient and
// whether the connection lives, for each class of reply at each stage.
func TestClientEveryReplyAtEveryStage(t *testing.T) {
	replies := map[string]string{
		"2xx": "250 2.1.0 fine\r\n", "3xx": "354 go\r\n", "4xx": "451 4.3.0 later\r\n", "5xx": "550 5.1.1 no\r\n",
		"421": "421 4.3.2 bye\r\n", "garbage": "hello there\r\n", "codes": "250-a\r\n550 b\r\n", "cut": "cut", "hang": "hang",
	}
	for _, p := range profiles {
		for _, stage := range []string{"MAIL", "RCPT b", "DATA", "."} {
			for class, reply := range replies {
				chunked := strings.Contains(p.caps, "CHUNKING")
				if chunked && stage == "DATA" || class == "hang" && stage == "DATA" {
					continue
				}
				inBubble(t, p.name+"/"+stage+"/"+class, func(t *testing.T) {
					key := stage
					if chunked && !p.lmtp && stage == "." {
						key = "BDAT"
					}
					s := &stub{caps: p.caps, lmtp: p.lmtp, say: map[string]string{key: reply}}
					c, done := s.connect(t, ClientOptions{LMTP: p.lmtp, OneFlight: p.one})
					defer done()
					res, err := c.Send(context.Background(), letter("Subject: x\r\n\r\ny\r\n", "a", "b"))
					checkStage(t, p.name, stage, class, res, err)
					if (err == nil) != c.Usable() {
						t.Fatalf("usable %v after %v", c.Usable(), err)
					}
					if err != nil {
						return
					}
					s.mu.Lock()
					s.say = map[string]string{}
					s.mu.Unlock()
					if res, err = c.Send(context.Background(), letter("again\r\n", "c")); err != nil || !res.Final(0).Success() {
						t.Fatalf("second message: %+v %v after %s", res, err, s.commands())
					}
				})
			}
		}
	}
}

func checkStage(t *testing.T, profile, stage, class string, res *Result, err error) {
	t.Helper()
	if res == nil {
		t.Fatalf("no result: %v", err)
	}
	a, b := res.Final(0).Code, res.Final(1).Code
	good := class == "2xx" && stage != "DATA" || class == "3xx" && stage == "DATA"
	code := map[string]int{"4xx": 451, "5xx": 550, "421": 421}[class]
	switch {
	case good:
		if a != 250 || b != 250 || err != nil {
			t.Fatalf("want success: %d %d %v", a, b, err)
		}
	case profile == "lmtp" && stage == "." && class == "421": // what becomes of the second is not said
		if a != 421 || b != 0 || err == nil || !res.Unknown {
			t.Fatalf("want 421 for one: %d %d %v %+v", a, b, err, res)
		}
	case code != 0:
		wantA := code
		if stage == "RCPT b" {
			if wantA = 250; class == "421" {
				wantA = 0
			}
		}
		if a != wantA || b != code || (err != nil) != (code == 421) || res.Unknown && profile != "one flight" {
			t.Fatalf("want %d and %d: %d %d %v %+v", wantA, code, a, b, err, res)
		}
	default:
		if e := clientError(t, err); a != 0 || b != 0 || e.Permanent() || e.Stage == StageCheck {
			t.Fatalf("want undecided: %d %d %v", a, b, err)
		}
		if e := clientError(t, err); class == "garbage" && !errors.Is(e, ErrMalformed) {
			t.Fatal(e)
		}
		if sent := stage == "." || profile == "one flight"; res.Unknown != sent {
			t.Fatalf("unknown is %v at %s", res.Unknown, stage)
		}
	}
}

// TestClientGreeting shows what refuses a connection.
func TestClientGreeting(t *testing.T) {
	for _, c := range []struct {
		key, reply string
		stage      Stage
		code       int
		permanent  bool
	}{
		{"greeting", "554 5.7.1 no service\r\n", StageGreeting, 554, true},
		{"greeting", "521 not a mail host\r\n", StageGreeting, 521, true},
		{"greeting", "421 4.3.2 busy\r\n", StageGreeting, 421, false},
		{"greeting", "450 4.7.1 wait\r\n", StageGreeting, 450, false},
		{"greeting", "cut", StageGreeting, 0, false},
		{"greeting", "SSH-2.0-x\r\n", StageGreeting, 0, false},
		{"greeting", "354 what\r\n", StageGreeting, 354, false},
		{"EHLO", "421 4.3.2 bye\r\n", StageHello, 421, false},
		{"EHLO", "451 4.7.1 later\r\n", StageHello, 451, false},
		{"EHLO", "cut", StageHello, 0, false},
	} {
		inBubble(t, c.key+" "+c.reply, func(t *testing.T) {
			s := &stub{caps: "PIPELINING", say: map[string]string{c.key: c.reply}}
			cc, sc := pipe()
			go s.serve(sc)
			_, err := NewClient(context.Background(), cc, ClientOptions{Name: "x.example"})
			e := clientError(t, err)
			if e.Stage != c.stage || e.Permanent() != c.permanent || (c.code == 0) != (e.Reply == nil) || e.Reply != nil && e.Reply.Code != c.code {
				t.Fatalf("%+v", e)
			}
		})
	}
	s := &stub{say: map[string]string{"greeting": "220-a\r\n220-\tb\x1b\xff\r\n220 c\r\n", "EHLO": "502 5.5.1 what?\r\n", "HELO": "250 hi\r\n"}}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	if g := c.Greeting(); g.Text != "a\n b??\nc" || c.Esmtp() || c.Hello().Text != "hi" {
		t.Fatalf("%q %v", g.Text, c.Hello())
	}
	if _, err := c.Send(context.Background(), letter("x\r\n", "a")); err != nil || s.commands() != "EHLO HELO MAIL RCPT DATA" || strings.Contains(s.heard[2], "SIZE") {
		t.Fatal(err, s.heard)
	}
}

// TestClientCapabilities shows how EHLO is read, RFC 9422 included.
func TestClientCapabilities(t *testing.T) {
	s := &stub{caps: "size 1000,Pipelining,AUTH PLAIN,AUTH=LOGIN,LIMITS RCPTMAX=20 MAILMAX=0 RCPTDOMAINMAX=+3 X=1"}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	if a, ok := c.Has("auth"); a != "PLAIN LOGIN" || !ok {
		t.Fatal(a, ok)
	}
	if _, ok := c.Has("DSN"); ok || c.offers.rcptMax != 20 || c.offers.mailMax != 0 || c.offers.domainMax != 0 || c.offers.maxSize != 1000 || !c.offers.pipelining {
		t.Fatalf("%+v", c.offers)
	}
}

// TestClientNobodyAccepted is RFC 2920 §3.1: a 354 without recipients is
// answered by a single dot, and the next transaction begins with RSET.
func TestClientNobodyAccepted(t *testing.T) {
	s := &stub{caps: "PIPELINING", say: map[string]string{"RCPT": "550 5.1.1 no\r\n", ".": "554 5.5.1 no recipients\r\n"}}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	res, err := c.Send(context.Background(), letter("secret\r\n", "a", "b"))
	if err != nil || res.Final(0).Code != 550 || res.Final(1).Code != 550 || s.texts[0] != ".\r\n" {
		t.Fatal(res, err, s.texts)
	}
	s.say = nil
	if res, err = c.Send(context.Background(), letter("x\r\n", "c")); err != nil || res.Final(0).Code != 250 || s.commands() != "EHLO MAIL RCPT RCPT DATA RSET MAIL RCPT DATA" {
		t.Fatal(res, err, s.commands())
	}
}

// TestClientResetRefused: no mail comes back because a server does not know RSET.
func TestClientResetRefused(t *testing.T) {
	for _, caps := range []string{"PIPELINING", "8BITMIME"} {
		s := &stub{caps: caps, say: map[string]string{"MAIL": "450 4.7.1 wait\r\n", "RSET": "502 5.5.1 what?\r\n"}}
		c, done := s.connect(t, ClientOptions{})
		defer done()
		if res, err := c.Send(context.Background(), letter("x\r\n", "a")); err != nil || res.Final(0).Code != 450 {
			t.Fatal(res, err)
		}
		res, err := c.Send(context.Background(), letter("x\r\n", "a"))
		if e := clientError(t, err); e.Permanent() || e.Stage != StageReset || res.Final(0).Code != 0 || res.Unknown {
			t.Fatal(res, e)
		}
	}
}

// TestClientContent shows line ends and dots (SC1), whatever the pieces.
func TestClientContent(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"a\r\n":                    "a\r\n",
		"a":                        "a\r\n",
		".\r\n..\r\n.a":            "..\r\n...\r\n..a\r\n",
		"a\nb\rc\r\n":              "a\r\nb\r\nc\r\n",
		"\n.\n\r.\r":               "\r\n..\r\n\r\n..\r\n",
		"a\r\r\n.\r\n":             "a\r\n\r\n..\r\n",
		"\r\n.\r\nMAIL FROM:<x>\r": "\r\n..\r\nMAIL FROM:<x>\r\n",
	} {
		for size := 1; size <= len(in)+1; size++ {
			s := &stub{caps: "PIPELINING"}
			c, done := s.connect(t, ClientOptions{})
			m := letter(in, "a")
			m.Content = func(w io.Writer) error {
				for p := range slices.Chunk([]byte(in), size) {
					if _, err := w.Write(p); err != nil {
						return err
					}
				}
				return nil
			}
			res, err := c.Send(context.Background(), m)
			if err != nil || s.texts[0] != want+".\r\n" {
				t.Fatalf("%q gave %q: %v", in, s.texts, err)
			}
			plain := strings.ReplaceAll(in, "\r\n", "")
			if res.Normalised != strings.ContainsAny(plain, "\r\n") {
				t.Fatalf("%q: normalised %v", in, res.Normalised)
			}
			done()
		}
	}
}

// TestClientManyRecipients sends thousands to a peer without any buffer, which
// would block for ever if replies were not read meanwhile.
func TestClientManyRecipients(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var locals []string
		for i := range 3000 {
			locals = append(locals, fmt.Sprint("user", i))
		}
		s := &stub{caps: "PIPELINING,CHUNKING", say: map[string]string{"RCPT user7": "550 5.1.1 no\r\n"}}
		cc, sc := net.Pipe()
		c, done := s.connectOver(t, ClientOptions{}, cc, sc)
		defer done()
		res, err := c.Send(context.Background(), letter("x\r\n", locals...))
		if err != nil {
			t.Fatal(err)
		}
		for i := range locals {
			if want := 250; res.Final(i).Code != want && i != 7 || i == 7 && res.Final(i).Code != 550 {
				t.Fatal(i, res.Final(i))
			}
		}
		s.say["RCPT user100"] = "421 4.3.2 enough\r\n"
		res, err = c.Send(context.Background(), letter("x\r\n", locals...))
		if e := clientError(t, err); e.Stage != StageRcpt || e.Reply.Code != 421 || res.Final(99).Code != 0 || res.Final(100).Code != 421 || res.Unknown {
			t.Fatal(e, res.Final(100))
		}
	})
}

// TestClientLimits keeps what RFC 9422 announces and tells what may follow at once.
func TestClientLimits(t *testing.T) {
	s := &stub{caps: "PIPELINING,LIMITS RCPTMAX=2 MAILMAX=2", say: map[string]string{"RCPT b": "452 4.5.3 too many\r\n"}}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	res, err := c.Send(context.Background(), letter("x\r\n", "a", "b", "c"))
	if err != nil || !slices.Equal(res.Skipped, []int{2}) || res.Again(0) || !res.Again(1) || !res.Again(2) || res.Final(2).Enhanced != "4.5.3" || !c.Usable() {
		t.Fatalf("%+v %v", res, err)
	}
	s.say = nil
	if _, err := c.Send(context.Background(), letter("x\r\n", "b", "c")); err != nil || c.Usable() || c.Alive() {
		t.Fatal(err, c.Usable())
	}
	if res, err := c.Send(context.Background(), letter("x\r\n", "c")); res != nil || !errors.Is(err, ErrUnusable) {
		t.Fatal(res, err)
	}
	s = &stub{caps: "LIMITS RCPTDOMAINMAX=1"}
	c, done = s.connect(t, ClientOptions{})
	defer done()
	m := letter("x\r\n", "a", "b", "c")
	m.Envelope.Rcpts[1].Address.Domain = "other.example"
	if res, err := c.Send(context.Background(), m); err != nil || !slices.Equal(res.Skipped, []int{1}) || !res.Final(2).Success() || !res.Again(1) {
		t.Fatalf("%+v %v", res, err)
	}
}

// TestClientNotOffered shows what is decided before MAIL.
func TestClientNotOffered(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	for want, change := range map[string]func(m *Mail){
		"5.6.7":  func(m *Mail) { m.HasUTF8Header = true },
		"5.6.7 ": func(m *Mail) { m.Envelope.From.Local = "j\u00f6rg" },
		"5.6.3":  func(m *Mail) { m.Has8Bit = true },
		"5.6.3 ": func(m *Mail) { m.Envelope.Body = postino.BodyBinaryMIME },
		"5.7.30": func(m *Mail) { m.Envelope.RequireTLS = true },
		"5.3.4":  func(m *Mail) { m.Size = 1001 },
		"5.3.3":  func(m *Mail) { m.Envelope.DeliverBy, m.Envelope.DeliverByReturn = hour, true },
		"4.3.3":  func(m *Mail) { m.Envelope.HoldUntil = hour },
		"5.1.7":  func(m *Mail) { m.Envelope.From.Local = "a\r\nRSET" },
	} {
		s := &stub{caps: "PIPELINING,SIZE 1000"}
		c, done := s.connect(t, ClientOptions{})
		m := letter("x\r\n", "a")
		change(m)
		res, err := c.Send(context.Background(), m)
		e := clientError(t, err)
		if res != nil || e.Stage != StageCheck || e.Reply.Enhanced != strings.TrimSpace(want) || e.Permanent() != (want[0] == '5') || s.commands() != "EHLO" || !c.Usable() {
			t.Fatalf("%s: %+v %v", want, res, err)
		}
		m = letter("\xe4\r\n", "a", "\u00f6", "b\x00")
		m.Has8Bit, m.Allow8Bit = true, true
		if res, err = c.Send(context.Background(), m); err != nil || !res.Final(0).Success() || res.Final(1).Enhanced != "5.6.7" || res.Final(2).Enhanced != "5.1.3" {
			t.Fatal(res, err)
		}
		done()
	}
}

// TestClientParameters shows that what is offered and asked is said, and nothing
// else.
func TestClientParameters(t *testing.T) {
	const all = "PIPELINING,SIZE,DSN,8BITMIME,SMTPUTF8,BINARYMIME,DELIVERBY 60,MT-PRIORITY,RRVS,AUTH PLAIN"
	utf8 := func(m *Mail) { m.Envelope.From.Local, m.Envelope.Rcpts[0].ORcpt = "\u00f6", "utf-8;\u00e4+@b" }
	by := func(m *Mail) { m.Envelope.DeliverBy = time.Now().Add(time.Hour + time.Second/2) }
	for _, k := range []struct {
		caps       string
		change     func(m *Mail)
		mail, rcpt string
	}{
		{all, func(*Mail) {}, " SIZE=3", ""},
		{"SIZE,PIPELINING", func(m *Mail) { m.Size = 0 }, "", ""},
		{all, func(m *Mail) { m.Has8Bit = true }, " SIZE=3 BODY=8BITMIME", ""},
		{all, func(m *Mail) { m.Envelope.Body, m.Envelope.SMTPUTF8 = postino.Body7Bit, true }, " SIZE=3 BODY=7BIT", ""},
		{all, func(m *Mail) { m.Has8Bit, m.Envelope.SMTPUTF8 = true, true }, " SIZE=3 BODY=8BITMIME SMTPUTF8", ""},
		{all, func(m *Mail) { m.HasUTF8Header = true }, " SIZE=3 BODY=8BITMIME SMTPUTF8", ""},
		{all, func(m *Mail) { m.Envelope.Priority = -3 }, " SIZE=3 MT-PRIORITY=-3", ""},
		{"8BITMIME", func(m *Mail) { m.Envelope.Priority, m.Envelope.EnvID = 3, "x" }, "", ""},
		{all, func(m *Mail) { m.Envelope.EnvID, m.Envelope.Ret = "x=\r\n", postino.DSNReturnFull }, " SIZE=3 RET=FULL", ""},
		{all, func(m *Mail) { m.Auth = new(postino.Address) }, " SIZE=3 AUTH=<>", ""},
		{all, by, " SIZE=3 BY=3600;N", ""},
		{all, func(m *Mail) { by(m); m.Envelope.DeliverByReturn, m.Envelope.DeliverByTrace = true, true }, " SIZE=3 BY=3600;RT", ""},
		{"DSN", by, "", " NOTIFY=FAILURE,DELAY"},
		{"DSN", func(m *Mail) { by(m); m.Envelope.Rcpts[0].Notify = postino.DSNNever }, "", " NOTIFY=NEVER"},
		{"DSN", func(m *Mail) { by(m); m.Envelope.Rcpts[0].Notify = postino.DSNSuccess }, "", " NOTIFY=SUCCESS,DELAY"},
		{"DSN,SMTPUTF8,8BITMIME", utf8, " SMTPUTF8", " ORCPT=utf-8;\u00e4\\x{2B}@b"},
		{"DSN", func(m *Mail) { utf8(m); m.Envelope.From.Local = "from" }, "", " ORCPT=utf-8;\\x{E4}\\x{2B}@b"},
		{"DSN", func(m *Mail) { m.Envelope.Rcpts[0].ORcpt = "rfc822;a=\u00e4" }, "", ""},
		{all, func(m *Mail) { m.Envelope.Rcpts[0].ValidSince = time.Unix(0, 5) }, " SIZE=3", " RRVS=1970-01-01T00:00:00Z"},
		{"DSN", func(m *Mail) {
			m.Envelope.Rcpts[0].ValidSince, m.Envelope.Rcpts[0].ValidSinceContinue = time.Unix(0, 5), true
		}, "", ""},
		{"DSN", func(m *Mail) { m.Envelope.From, m.Envelope.RequireTLS = postino.Address{}, true }, "", ""},
	} {
		s := &stub{caps: k.caps}
		c, done := s.connect(t, ClientOptions{})
		m := letter("x\r\n", "a")
		k.change(m)
		res, err := c.Send(context.Background(), m)
		mail := "MAIL FROM:<" + m.Envelope.From.String() + ">" + k.mail
		if err != nil || !res.Final(0).Success() || s.heard[1] != mail || s.heard[2] != "RCPT TO:<a@example.net>"+k.rcpt {
			t.Errorf("%s: %+v %v\n got %q\nwant %q %q", k.caps, res, err, s.heard, mail, k.rcpt)
		}
		done()
	}
	// Without RRVS a recipient who wants it is not offered (RFC 7293 §5.1.1).
	s := &stub{caps: "DSN"}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	m := letter("x\r\n", "a")
	m.Envelope.Rcpts[0].ValidSince = time.Unix(0, 0)
	if res, err := c.Send(context.Background(), m); err != nil || res.Final(0).Enhanced != "5.7.19" || s.commands() != "EHLO" {
		t.Error(res, err)
	}
}

// TestClientDamagedContent never ends a message that is not what it should be.
func TestClientDamagedContent(t *testing.T) {
	for _, p := range profiles {
		for name, f := range map[string]func(w io.Writer) error{
			"short": text("Subject: x\r\n"), "long": text(strings.Repeat("0123456789\r\n", 300)),
			"error": func(w io.Writer) error { io.WriteString(w, "Subject"); return errors.New("disk") },
		} {
			s := &stub{caps: p.caps, lmtp: p.lmtp}
			c, done := s.connect(t, ClientOptions{LMTP: p.lmtp})
			m := letter(strings.Repeat("0123456789\r\n", 100), "a")
			m.Content = f
			res, err := c.Send(context.Background(), m)
			e := clientError(t, err)
			if !errors.Is(e, ErrContent) || c.Usable() != (e.Stage == StageCheck) || res != nil && res.Final(0).Code != 0 {
				t.Fatalf("%s %s: %+v %v", p.name, name, res, err)
			}
			done()
			if len(s.texts) > 0 {
				t.Fatalf("%s %s: %q was sent", p.name, name, s.texts)
			}
		}
	}
}

// TestClientLMTP gives every recipient its own reply (RFC 2033 §4.2).
func TestClientLMTP(t *testing.T) {
	s := &stub{caps: "PIPELINING,CHUNKING", lmtp: true, say: map[string]string{"RCPT b": "550 5.1.1 no\r\n", ".": "250 2.1.5 ok\r\n|452 4.2.2 full\r\n|cut"}}
	c, done := s.connect(t, ClientOptions{LMTP: true})
	defer done()
	res, err := c.Send(context.Background(), letter("x\r\n", "a", "b", "c"))
	if err != nil || res.Final(0).Code != 250 || res.Final(1).Code != 550 || res.Final(2).Enhanced != "4.2.2" || s.heard[0] != "LHLO client.example.org" {
		t.Fatalf("%+v %v", res, err)
	}
	s.say["."] = "250 2.1.5 ok\r\n|cut"
	res, err = c.Send(context.Background(), letter("x\r\n", "a", "c"))
	if err == nil || res.Final(0).Code != 250 || res.Final(1).Code != 0 || !res.Unknown {
		t.Fatalf("%+v %v", res, err)
	}
}

// TestClientTimeouts shows each wait of SC3, and that a context cuts them all.
func TestClientTimeouts(t *testing.T) {
	for _, c := range []struct {
		key  string
		wait time.Duration
		do   func(c *Client, ctx context.Context) error
	}{
		{"greeting", 300 * time.Second, nil},
		{"EHLO", 300 * time.Second, nil},
		{"STARTTLS", 120 * time.Second, func(c *Client, ctx context.Context) error { return c.StartTLS(ctx, clientTLS()) }},
		{"AUTH", 300 * time.Second, func(c *Client, ctx context.Context) error {
			return c.Auth(ctx, sasl.PlainClient("", "tim", "secret"))
		}},
		{"MAIL", 300 * time.Second, send},
		{"RCPT", 300 * time.Second, send},
		{"DATA", 120 * time.Second, send},
		{".", 600 * time.Second, send},
		{"RSET", 30 * time.Second, (*Client).Reset},
		{"QUIT", 10 * time.Second, (*Client).Quit},
	} {
		for _, mode := range []string{"timeout", "deadline", "cancel"} {
			inBubble(t, c.key+" "+mode, func(t *testing.T) {
				s := &stub{caps: "AUTH PLAIN,STARTTLS", say: map[string]string{c.key: "hang"}}
				cc, sc := pipe()
				go s.serve(sc)
				ctx, cancel := context.WithCancel(context.Background())
				want := c.wait
				switch mode {
				case "deadline":
					want = 5 * time.Second
					ctx, cancel = context.WithTimeout(context.Background(), want)
				case "cancel":
					want = 5 * time.Second
					time.AfterFunc(want, cancel)
				}
				defer cancel()
				begin := time.Now()
				cl, err := NewClient(ctx, cc, ClientOptions{Name: "x.example", AuthInsecure: true})
				if c.do != nil {
					if err != nil {
						t.Fatal(err)
					}
					err = c.do(cl, ctx)
				}
				e := clientError(t, err)
				if took := time.Since(begin); took != want || e.Permanent() || cl != nil && cl.Usable() {
					t.Fatalf("%v, want %v: %v", took, want, e)
				}
				if mode == "deadline" && !errors.Is(e, context.DeadlineExceeded) || mode == "cancel" && !errors.Is(e, context.Canceled) {
					t.Fatal(e)
				}
			})
		}
	}
	inBubble(t, "handshake", func(t *testing.T) { // a peer that says go and then nothing
		s := &stub{caps: "STARTTLS", say: map[string]string{"STARTTLS": "220 go\r\n"}}
		s.after = func(nc net.Conn, verb string) net.Conn {
			if verb == "STARTTLS" {
				io.Copy(io.Discard, nc)
			}
			return nil
		}
		c, done := s.connect(t, ClientOptions{})
		defer done()
		begin := time.Now()
		if e := clientError(t, c.StartTLS(t.Context(), clientTLS())); e.Stage != StageTLS || time.Since(begin) != 120*time.Second || c.Usable() {
			t.Fatal(e, time.Since(begin))
		}
	})
	inBubble(t, "drops", func(t *testing.T) { // a reply that comes in drops has the time of one reply
		cc, sc := pipe()
		defer time.Sleep(2 * time.Minute) // until the server has noticed
		defer sc.Close()
		go func() {
			for _, err := io.WriteString(sc, "220"); err == nil; _, err = io.WriteString(sc, "-") {
				time.Sleep(time.Minute)
			}
		}()
		begin := time.Now()
		if _, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example"}); err == nil || time.Since(begin) != 5*time.Minute {
			t.Fatal(err, time.Since(begin))
		}
	})
	inBubble(t, "block", func(t *testing.T) { // a peer that takes no more after 354
		cc, sc := net.Pipe()
		over := make(chan struct{})
		go func() {
			br := bufio.NewReader(sc)
			for _, reply := range []string{"220 x", "250 x", "250 x", "250 x", "354 x"} {
				io.WriteString(sc, reply+"\r\n")
				br.ReadString('\n')
			}
			<-over
			sc.Close()
		}()
		c, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example"})
		if err != nil {
			t.Fatal(err)
		}
		m := letter("", "a")
		m.Content = func(w io.Writer) error {
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 70)+"\r\n.\r\n"); err != nil {
					return err
				}
			}
		}
		begin := time.Now()
		_, err = c.Send(t.Context(), m)
		if e := clientError(t, err); e.Stage != StageBody || time.Since(begin) != 180*time.Second+lastWords || c.Usable() {
			t.Fatal(err, time.Since(begin))
		}
		close(over)
	})
}

func send(c *Client, ctx context.Context) error {
	_, err := c.Send(ctx, letter("x\r\n", "a"))
	return err
}

// TestClientReplyLimits is SC4.
func TestClientReplyLimits(t *testing.T) {
	for name, reply := range map[string]string{
		"line": "250 " + strings.Repeat("x", 4<<10) + "\r\n", "lines": strings.Repeat("250-x\r\n", 128) + "250 x\r\n",
		"octets": strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 70) + "250 x\r\n", "endless": strings.Repeat("x", 100<<10),
		"codes": "250-a\r\n251 b\r\n", "bare LF": "250 a\n", "code": "25 a\r\n", "sep": "250+a\r\n", "class": "150 a\r\n", "empty": "\r\n",
	} {
		inBubble(t, name, func(t *testing.T) {
			s := &stub{caps: "PIPELINING", say: map[string]string{"MAIL": reply}}
			c, done := s.connect(t, ClientOptions{})
			defer done()
			res, err := c.Send(context.Background(), letter("x\r\n", "a"))
			if e := clientError(t, err); !errors.Is(e, ErrMalformed) || e.Permanent() || res.Final(0).Code != 0 || len(e.Error()) > 500 {
				t.Fatalf("%+v %v", res, err)
			}
		})
	}
	for raw, want := range map[string]Reply{
		"250\r\n": {Code: 250}, "250 \r\n": {Code: 250}, "250 2.1.0\r\n": {250, "2.1.0", ""}, "550 5.1.1 no\r\n": {550, "5.1.1", "no"},
		"550-5.1.1 a\r\n550-5.1.1\r\n550 5.1.1 b\r\n": {550, "5.1.1", "a\n\nb"}, "550 4.1.1 a\r\n": {550, "", "4.1.1 a"},
		"550 5.1.1234 a\r\n": {550, "", "5.1.1234 a"}, "550 5.1 a\r\n": {550, "", "5.1 a"}, "550 5.7.509 a\u202eb\r\n": {550, "5.7.509", "a?b"},
		"250-a\r\n250\r\n": {250, "", "a\n"}, "550 gr\u00fc\u00df\r\n": {550, "", "gr\u00fc\u00df"},
	} {
		s := &stub{caps: "PIPELINING", say: map[string]string{"MAIL": raw}}
		c, done := s.connect(t, ClientOptions{})
		res, err := c.Send(context.Background(), letter("x\r\n", "a"))
		if err != nil || res.Mail != want {
			t.Fatalf("%q gave %+v, %v", raw, res.Mail, err)
		}
		done()
	}
}

// TestClientAlive sees a farewell, on a pipe and on a socket.
func TestClientAlive(t *testing.T) {
	over := func(t *testing.T, cc, sc net.Conn) {
		s := &stub{caps: "PIPELINING"}
		c, done := s.connectOver(t, ClientOptions{}, cc, sc)
		defer done()
		if !c.Alive() {
			t.Fatal("dead")
		}
		if _, err := c.Send(context.Background(), letter("x\r\n", "a")); err != nil || !c.Alive() {
			t.Fatal("dead after a message", err)
		}
		io.WriteString(sc, "421 4.4.2 idle\r\n")
		for c.Alive() { // until it has come
			time.Sleep(time.Millisecond)
		}
	}
	inBubble(t, "pipe", func(t *testing.T) { cc, sc := pipe(); over(t, cc, sc) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	over(t, cc, sc)
}

// TestClientLeavesNothing: an idle client holds no pooled buffer (SS16 for the
// other side) and Close from elsewhere ends a call.
func TestClientLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{caps: "PIPELINING", say: map[string]string{"MAIL": "250-" + strings.Repeat("x", 3000) + "\r\n250 x\r\n|hang"}}
		c, done := s.connect(t, ClientOptions{})
		defer done()
		if _, err := c.Send(context.Background(), letter("x\r\n", "a")); err != nil || c.big != nil || cap(c.text) > nookSize {
			t.Fatal(err, c.big != nil, cap(c.text))
		}
		time.AfterFunc(time.Second, func() { c.Close() })
		if _, err := c.Send(context.Background(), letter("x\r\n", "a")); err == nil || c.Usable() {
			t.Fatal(err)
		}
	})
}
