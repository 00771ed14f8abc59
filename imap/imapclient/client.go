package imapclient

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
	"github.com/postino-mail/postino/sasl"
)

// Limits bound what a server may make us hold. A zero field is the default that
// its comment tells.
type Limits struct {
	Line      int           // a line, 64 KiB
	Literal   int64         // a literal that is no body, 64 KiB
	Mailboxes int           // names, 100,000
	Body      int64         // a message, 1 GiB
	Stall     time.Duration // without an octet, 2 min
}

func (l Limits) filled() Limits {
	def := func(p *int64, n int64) {
		if *p <= 0 {
			*p = n
		}
	}
	line, boxes := int64(l.Line), int64(l.Mailboxes)
	def(&line, 64<<10)
	def(&boxes, 100_000)
	def(&l.Literal, 64<<10)
	def(&l.Body, 1<<30)
	def((*int64)(&l.Stall), int64(2*time.Minute))
	l.Line, l.Mailboxes = int(line), int(boxes)
	return l
}

// Error is a NO or BAD of the server.
type Error struct {
	// Code is the response code without brackets, or empty; Text is for people.
	// Both are printable.
	Code, Text string
	// Bad tells BAD from NO.
	Bad bool
}

// Error gives code and text.
func (e *Error) Error() string {
	if e.Code == "" {
		return "the server says: " + e.Text
	}
	return "the server says: [" + e.Code + "] " + e.Text
}

// Client is a connection to an IMAP server, used by one goroutine.
type Client struct {
	nc   net.Conn
	in   wire.Reader
	p    wire.Parser
	lim  Limits
	tags int
	caps []string
	err  error // of the connection
	told int   // how often the server told its capabilities
	done bool  // PREAUTH or logged in
}

// New takes over a connection, which is *tls.Conn for implicit TLS, and reads the
// greeting.
func New(ctx context.Context, nc net.Conn, limits Limits) (*Client, error) {
	c := &Client{nc: nc, lim: limits.filled()}
	c.in = wire.Reader{Src: (*deadlines)(c), Wait: func() error { return nil }}
	c.p.Literals = c
	defer c.watch(ctx)()
	line, err := c.line()
	if err != nil {
		return nil, c.fail("greet", err)
	}
	c.p.Reset(line)
	status, rest, ok := strings.Cut(strings.TrimPrefix(string(line), "* "), " ")
	switch {
	case ok && strings.EqualFold(status, "PREAUTH"):
		c.done = true
	case !ok || !strings.EqualFold(status, "OK"):
		return nil, c.fail("greet", errors.New(postino.Printable(string(line))))
	}
	c.code(rest)
	return c, nil
}

// deadlines reads from the connection and gives up after Limits.Stall.
type deadlines Client

func (d *deadlines) Read(p []byte) (int, error) {
	if err := d.nc.SetReadDeadline(time.Now().Add(d.lim.Stall)); err != nil {
		return 0, err
	}
	return d.nc.Read(p)
}

// watch makes the end of ctx end the connection; the function that it returns
// stops that.
func (c *Client) watch(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { c.nc.Close() })
}

// fail notes that the connection is of no use any more.
func (c *Client) fail(op string, err error) error {
	if c.err == nil {
		c.err = postino.E(postino.Transient, op, c.nc.RemoteAddr().String(), err)
		c.nc.Close()
	}
	return c.err
}

// Close ends the connection, with LOGOUT when it is in order.
func (c *Client) Close() error {
	if c.err == nil {
		c.nc.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c.nc, "Z LOGOUT\r\n")
	}
	c.in.Close()
	return c.nc.Close()
}

// line reads a line without its literals.
func (c *Client) line() ([]byte, error) { return c.in.Line(c.lim.Line) }

// ReadLiteral implements wire.Literals: it reads a short literal and goes on with
// the line behind it.
func (c *Client) ReadLiteral(p *wire.Parser, l wire.Literal) ([]byte, error) {
	if l.Size > c.lim.Literal {
		return nil, fmt.Errorf("a literal of %d octets", l.Size)
	}
	b := make([]byte, l.Size)
	if err := c.in.ReadFull(b); err != nil {
		return nil, err
	}
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	p.Reset(line)
	return b, nil
}

// Has tells whether the server announced a capability.
func (c *Client) Has(capability string) bool {
	return slices.ContainsFunc(c.caps, func(s string) bool { return strings.EqualFold(s, capability) })
}

// code takes in a response code at the beginning of text and returns it with the
// text behind it.
func (c *Client) code(text string) (code, rest string) {
	if !strings.HasPrefix(text, "[") {
		return "", text
	}
	code, rest, ok := strings.Cut(text[1:], "]")
	if !ok {
		return "", text
	}
	if word, list, _ := strings.Cut(code, " "); strings.EqualFold(word, "CAPABILITY") {
		c.caps, c.told = strings.Fields(list), c.told+1
	}
	return code, strings.TrimPrefix(rest, " ")
}

// command sends a command and handles what comes until its tagged reply. Of
// untagged responses handle gets the number before the name, 0 without one, and
// the name in capitals; c.p stands behind the name. What it leaves unread is
// skipped.
func (c *Client) command(ctx context.Context, text string, handle func(num uint32, name string) error) error {
	if c.err != nil {
		return c.err
	}
	defer c.watch(ctx)()
	tag := c.send(text)
	return c.wait(ctx, tag, handle)
}

// send sends a command and returns its tag. A failure shows at the next read.
func (c *Client) send(text string) string {
	c.tags++
	tag := "A" + strconv.Itoa(c.tags)
	c.nc.SetWriteDeadline(time.Now().Add(c.lim.Stall))
	if _, err := c.nc.Write([]byte(tag + " " + text + "\r\n")); err != nil {
		c.fail("send", err)
	}
	return tag
}

// wait handles responses until the tagged one.
func (c *Client) wait(ctx context.Context, tag string, handle func(num uint32, name string) error) error {
	for c.err == nil {
		line, err := c.line()
		if err != nil {
			return c.broken(ctx, err)
		}
		c.p.Reset(line)
		if rest, ok := strings.CutPrefix(string(line), tag+" "); ok {
			return c.tagged(rest)
		}
		if err := c.untagged(handle); err != nil {
			return c.broken(ctx, err)
		}
	}
	return c.err
}

// broken ends the connection; the end of ctx is named as such.
func (c *Client) broken(ctx context.Context, err error) error {
	c.fail("read", err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.err
}

func (c *Client) tagged(rest string) error {
	status, text, _ := strings.Cut(rest, " ")
	code, text := c.code(text)
	if strings.EqualFold(status, "OK") {
		return nil
	}
	return &Error{Code: postino.Printable(code), Text: postino.Printable(text), Bad: strings.EqualFold(status, "BAD")}
}

// untagged handles one untagged response and skips the rest of it.
func (c *Client) untagged(handle func(num uint32, name string) error) error {
	if c.p.Try('+') {
		return errors.New("a continuation that was not asked for")
	}
	if !c.p.Try('*') || c.p.SP() != nil {
		return fmt.Errorf("not a response: %s", postino.Printable(string(c.p.Line()[:min(80, len(c.p.Line()))])))
	}
	var num uint64
	if b := c.p.Peek(); b >= '0' && b <= '9' {
		var err error
		if num, err = c.p.Number(1<<32 - 1); err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return err
		}
	}
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	name := string(label)
	switch name {
	case "BYE":
		return fmt.Errorf("the server says BYE: %s", postino.Printable(string(c.p.Rest())))
	case "CAPABILITY":
		c.caps, c.told = strings.Fields(string(c.p.Rest())), c.told+1
	case "OK", "NO", "BAD":
		c.code(strings.TrimPrefix(string(c.p.Rest()), " "))
	}
	if handle != nil {
		if err := handle(uint32(num), name); err != nil {
			return err
		}
	}
	return c.skip()
}

// skip reads what is left of a response, literals too.
func (c *Client) skip() error {
	for {
		n, ok := literalAtEnd(c.p.Rest())
		if !ok {
			return nil
		}
		var scratch [4096]byte
		if _, err := c.in.CopyN(discard{}, n, scratch[:]); err != nil {
			return err
		}
		line, err := c.line()
		if err != nil {
			return err
		}
		c.p.Reset(line)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// literalAtEnd tells whether a line ends in the announcement of a literal.
func literalAtEnd(line []byte) (int64, bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return 0, false
	}
	i := len(line) - 2
	for i >= 0 && line[i] >= '0' && line[i] <= '9' {
		i--
	}
	if i < 0 || line[i] != '{' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(line[i+1:len(line)-1]), 10, 63)
	return n, err == nil
}

// StartTLS changes to TLS. What the server announced before counts no more.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	if err := c.command(ctx, "STARTTLS", nil); err != nil {
		return err
	}
	if c.in.Buffered() > 0 {
		return c.fail("start TLS", errors.New("octets in clear after the reply"))
	}
	c.in.Release()
	tc := tls.Client(c.nc, config)
	tc.SetDeadline(time.Now().Add(c.lim.Stall))
	if err := tc.HandshakeContext(ctx); err != nil {
		return c.fail("start TLS", err)
	}
	tc.SetDeadline(time.Time{})
	c.nc, c.caps = tc, nil
	return nil
}

// TLS is the state of the TLS connection, nil in clear.
func (c *Client) TLS() *tls.ConnectionState {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	s := tc.ConnectionState()
	return &s
}

// capabilities asks for them unless they are known.
func (c *Client) capabilities(ctx context.Context) error {
	if len(c.caps) > 0 {
		return nil
	}
	return c.command(ctx, "CAPABILITY", nil)
}

// LoggedIn tells that the server wants no login (PREAUTH).
func (c *Client) LoggedIn() bool { return c.done }

// CanStartTLS tells whether STARTTLS is announced.
func (c *Client) CanStartTLS(ctx context.Context) (bool, error) {
	err := c.capabilities(ctx)
	return c.Has("STARTTLS"), err
}

// Login proves who we are with the mechanism that choose picks of those announced,
// separated by spaces; nil: with LOGIN, user and password. Denied when the server
// does not believe it.
func (c *Client) Login(ctx context.Context, user, password string, choose func(announced string) sasl.Client) error {
	if err := c.capabilities(ctx); err != nil {
		return err
	}
	var names []string
	for _, s := range c.caps {
		if m, ok := strings.CutPrefix(strings.ToUpper(s), "AUTH="); ok {
			names = append(names, m)
		}
	}
	told := c.told
	var err error
	if m := choose(strings.Join(names, " ")); m != nil {
		err = c.authenticate(ctx, m)
	} else if c.Has("LOGINDISABLED") {
		return postino.E(postino.Denied, "log in", "", errors.New("the server offers no way to log in over this connection"))
	} else {
		b := wire.AppendString([]byte("LOGIN "), user, false)
		b = wire.AppendString(append(b, ' '), password, false)
		if strings.Contains(string(b), "}\r\n") {
			return postino.E(postino.Invalid, "log in", "", errors.New("user name or password cannot be sent with LOGIN"))
		}
		err = c.command(ctx, string(b), nil)
	}
	var no *Error
	if errors.As(err, &no) {
		return postino.E(postino.Denied, "log in", "", err)
	}
	if err != nil {
		return err
	}
	if c.done = true; c.told == told {
		c.caps = nil // they are others after login
	}
	return c.capabilities(ctx)
}

// authenticate runs a SASL exchange.
func (c *Client) authenticate(ctx context.Context, m sasl.Client) error {
	initial, err := m.Start()
	if err != nil {
		return err
	}
	defer c.watch(ctx)()
	text := "AUTHENTICATE " + m.Mechanism()
	if initial != nil && c.Has("SASL-IR") {
		text += " " + encoded(initial)
		initial = nil
	}
	tag := c.send(text)
	for c.err == nil {
		line, err := c.line()
		if err != nil {
			return c.broken(ctx, err)
		}
		c.p.Reset(line)
		challenge, asked := strings.CutPrefix(string(line), "+")
		if !asked {
			if rest, ok := strings.CutPrefix(string(line), tag+" "); ok {
				return c.tagged(rest)
			}
			if err := c.untagged(nil); err != nil {
				return c.broken(ctx, err)
			}
			continue
		}
		response := initial
		if initial == nil {
			var b []byte
			if b, err = base64.StdEncoding.DecodeString(strings.TrimSpace(challenge)); err == nil {
				response, err = m.Next(b)
			}
			if err != nil {
				c.fail("log in", err)
				return c.err
			}
		}
		initial = nil
		if _, err := c.nc.Write([]byte(base64.StdEncoding.EncodeToString(response) + "\r\n")); err != nil {
			return c.broken(ctx, err)
		}
	}
	return c.err
}

// encoded is base64, "=" for nothing (RFC 4959 §3).
func encoded(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
