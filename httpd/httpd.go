package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/conns"
	"github.com/postino-mail/postino/metric"
)

// Limits bound what clients can cost; zero fields are the default.
type Limits struct {
	Connections int // at once; default 1,000
	PerAddress  int // from one IPv4 address or IPv6 /64; default 20
}

// Options are what a server may tell.
type Options struct {
	// Challenge is the answer to a token of ACME (RFC 8555 §8.3); nil: none.
	Challenge func(token string) (text string, ok bool)
	// Policy is the MTA-STS policy of a domain; NotFound: it has none. nil: none
	// has.
	Policy func(ctx context.Context, domain string) (string, error)
	// TLS are the settings of a listener for https; nil is one in clear.
	TLS     *tls.Config
	Limits  Limits
	Logger  *slog.Logger     // nil discards
	Metrics *metric.Registry // nil counts nothing
}

// Server answers on one listener.
type Server struct {
	opts Options
	http *http.Server
	log  *slog.Logger
	hits *metric.Counter
	set  *conns.Set[*counted]
}

// New returns a server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits.Connections <= 0 {
		o.Limits.Connections = 1000
	}
	if o.Limits.PerAddress <= 0 {
		o.Limits.PerAddress = 20
	}
	s := &Server{opts: o, log: o.Logger}
	s.set = conns.New[*counted]("http", conns.Limits{Connections: o.Limits.Connections, PerAddress: o.Limits.PerAddress}, o.Logger)
	s.hits = o.Metrics.Counter("postino_http_requests_total", "Requests by HTTP.", "what")
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog:  slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug), // what strangers do wrong
		Protocols: new(http.Protocols),
		// A handshake of an authority that looks for a challenge is all it wants
		// (RFC 8737 §3); anything else gets no protocol that we do not speak.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){acmeALPN: func(_ *http.Server, c *tls.Conn, _ http.Handler) { c.Close() }},
	}
	s.http.Protocols.SetHTTP1(true)
	return s
}

const acmeALPN = "acme-tls/1"

// Serve answers until Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	ln = bounded{ln, s.set}
	if s.opts.TLS != nil {
		ln = tls.NewListener(ln, s.opts.TLS)
	}
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listener, lets requests finish until ctx ends, and closes
// what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// Paths that are known.
const (
	challengePath = "/.well-known/acme-challenge/"
	policyPath    = "/.well-known/mta-sts.txt"
	policyHost    = "mta-sts." // RFC 8461 §3.2
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		s.refuse(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
		return
	}
	token, challenge := strings.CutPrefix(r.URL.Path, challengePath)
	switch {
	case challenge:
		s.challenge(w, token)
	case r.URL.Path == policyPath && s.opts.TLS != nil: // RFC 8461 §3.3: by https, and no redirects
		s.policy(w, r)
	case s.opts.TLS == nil:
		s.redirect(w, r)
	default:
		s.nothing(w)
	}
}

func (s *Server) challenge(w http.ResponseWriter, token string) {
	if s.opts.Challenge != nil {
		if text, ok := s.opts.Challenge(token); ok {
			s.hits.With("challenge").Inc()
			s.log.Info("challenge of a certificate authority answered")
			w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555 §8.3
			_, _ = io.WriteString(w, text)                             // who went away gets nothing
			return
		}
	}
	s.nothing(w)
}

// policy answers for the domains that are ours; others learn nothing.
func (s *Server) policy(w http.ResponseWriter, r *http.Request) {
	domain, ok := strings.CutPrefix(hostOf(r), policyHost)
	if !ok || s.opts.Policy == nil {
		s.nothing(w)
		return
	}
	text, err := s.opts.Policy(r.Context(), domain)
	switch {
	case postino.Is(err, postino.NotFound), postino.Is(err, postino.Invalid):
		s.nothing(w)
	case err != nil:
		s.log.Warn("MTA-STS policy not told", "domain", domain, "err", err)
		s.refuse(w, http.StatusServiceUnavailable, "Try again later.")
	default:
		s.hits.With("mta-sts").Inc()
		w.Header().Set("Content-Type", "text/plain") // RFC 8461 §3.2
		_, _ = io.WriteString(w, text)
	}
}

// redirect leads from http to https of the same host.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r)
	if host == "" {
		s.nothing(w)
		return
	}
	s.hits.With("redirect").Inc()
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusMovedPermanently)
}

func (s *Server) nothing(w http.ResponseWriter) { s.refuse(w, http.StatusNotFound, "Nothing here.") }

func (s *Server) refuse(w http.ResponseWriter, code int, text string) {
	s.hits.With("refused").Inc()
	http.Error(w, text, code)
}

// hostOf is the host that a request is for, as a canonical name without port; ""
// when it is no domain name.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	name, err := postino.CanonicalDomain(strings.TrimSuffix(host, "."))
	if err != nil || strings.HasPrefix(name, "[") {
		return ""
	}
	return name
}

// bounded accepts as many connections as the limits allow; the others are closed.
type bounded struct {
	net.Listener
	set *conns.Set[*counted]
}

func (b bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := &counted{Conn: c}
		if b.set.Enter(n, c.RemoteAddr()) == nil {
			n.leave = sync.OnceFunc(func() { b.set.Leave(n) })
			return n, nil
		}
		c.Close()
	}
}

// counted is a connection that is counted until it is closed; net/http ends it.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (*counted) Interrupt() {}

func (c *counted) Cut() { c.Conn.Close() }
