package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/sasl"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/tlspolicy"
)

// session is a connection to a host that mail can be given to.
type session struct {
	*smtp.Client
	host    Host
	at      string // host and address, for people
	demand  *demand
	from    netip.Addr  // our address
	to      netip.Addr  // the host's
	proof   string      // what proves the host
	badCert error       // why the certificate is not the host's; nil in clear too
	fault   error       // why there is no TLS, or no such TLS
	local   bool        // over a Unix socket: nothing leaves this machine
	reused  bool        // it came from the pool
	timer   *time.Timer // of the pool
	observe *observer   // while it is counted as open
}

// Close ends the connection without a word.
func (s *session) Close() error {
	s.uncount()
	return s.Client.Close()
}

// Quit ends the connection politely.
func (s *session) Quit(ctx context.Context) error {
	s.uncount()
	return s.Client.Quit(ctx)
}

func (s *session) uncount() {
	if s.observe != nil {
		s.observe.closed()
		s.observe = nil
	}
}

// secured tells how the connection is protected, for people.
func (s *session) secured() string {
	policy := s.demand.findings.Policy(s.demand.Decision)
	if policy != "" {
		policy += ": "
	}
	cs := s.TLS()
	switch {
	case cs == nil && s.fault != nil && policy != "":
		return "in clear, " + policy + reason(s.fault).Error()
	case cs == nil:
		return "in clear"
	case s.badCert == nil:
		return tls.VersionName(cs.Version) + ", " + policy + s.proof
	case policy != "":
		return tls.VersionName(cs.Version) + ", " + policy + postino.Printable(s.badCert.Error())
	}
	return tls.VersionName(cs.Version)
}

// calls bounds the connecting of one attempt, and lets a probe watch it.
type calls struct {
	budget int        // addresses that may still be tried
	report func(Step) // nil: nobody watches
	counts bool       // mail is to go: reports hear how TLS goes
	own    bool       // it is a report of ours
}

// say reports a step to who watches.
func (c *calls) say(s Step) {
	if c.report != nil {
		c.report(s)
	}
}

// open makes a session with the host of t: at the address that answers first.
// The addresses that are left in t can be tried next.
func (r *Relay) open(ctx context.Context, w *way, t *target, wish tlspolicy.Wish, calls *calls) (*session, *trouble) {
	local := t.socket != ""
	if local {
		wish = tlspolicy.NoWish
	}
	q := w.question(t)
	d, err := r.demand(ctx, w, q, wish)
	var trouble *trouble
	if err != nil {
		trouble = unknown(q, err)
	} else if trouble = d.denied(); trouble != nil && d.Problem != tlspolicy.Success {
		r.tell(d, calls, nil, d.Problem, errors.New(d.findings.Why(d.Refuse)))
	}
	if trouble != nil {
		t.addrs, t.socket = nil, ""
		calls.say(Step{Kind: "policy", Severity: Failed, Host: t.Name, Text: trouble.words()})
		return nil, trouble
	}
	calls.say(d.step(t))
	began := time.Now()
	c, addr, err := r.connect(ctx, w, t, calls)
	at := where(t.Name, addr, t.Port)
	if err != nil {
		calls.say(Step{Kind: "connect", Severity: Failed, Host: at, Text: plainError(err).Error(), Took: time.Since(began)})
		return nil, ours(451, "4.4.1", "cannot connect to %s: %v", at, plainError(err))
	}
	calls.say(Step{Kind: "connect", Severity: OK, Host: at, Text: "connected", Took: time.Since(began)})
	s := &session{host: t.Host, at: at, demand: d, local: local, from: ip(c.LocalAddr()), to: ip(c.RemoteAddr())}
	_, clear := r.plain.get(at)
	if clear = clear && d.Level == tlspolicy.Opportunistic; clear {
		s.fault = errPlain
	}
	trouble = r.greet(ctx, w, s, c, clear, calls)
	if trouble != nil && errors.Is(trouble.cause, errHandshake) && d.Level == tlspolicy.Opportunistic {
		// Encryption that does not work is no reason to withhold mail that needs
		// none: once more in clear (RFC 7435 §3).
		r.plain.put(at, struct{}{}, r.opts.Limits.Plain)
		r.observe.plain(at, trouble)
		calls.say(Step{Kind: "tls", Severity: Warning, Host: at, Text: trouble.words() + "; once more in clear"})
		if c, err = r.redial(ctx, w, t, addr); err != nil {
			return nil, ours(451, "4.4.1", "cannot connect to %s: %v", at, plainError(err))
		}
		trouble = r.greet(ctx, w, s, c, true, calls)
	}
	if result, why := s.result(); trouble == nil || s.fault != nil || s.badCert != nil {
		r.tell(d, calls, s, result, why)
	}
	if trouble != nil {
		calls.say(Step{Kind: "session", Severity: Failed, Host: at, Text: trouble.words(), Took: time.Since(began)})
		return nil, trouble
	}
	s.observe = r.observe
	s.observe.opened(s)
	return s, nil
}

// connect reaches a host at one of its addresses, which leave t.
func (r *Relay) connect(ctx context.Context, w *way, t *target, calls *calls) (net.Conn, netip.Addr, error) {
	if t.socket != "" {
		c, err := r.redial(ctx, w, t, netip.Addr{})
		t.socket = ""
		return c, netip.Addr{}, err
	}
	d := dialer{dial: r.opts.Dial, port: t.Port, source: w.route.Source, limit: r.opts.Limits.Connect, budget: &calls.budget}
	first, rest := d.connect(ctx, interleave(t.addrs))
	t.addrs = rest
	return first.conn, first.addr, first.err
}

// redial connects to one address, or the socket, of a host.
func (r *Relay) redial(ctx context.Context, w *way, t *target, a netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Limits.Connect)
	defer cancel()
	if !a.IsValid() {
		return r.opts.Dial(ctx, "unix", t.Name, netip.Addr{})
	}
	source, _ := pick(w.route.Source, a)
	return r.opts.Dial(ctx, "tcp", netip.AddrPortFrom(a, t.Port).String(), source)
}

// greet brings a connection to the point where it takes mail: greeting, EHLO,
// TLS and AUTH. On trouble the connection is closed.
func (r *Relay) greet(ctx context.Context, w *way, s *session, c net.Conn, clear bool, calls *calls) *trouble {
	cfg := r.tlsConfig(s)
	if s.demand.implicit {
		tc := tls.Client(c, cfg)
		hctx, cancel := context.WithTimeout(ctx, r.opts.Limits.Handshake)
		err := tc.HandshakeContext(hctx)
		cancel()
		if err != nil {
			c.Close()
			s.fault = err
			return s.demand.refused(s.host.Name, "5.7.10", err)
		}
		c = tc
	}
	var err error
	s.Client, err = smtp.NewClient(ctx, c, smtp.ClientOptions{
		Name: w.helo(r.opts.Hostname), LMTP: w.route.Action == directory.LMTP, Logger: r.opts.Logger,
		OneFlight: w.route.Private, // a server of our own network
		Timeouts:  smtp.ClientTimeouts{StartTLS: r.opts.Limits.Handshake},
	})
	if err != nil {
		t := failed(s.host.Name, err)
		if t.reply.Code != 521 { // RFC 7504 §3: only that speaks of the host for ever
			t.later()
		}
		return t
	}
	calls.say(Step{Kind: "greeting", Severity: OK, Host: s.at, Text: words(s.Greeting())})
	if t := r.protect(ctx, s, cfg, clear); t != nil {
		r.pool.dismiss(s)
		return t
	}
	calls.say(s.tlsStep())
	calls.say(Step{Kind: "ehlo", Severity: OK, Host: s.at, Text: words(s.Hello())})
	if w.route.User != "" {
		if t := r.login(ctx, w, s); t != nil {
			r.pool.dismiss(s)
			return t
		}
		calls.say(Step{Kind: "auth", Severity: OK, Host: s.at, Text: "logged in as the user of route " + w.route.Name})
	}
	return nil
}

// login authenticates as the user of the route. A refusal is no fault of the
// mail: it waits until somebody repairs the route.
func (r *Relay) login(ctx context.Context, w *way, s *session) *trouble {
	if s.TLS() == nil {
		return ours(451, "4.7.5", "route %s: the password is not sent to %s without TLS", w.route.Name, s.host.Name)
	}
	offered, _ := s.Has("AUTH")
	m := sasl.ChooseClient(offered, sasl.ClientOptions{User: w.route.User, Password: w.route.Password, TLS: s.TLS()})
	if m == nil {
		return ours(451, "4.7.4", "route %s: %s offers no way to log in that is known here", w.route.Name, s.host.Name)
	}
	if err := s.Auth(ctx, m); err != nil {
		t := failed(s.host.Name, err).later()
		t.health = queue.Busy
		return t
	}
	return nil
}

// ip is the address of an end of a connection, the zero one where it has none.
func ip(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// plainError takes what a person needs from an error of the network.
func plainError(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errTime
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// Why a host cannot be used.
var (
	errNoAddress    = errors.New("no address is left to be tried")
	errNoSource     = errors.New("the route has no source address of this family")
	errHandshake    = errors.New("the TLS handshake failed")
	errPlain        = errors.New("its TLS failed a short while ago")
	errNoTLS        = errors.New("it does not offer STARTTLS")
	errNoRequireTLS = errors.New("it does not offer REQUIRETLS")
)
