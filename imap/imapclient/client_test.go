package imapclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve plays a server: for each line that the client sends, the script's next
// answer, in which TAG stands for the tag. It returns what the client sent.
func serve(t *testing.T, greeting string, answers ...string) (*Client, func() []string) {
	t.Helper()
	server, client := net.Pipe()
	got := make(chan []string, 1)
	go func() {
		defer server.Close()
		var lines []string
		defer func() { got <- lines }()
		io.WriteString(server, greeting)
		r := bufio.NewReader(server)
		tag := ""
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines = append(lines, strings.TrimRight(line, "\r\n"))
			if t, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(t, "A") {
				tag = t
			}
			if len(answers) > 0 {
				if answers[0] != "" { // of a pipe a read would see it
					io.WriteString(server, strings.ReplaceAll(answers[0], "TAG", tag))
				}
				answers = answers[1:]
			}
		}
	}()
	c, err := New(t.Context(), client, Limits{Stall: 5 * time.Second})
	if err != nil {
		client.Close()
		<-got
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return c, func() []string { c.Close(); return <-got }
}

func none(string) sasl.Client { return nil }

func TestLogin(t *testing.T) {
	c, sent := serve(t, "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello\r\n",
		"* CAPABILITY IMAP4rev1 LIST-EXTENDED SPECIAL-USE\r\nTAG OK in\r\n", "")
	err := c.Login(t.Context(), "ann", "secret", func(announced string) sasl.Client {
		if announced != "PLAIN" {
			t.Errorf("announced %q", announced)
		}
		return sasl.PlainClient("", "ann", "secret")
	})
	if err != nil || !c.Has("special-use") || c.Has("AUTH=PLAIN") {
		t.Errorf("%v, capabilities %q", err, c.caps)
	}
	if got := sent(); !slices.Equal(got[:1], []string{"A1 AUTHENTICATE PLAIN AGFubgBzZWNyZXQ="}) {
		t.Errorf("sent %q", got)
	}
}

func TestLoginRefused(t *testing.T) {
	c, sent := serve(t, "* OK [CAPABILITY IMAP4rev1] hello\r\n", "TAG NO [AUTHENTICATIONFAILED] nope\x1b[0m\r\n")
	err := c.Login(t.Context(), `an"n`, "secret", none)
	if !postino.Is(err, postino.Denied) || !strings.Contains(err.Error(), "[AUTHENTICATIONFAILED] nope") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("error %v", err) // G6
	}
	if got := sent(); got[0] != `A1 LOGIN "an\"n" "secret"` {
		t.Errorf("sent %q", got)
	}
	c, sent = serve(t, "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello\r\n")
	if err := c.Login(t.Context(), "ann", "secret", none); !postino.Is(err, postino.Denied) {
		t.Errorf("LOGINDISABLED: %v", err)
	}
	if got := sent(); len(got) != 1 {
		t.Errorf("the password was sent: %q", got)
	}
}

func TestMailboxes(t *testing.T) {
	c, sent := serve(t, "* PREAUTH [CAPABILITY IMAP4rev1 SPECIAL-USE LIST-EXTENDED] hello\r\n",
		"* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n* LIST () \".\" \"Entw&APw-rfe\"\r\n* LIST (\\Noselect) NIL {5}\r\na/b c\r\n* 3 EXISTS\r\nTAG OK done\r\n",
		"* LSUB () \"/\" Sent\r\n* LSUB (\\Noselect) \"/\" x\r\nTAG OK done\r\n")
	boxes, subscribed, err := c.Mailboxes(t.Context())
	if err != nil || !c.LoggedIn() || len(boxes) != 3 {
		t.Fatal(boxes, err)
	}
	if !boxes[0].Has(`\sent`) || boxes[1].Name != "Entwürfe" || boxes[1].Raw != "Entw&APw-rfe" || boxes[1].Delimiter != '.' ||
		boxes[2].Name != "a/b c" || boxes[2].Delimiter != 0 {
		t.Errorf("%+v", boxes)
	}
	if len(subscribed) != 1 || !subscribed["Sent"] {
		t.Errorf("subscribed %v", subscribed)
	}
	sent()
}

func TestForeign(t *testing.T) {
	c, sent := serve(t, "* PREAUTH [CAPABILITY IMAP4rev1 NAMESPACE] hello\r\n",
		"* NAMESPACE ((\"\" \"/\")(\"#mh/\" \"/\" \"X-PARAM\" (\"FLAG1\" \"FLAG2\"))) ((\"~&AOQ-/\" \"/\")) NIL\r\nTAG OK done\r\n")
	got, err := c.Foreign(t.Context())
	if err != nil || !slices.Equal(got, []string{"~ä/"}) {
		t.Errorf("%q, %v", got, err)
	}
	sent()
}

// gathered is a Sink in memory.
type gathered struct {
	bytes.Buffer
	got map[uint32]string
	err error
}

func (g *gathered) Open(int64) (io.Writer, error) { g.Reset(); return g, g.err }
func (g *gathered) Done(uid uint32) error         { g.got[uid] = g.String(); return nil }

func TestFetch(t *testing.T) {
	c, sent := serve(t, "* PREAUTH hi\r\n",
		"* FLAGS (\\Seen)\r\n* 2 EXISTS\r\n* OK [UIDVALIDITY 42] x\r\n* OK [UIDNEXT 10] x\r\nTAG OK [READ-ONLY] done\r\n",
		"* 1 FETCH (UID 3 FLAGS (\\Seen $Label1) INTERNALDATE \" 5-Mar-2024 10:00:00 +0100\" RFC822.SIZE 11)\r\n"+
			"* 2 FETCH (FLAGS () UID 9 RFC822.SIZE 0 INTERNALDATE \"nonsense\")\r\nTAG OK done\r\n",
		"* 1 FETCH (UID 3 BODY[] {11}\r\nhello\r\n(\"x\\ FLAGS (\\Seen))\r\n* 2 FETCH (BODY[] \"ab\" UID 9)\r\n* 3 FETCH (UID 10 BODY[] NIL)\r\nTAG OK done\r\n")
	s, err := c.Examine(t.Context(), &Mailbox{Raw: "INBOX"})
	if err != nil || s != (Selected{Messages: 2, UIDValidity: 42, UIDNext: 10}) {
		t.Fatal(s, err)
	}
	var list []Message
	err = c.Envelopes(t.Context(), 1, func(m *Message) error { list = append(list, *m); return nil })
	if err != nil || len(list) != 2 || list[0].UID != 3 || !slices.Equal(list[0].Flags, []string{`\Seen`, "$Label1"}) || list[0].Size != 11 ||
		list[0].Date.Unix() != time.Date(2024, 3, 5, 9, 0, 0, 0, time.UTC).Unix() || list[1].UID != 9 || !list[1].Date.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	g := &gathered{got: map[uint32]string{}}
	if err := c.Bodies(t.Context(), "3,9,10", g); err != nil {
		t.Error(err)
	}
	if want := map[uint32]string{3: "hello\r\n(\"x\\", 9: "ab"}; fmt.Sprint(g.got) != fmt.Sprint(want) {
		t.Errorf("bodies %v", g.got)
	}
	if got := sent(); got[0] != `A1 EXAMINE "INBOX"` || got[2] != "A3 UID FETCH 3,9,10 (UID BODY.PEEK[])" {
		t.Errorf("sent %q", got)
	}
}

func TestLimits(t *testing.T) { // IM2 turned round
	for name, answer := range map[string]string{
		"line":    "* OK " + strings.Repeat("x", 70<<10) + "\r\n",
		"literal": "* LIST () \"/\" {70000}\r\n" + strings.Repeat("x", 70000) + "\r\n",
		"bye":     "* BYE going\r\n",
		"rubbish": "hello\r\n",
	} {
		c, sent := serve(t, "* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n", answer+"TAG OK done\r\n")
		if _, _, err := c.Mailboxes(t.Context()); !postino.Is(err, postino.Transient) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.command(t.Context(), "NOOP", nil); err == nil {
			t.Errorf("%s: the connection goes on", name)
		}
		sent()
	}
}

func TestSinkError(t *testing.T) {
	c, sent := serve(t, "* PREAUTH hi\r\n", "* 1 FETCH (UID 3 BODY[] {3}\r\nabc)\r\nTAG OK done\r\n", "TAG OK still here\r\n")
	full := errors.New("full")
	if err := c.Bodies(t.Context(), "3", &gathered{err: full}); err != full {
		t.Error(err)
	}
	if err := c.command(t.Context(), "NOOP", nil); err != nil {
		t.Error("the dialogue is out of step:", err)
	}
	sent()
}

func TestCancel(t *testing.T) {
	c, sent := serve(t, "* PREAUTH hi\r\n", "") // no reply
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(10*time.Millisecond, cancel)
	defer stop.Stop()
	if err := c.command(ctx, "NOOP", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	sent()
}

// FuzzResponses feeds whatever a server may send.
func FuzzResponses(f *testing.F) {
	f.Add([]byte("* 1 FETCH (UID 3 BODY[] {3}\r\nabc)\r\nA1 OK done\r\n"))
	f.Add([]byte("* LIST (\\Sent) \"/\" {3}\r\na&b\r\nA1 OK x\r\n* LSUB () NIL x\r\nA2 OK\r\n"))
	f.Add([]byte("* NAMESPACE ((\"\" \"/\" \"X\" (\"a\"))) NIL ((\"b\" NIL))\r\nA1 OK\r\n"))
	f.Add([]byte("* 1 FETCH (FLAGS (\\* x) MODSEQ (1) INTERNALDATE \"\" RFC822.SIZE 1)\r\nA1 NO [X] y\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ask := range []func(c *Client) error{
			func(c *Client) error { _, _, err := c.Mailboxes(t.Context()); return err },
			func(c *Client) error { c.caps = []string{"NAMESPACE"}; _, err := c.Foreign(t.Context()); return err },
			func(c *Client) error { _, err := c.Examine(t.Context(), &Mailbox{Raw: "x"}); return err },
			func(c *Client) error {
				return c.Envelopes(t.Context(), 2, func(m *Message) error {
					if m.UID < 2 {
						t.Error("a UID that was not asked for")
					}
					return nil
				})
			},
			func(c *Client) error { return c.Bodies(t.Context(), "1", &gathered{got: map[uint32]string{}}) },
		} {
			nc := &canned{Reader: io.MultiReader(strings.NewReader("* PREAUTH x\r\n"), bytes.NewReader(b))}
			c, err := New(t.Context(), nc, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			ask(c)
			c.Close()
		}
	})
}

// canned is a connection whose other end has said all that it will say.
type canned struct{ io.Reader }

func (canned) Write(p []byte) (int, error)      { return len(p), nil }
func (canned) Close() error                     { return nil }
func (canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (canned) SetDeadline(time.Time) error      { return nil }
func (canned) SetReadDeadline(time.Time) error  { return nil }
func (canned) SetWriteDeadline(time.Time) error { return nil }

// TestLinear: answers a thousand times as long cost no more than a thousand times
// as many allocations (G2); time is for the eye.
func TestLinear(t *testing.T) {
	var allocs []float64
	for _, n := range []int{100, 100_000} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "* %d FETCH (UID %d FLAGS (\\Seen $x) INTERNALDATE \" 5-Mar-2024 10:00:00 +0100\" RFC822.SIZE 11)\r\n", i+1, i+1)
		}
		b.WriteString("A1 OK done\r\n")
		begin, found := time.Now(), 0
		allocs = append(allocs, testing.AllocsPerRun(1, func() {
			c, err := New(t.Context(), &canned{Reader: strings.NewReader("* PREAUTH x\r\n" + b.String())}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			found = 0
			if err := c.Envelopes(t.Context(), 1, func(*Message) error { found++; return nil }); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}))
		t.Logf("%d messages: %v", n, time.Since(begin)/2)
		if found != n {
			t.Errorf("%d messages of %d", found, n)
		}
	}
	if allocs[1] > 1000*(allocs[0]+10) {
		t.Errorf("allocations: %v", allocs)
	}
}
