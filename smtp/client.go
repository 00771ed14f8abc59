package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
)

// buffers are shared by all clients; one that is idle holds none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Client is one connection to an SMTP or LMTP server, from the greeting on. Its
// methods are for one goroutine at a time, but Close is for any.
type Client struct {
	wire
	raw  net.Conn // the transport below TLS
	opts ClientOptions
	log  *slog.Logger

	greeting Reply
	hello    Reply
	esmtp    bool
	caps     []capability
	offers   offers
	tls      *tls.ConnectionState // nil in clear
	authed   bool

	owed    bool // a transaction may be open: RSET before the next
	mails   int
	domains map[string]struct{} // of recipients; kept only for RCPTDOMAINMAX

	ctx       context.Context // of the call under way; nil between calls
	stop      func() bool     // ends the watch over ctx
	interrupt func()
	hurry     atomic.Bool // the peer is gone: take its last words, do not wait
	closed    atomic.Bool // nothing can be said any more
	text      []byte      // scratch for replies of several lines
}

// NewClient reads the greeting and says EHLO, or HELO to a server that does not
// know it, or LHLO. For implicit TLS nc is a [*tls.Conn]. The error is a
// [*ClientError] with the server's reply if there was one, and nc is closed.
func NewClient(ctx context.Context, nc net.Conn, o ClientOptions) (*Client, error) {
	o.Timeouts, o.Limits = o.Timeouts.withDefaults(), o.Limits.withDefaults()
	c := &Client{raw: nc, opts: o, log: o.Logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.wire.init(nc, &buffers)
	c.interrupt = func() { c.raw.SetDeadline(time.Unix(1, 0)) }
	if !isName(o.Name) {
		nc.Close()
		return nil, &ClientError{Stage: StageCheck, Err: errors.New("bad name for EHLO")}
	}
	if err := c.enter(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	defer c.leave()
	if t, ok := nc.(*tls.Conn); ok {
		if err := c.handshake(t); err != nil {
			return nil, err
		}
	}
	r, err := c.hear(StageGreeting, o.Timeouts.Greeting)
	if err != nil {
		return nil, err
	}
	c.greeting = r
	if !r.Success() {
		c.out = append(c.out, "QUIT\r\n"...) // RFC 5321 §3.1: not to leave it waiting
		c.push(c.opts.Timeouts.Quit)
		return nil, c.fail(StageGreeting, &r, nil)
	}
	if err := c.sayHello(); err != nil {
		return nil, err
	}
	return c, nil
}

// isName tells whether s can be said in EHLO.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= postino.MaxDomain
}

// Greeting is the first reply of the server.
func (c *Client) Greeting() Reply { return c.greeting }

// Hello is its last reply to EHLO, HELO or LHLO; Esmtp tells that it was not HELO.
func (c *Client) Hello() Reply { return c.hello }

// Esmtp tells whether the server speaks the extended protocol.
func (c *Client) Esmtp() bool { return c.esmtp }

// TLS describes the TLS session; nil in clear. The caller must not change it.
func (c *Client) TLS() *tls.ConnectionState { return c.tls }

// RemoteAddr is the server's transport address.
func (c *Client) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Mails is how many transactions were begun on this connection.
func (c *Client) Mails() int { return c.mails }

// StartTLS encrypts the connection and asks for the capabilities again (RFC
// 3207 §4.2, SC5). cfg names the server. Without STARTTLS in the EHLO reply the
// error has StageCheck and [ErrNotOffered]; when the server refuses, the
// connection stays usable in clear; any other failure closes it.
func (c *Client) StartTLS(ctx context.Context, cfg *tls.Config) error {
	if _, ok := c.Has("STARTTLS"); !ok || c.tls != nil {
		return &ClientError{Stage: StageCheck, Err: ErrNotOffered}
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	r, err := c.ask(StageTLS, "STARTTLS", c.opts.Timeouts.StartTLS)
	if err != nil {
		return err
	}
	if !r.Success() {
		return &ClientError{Stage: StageTLS, Reply: &r}
	}
	if c.buffered() > 0 {
		return c.fail(StageTLS, nil, ErrBuffered)
	}
	c.shrink()
	if err := c.handshake(tls.Client(c.raw, cfg)); err != nil {
		return err
	}
	return c.sayHello()
}

// handshake makes t what is spoken over.
func (c *Client) handshake(t *tls.Conn) error {
	c.raw.SetDeadline(c.deadline(c.opts.Timeouts.StartTLS))
	if err := t.HandshakeContext(c.ctx); err != nil {
		return c.fail(StageTLS, nil, err)
	}
	state := t.ConnectionState()
	c.conn, c.tls = t, &state
	c.caps, c.offers, c.esmtp = nil, offers{}, false // RFC 3207 §4.2: nothing learnt in clear survives
	return nil
}

// Reset says RSET now. Nobody needs it before Send, which does so when needed.
func (c *Client) Reset(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	r, err := c.ask(StageReset, "RSET", c.opts.Timeouts.Reset)
	if err != nil {
		return err
	}
	if !r.Success() {
		return c.odd(StageReset, r)
	}
	c.owed = false
	return nil
}

// Quit says QUIT, waits a little for the answer (SC3) and closes. It does not
// matter to any mail whether it succeeds.
func (c *Client) Quit(ctx context.Context) error {
	defer c.Close()
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	_, err := c.ask(StageQuit, "QUIT", c.opts.Timeouts.Quit)
	return err
}

// Close ends the connection without a word. It may be called more than once.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.raw.Close()
}

// Usable tells whether the connection can carry another transaction, as far as
// is known without looking: it did not fail, the server did not say 421 and
// its MAILMAX (RFC 9422 §4.1) is not used up.
func (c *Client) Usable() bool {
	return !c.closed.Load() && (c.offers.mailMax == 0 || c.mails < c.offers.mailMax)
}

// Alive is Usable and a look, without waiting, whether the server has hung up
// or said something unasked, which can only be a farewell (RFC 5321 §3.8).
func (c *Client) Alive() bool {
	return c.Usable() && c.buffered() == 0 && c.quiet()
}

// enter begins a call: from here to leave, the context can interrupt it.
func (c *Client) enter(ctx context.Context) error {
	if c.closed.Load() {
		return &ClientError{Stage: StageCheck, Err: ErrUnusable}
	}
	if err := ctx.Err(); err != nil {
		return &ClientError{Stage: StageCheck, Err: err}
	}
	c.ctx = ctx
	if ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, c.interrupt)
	}
	return nil
}

// leave ends the call and gives all buffers back.
func (c *Client) leave() {
	if c.stop != nil && !c.stop() {
		c.Close() // the interruption may still come, and must not hit another call
	}
	c.ctx, c.stop = nil, nil
	if c.hurry.Load() {
		c.Close()
	}
	if cap(c.text) > nookSize {
		c.text = nil
	}
	if c.closed.Load() {
		c.release()
	}
	c.shrink()
}

// deadline is d from now, or that of the context.
func (c *Client) deadline(d time.Duration) time.Time {
	at := time.Now().Add(d)
	if end, ok := c.ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}

// write sends p. It may run beside reads.
func (c *Client) write(p []byte, d time.Duration) error {
	if err := c.raw.SetWriteDeadline(c.deadline(d)); err != nil {
		return err
	}
	if err := c.ctx.Err(); err != nil { // asked after the deadline was set: what comes later sets its own
		return err
	}
	_, err := c.conn.Write(p)
	return err
}

// push sends the collected commands.
func (c *Client) push(d time.Duration) error {
	err := c.write(c.out, d)
	c.out = c.slot[:0]
	return err
}

// ask says one command and hears its reply.
func (c *Client) ask(at Stage, command string, d time.Duration) (Reply, error) {
	c.out = append(append(c.out, command...), '\r', '\n')
	if err := c.push(c.opts.Timeouts.Block); err != nil {
		c.lost(err)
	}
	return c.hear(at, d)
}

// lost notes that nothing can be sent any more: the server's last words may
// still be read, but are not waited for.
func (c *Client) lost(err error) {
	c.log.Debug("smtp client cannot write", "remote", c.RemoteAddr(), "error", postino.Printable(err.Error()))
	c.hurry.Store(true)
}

// lastWords is how long a server that takes nothing more may speak.
const lastWords = 2 * time.Second

// fail closes the connection and says why.
func (c *Client) fail(at Stage, r *Reply, err error) error {
	if c.ctx != nil && c.ctx.Err() != nil {
		err = c.ctx.Err()
	} else if end, ok := c.ctxDeadline(); ok && errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(end) {
		err = context.DeadlineExceeded
	}
	c.Close()
	e := &ClientError{Stage: at, Reply: r, Err: err}
	c.log.Debug("smtp client failed", "remote", c.RemoteAddr(), "error", e.Error())
	return e
}

func (c *Client) ctxDeadline() (time.Time, bool) {
	if c.ctx == nil {
		return time.Time{}, false
	}
	return c.ctx.Deadline()
}

// errShort is a dialogue that the server ended.
var errShort = errors.New("server closed the connection")

// hear reads one reply. Broken replies, lost connections and 421 close the
// connection; a 421 is returned along with its error.
func (c *Client) hear(at Stage, d time.Duration) (Reply, error) {
	r, err := c.readReply(d)
	switch {
	case err != nil:
		return Reply{}, c.fail(at, nil, err)
	case r.Code == 421: // RFC 5321 §3.8
		return r, c.fail(at, &r, nil)
	}
	return r, nil
}

// odd is a reply that cannot come here: both sides disagree on what is being
// talked about, so that it must not decide about any message.
func (c *Client) odd(at Stage, r Reply) error {
	return c.fail(at, nil, fmt.Errorf("%w: unexpected %d", ErrMalformed, r.Code))
}
