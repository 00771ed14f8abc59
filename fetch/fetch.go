package fetch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
)

// Bounds of requests; see [Request] for what callers may change.
const (
	DefaultBody = 64 << 10         // TL5
	DefaultTime = 60 * time.Second // TL5

	maxBody      = 64 << 20
	maxTime      = 10 * time.Minute
	maxRedirects = 5
	maxHeader    = 64 << 10
	maxURL       = 8 << 10
	maxAddresses = 20
	connectTime  = 20 * time.Second // of one address
)

// What errors of [Client.Do] wrap.
var (
	ErrRefused     = errors.New("no connection is made to such an address")  // Denied
	ErrRedirect    = errors.New("the server redirects")                      // Denied
	ErrTooLarge    = errors.New("the answer is too large")                   // Full
	ErrCertificate = errors.New("the certificate does not prove the server") // Transient
)

// Options says what a [Client] works with. DNS is needed.
type Options struct {
	DNS   dns.Resolver
	Guard Guard
	// Dial connects to an address literal with its port by "tcp"; nil is the
	// network of the system.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots verify certificates; nil means those of the system.
	Roots *x509.CertPool
	// Agent is the product that we say we are; empty says "Postino".
	Agent   string
	Logger  *slog.Logger     // nil discards
	Metrics *metric.Registry // nil counts nothing
}

// Request is what to ask for. Only URL is needed.
type Request struct {
	Method string // empty means GET
	URL    string
	Header http.Header
	Body   []byte
	// PlainHTTP takes http, too: for images only, of which others can see and
	// forge what they like.
	PlainHTTP bool
	// Redirects is how many are followed, at most 5; 0 makes the first one an error.
	Redirects int
	// MaxBody bounds the body of the answer in octets, at most 64 MiB; 0 means 64 KiB.
	MaxBody int64
	// Timeout bounds all of it, at most 10 min; 0 means 60 s.
	Timeout time.Duration
}

// Response is an answer, whatever its status.
type Response struct {
	Status int
	Header http.Header
	URL    string // that answered, after redirects
	Body   []byte
}

// Client makes requests. Its methods may be called from any goroutine.
type Client struct {
	opts     Options
	secure   *http.Transport
	log      *slog.Logger
	requests *metric.Counter
}

// New returns a client.
func New(opts Options) *Client {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Agent == "" {
		opts.Agent = "Postino"
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	c := &Client{opts: opts, log: opts.Logger,
		requests: opts.Metrics.Counter("postino_fetch_requests_total", "Requests that outside data caused, by result.", "result"),
	}
	c.secure = &http.Transport{
		// No Proxy: nothing of the environment counts.
		DialContext:            c.dial,
		DialTLSContext:         c.dialTLS,
		DisableKeepAlives:      true, // no connection outlives its request
		DisableCompression:     true, // the limit of the body is that of what is sent
		MaxResponseHeaderBytes: maxHeader,
	}
	return c
}

// Get asks for an https URL with the defaults of [Request].
func (c *Client) Get(ctx context.Context, url string) (*Response, error) {
	return c.Do(ctx, Request{URL: url})
}

// Do makes a request. An error is Invalid for a URL that nobody may ask for,
// Denied, wrapping ErrRefused or ErrRedirect, Full, wrapping ErrTooLarge, or else
// Transient; ErrCertificate is wrapped where only TLS failed.
func (c *Client) Do(ctx context.Context, req Request) (*Response, error) {
	resp, err := c.do(ctx, req)
	result := "ok"
	if err != nil {
		err = postino.E(kind(err), "fetch", postino.Printable(req.URL[:min(len(req.URL), 300)]), err)
		result = strings.ReplaceAll(postino.KindOf(err).String(), " ", "-")
		c.log.Info("fetch: failed", "url", postino.Printable(req.URL[:min(len(req.URL), 300)]), "err", postino.Printable(err.Error()))
	}
	c.requests.With(result).Inc()
	return resp, err
}

func (c *Client) do(ctx context.Context, req Request) (*Response, error) {
	if req.MaxBody <= 0 {
		req.MaxBody = DefaultBody
	}
	if req.Timeout <= 0 {
		req.Timeout = DefaultTime
	}
	ctx, cancel := context.WithTimeout(ctx, min(req.Timeout, maxTime))
	defer cancel()
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	h, err := http.NewRequestWithContext(ctx, req.Method, req.URL, bytes.NewReader(req.Body))
	if err != nil {
		return nil, postino.E(postino.Invalid, "", "", err)
	}
	if req.Header != nil {
		h.Header = req.Header.Clone()
	}
	client := http.Client{
		Transport: &checked{c: c, plain: req.PlainHTTP},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if len(before) > min(req.Redirects, maxRedirects) {
				return fmt.Errorf("%w to %s", ErrRedirect, postino.Printable(next.URL.Redacted()))
			}
			next.Header.Del("Referer")
			return nil
		},
	}
	r, err := client.Do(h)
	if err != nil {
		var outer *url.Error // says the method and the URL again
		if errors.As(err, &outer) {
			err = outer.Err
		}
		var bad *tls.CertificateVerificationError
		if errors.As(err, &bad) {
			err = fmt.Errorf("%w: %w", ErrCertificate, bad.Err)
		}
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, min(req.MaxBody, maxBody)+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > min(req.MaxBody, maxBody) {
		return nil, fmt.Errorf("%w: more than %d octets", ErrTooLarge, min(req.MaxBody, maxBody))
	}
	return &Response{Status: r.StatusCode, Header: r.Header, URL: r.Request.URL.String(), Body: body}, nil
}

// checked makes single requests whose URLs may be asked for.
type checked struct {
	c     *Client
	plain bool
}

// RoundTrip implements http.RoundTripper.
func (t *checked) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := check(r.URL, t.plain); err != nil {
		return nil, err
	}
	agent := r.Header.Get("User-Agent")
	r = r.Clone(context.WithValue(r.Context(), request{}, r.Context()))
	r.Header.Set("User-Agent", cmp.Or(agent, t.c.opts.Agent))
	return t.c.secure.RoundTrip(r)
}

// check refuses URLs that outside data has no business with.
func check(u *url.URL, plain bool) error {
	bad := func(why string) error { return postino.E(postino.Invalid, "", "", errors.New(why)) }
	switch {
	case len(u.String()) > maxURL:
		return bad("the URL is too long")
	case u.Scheme != "https" && !(plain && u.Scheme == "http"):
		return bad("only https is allowed")
	case u.User != nil:
		return bad("the URL has a user in it")
	case u.Hostname() == "":
		return bad("the URL has no host")
	case u.Port() != "" && u.Port() != map[string]string{"https": "443", "http": "80"}[u.Scheme]:
		return bad("only the ports 80 and 443 are allowed")
	}
	return nil
}

// request is the key of the context that a request came with. The transport goes
// on dialling after that has ended, in case that another one can use the
// connection; none can (G11).
type request struct{}

// dialTLS connects and agrees on TLS.
func (c *Client) dialTLS(ctx context.Context, network, hostport string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, hostport)
	if err != nil {
		return nil, err
	}
	if outer, ok := ctx.Value(request{}).(context.Context); ok {
		ctx = outer
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	host, _, _ := net.SplitHostPort(hostport)                                                                  // dial has
	tc := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: c.opts.Roots}) // RFC 9325 §3.1.1
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tc, nil
}

// dial looks a host up and connects to one of its addresses that the guard does
// not refuse.
func (c *Client) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	if outer, ok := ctx.Value(request{}).(context.Context); ok {
		ctx = outer
	}
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := c.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var refused, failed error
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		if why := c.opts.Guard.refuseFetch(a); why != "" {
			refused = fmt.Errorf("%w: %s (%s)", ErrRefused, a, why)
			continue
		}
		one, cancel := context.WithTimeout(ctx, connectTime)
		conn, err := c.opts.Dial(one, network, netip.AddrPortFrom(a.Unmap(), uint16(port)).String())
		cancel()
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	if failed == nil {
		failed = refused
	}
	return nil, failed
}

// lookup asks once for the addresses of a host; a literal is its own.
func (c *Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	name, err := postino.CanonicalDomain(host)
	if err != nil {
		return nil, postino.E(postino.Invalid, "", "", err)
	}
	a, err := dns.LookupIP(ctx, c.opts.DNS, name)
	if err != nil {
		return nil, err
	}
	if len(a.Addrs) == 0 {
		return nil, postino.E(postino.NotFound, "look up", name, dns.ErrNoData)
	}
	return a.Addrs, nil
}

// kind classes what went wrong. That a name or a server is not there may be
// otherwise tomorrow; what may not be asked for stays so.
func kind(err error) postino.Kind {
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrRedirect):
		return postino.Denied
	case errors.Is(err, ErrTooLarge):
		return postino.Full
	case postino.Is(err, postino.Invalid):
		return postino.Invalid
	}
	return postino.Transient
}
