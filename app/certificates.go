package app

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/config"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/httpd"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
)

// ACME says who issues certificates, and how we prove that names are ours.
type ACME struct {
	Directories []string
	Email       string
	EAB         map[string]certs.EAB // by directory
	Roots       *x509.CertPool
	// Names are wanted besides the hostname and what domains need.
	Names             []string
	HTTP01, TLSALPN01 bool
	DNS01             certs.Updater // nil: not
	DNSWait           time.Duration
	// Dial connects to the authorities; nil is the network of the system.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// certificates reads those of the configuration.
func (c *Config) certificates(log *slog.Logger, metrics *metric.Registry) (*certs.Source, error) {
	o := certs.Options{Names: []string{c.c.Server.Hostname}, Read: readFile, Logger: log, Metrics: metrics}
	for i, file := range c.c.TLS.Cert {
		o.Files = append(o.Files, certs.Pair{Cert: file, Key: c.c.TLS.Key[i]}) // config has counted them
	}
	return certs.New(o)
}

// acme says how certificates are got, nil when they are not.
func (c *Config) acme() (*ACME, error) {
	a := &c.c.ACME
	if !a.AgreeTerms {
		return nil, nil
	}
	may := func(challenge string) bool { return len(a.Challenges) == 0 || slices.Contains(a.Challenges, challenge) }
	offers := func(k config.Kind) bool {
		return slices.ContainsFunc(c.c.Listeners, func(l config.Listener) bool { return l.Kind == k })
	}
	out := &ACME{
		Directories: []string{a.Directory}, Email: a.Email, EAB: map[string]certs.EAB{}, Names: a.Names, DNSWait: a.DNSWait,
		HTTP01: may("http-01") && offers(config.HTTP), TLSALPN01: may("tls-alpn-01") && offers(config.HTTPS),
	}
	if a.Fallback != "" {
		out.Directories = append(out.Directories, a.Fallback)
	}
	for directory, eab := range map[string]string{a.Directory: a.EAB, a.Fallback: a.FallbackEAB} {
		if id, key, ok := strings.Cut(eab, ":"); ok {
			out.EAB[directory] = certs.EAB{ID: id, Key: key}
		}
	}
	var err error
	if a.CARoot != "" {
		if out.Roots, err = certs.Pool(readFile, a.CARoot); err != nil {
			return nil, err
		}
	}
	if a.DNSServer != "" && may("dns-01") {
		u := &dns.Updater{Server: netip.MustParseAddrPort(a.DNSServer)} // config has parsed it
		if u.Key, err = dns.ParseTSIG(a.DNSKey); err != nil {
			return nil, err
		}
		out.DNS01 = u
	}
	return out, nil
}

// openACME shows the certificates that were got before; [certs.ACME.Run] gets more.
func (s *Stores) openACME(o *StoreOptions) error {
	if o.Certs == nil || o.ACME == nil {
		return nil
	}
	a := o.ACME
	var err error
	s.ACME, err = certs.NewACME(context.Background(), certs.ACMEOptions{
		Source: o.Certs, Store: certStore{s.DB}, Directories: a.Directories, Email: a.Email, EAB: a.EAB, Roots: a.Roots,
		Names:  func(ctx context.Context) ([]string, error) { return s.certificateNames(ctx, o.Hostname, a.Names) },
		HTTP01: a.HTTP01, TLSALPN01: a.TLSALPN01, DNS01: a.DNS01, DNSWait: a.DNSWait, DNS: s.Resolver, Dial: a.Dial, Holder: o.Hostname, Logger: o.Logger,
	})
	return err
}

// certificateNames are the names that shall have a certificate.
func (s *Stores) certificateNames(ctx context.Context, hostname string, more []string) ([]string, error) {
	domains, err := s.Directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	names := append([]string{hostname}, more...)
	for _, d := range domains {
		if d.STSPolicy(hostname) != "" {
			names = append(names, d.STSHost())
		}
	}
	return names, nil
}

// certStore keeps what certs must not lose below "Mc".
type certStore struct{ db kv.DB }

func certKey(key string) []byte { return append([]byte("Mc"), key...) }

// Get implements certs.Store.
func (s certStore) Get(ctx context.Context, key string) (value []byte, err error) {
	err = s.db.View(ctx, []kv.Scope{certScope(key)}, func(r kv.Reader) error {
		v, ok, err := r.Get(certKey(key))
		if value = nil; ok {
			value = slices.Clone(v)
		}
		return err
	})
	return value, err
}

func certScope(key string) kv.Scope { return kv.Scope("Mc/" + key) }

// Update implements certs.Store.
func (s certStore) Update(ctx context.Context, key string, fn func([]byte) ([]byte, error)) error {
	return s.db.Update(ctx, []kv.Scope{certScope(key)}, func(tx kv.Tx) error {
		old, _, err := tx.Get(certKey(key))
		if err != nil {
			return err
		}
		next, err := fn(old)
		switch {
		case err != nil:
			return err
		case next == nil:
			return tx.Delete(certKey(key))
		}
		return tx.Set(certKey(key), next)
	})
}

// Keys implements certs.Store.
func (s certStore) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = s.db.View(ctx, nil, func(r kv.Reader) error {
		keys = nil
		return r.Scan(kv.Prefix(certKey(prefix)), func(k, _ []byte) bool {
			keys = append(keys, string(k[len(certKey("")):]))
			return true
		})
	})
	return keys, err
}

// lookAfterCertificates makes key changes wait for TLSA records at our ports, tells
// when certificates end, and gets new ones.
func (n *Node) lookAfterCertificates(ctx context.Context) {
	var ports []uint16
	for _, l := range n.bound {
		if l.Service == HTTP || l.Service == HTTPS || l.Service == Metrics || l.Clear {
			continue
		}
		if _, port, err := net.SplitHostPort(l.Address); err == nil {
			if p, err := strconv.ParseUint(port, 10, 16); err == nil {
				ports = append(ports, uint16(p))
			}
		}
	}
	n.Certs.Watch(n.Resolver, ports)
	n.background(ctx, "certificates", n.Certs.Run)
	if n.ACME == nil {
		return
	}
	n.background(ctx, "ACME", n.ACME.Run)
	n.background(ctx, "names of certificates", func(ctx context.Context) error {
		changed, stop := n.Directory.WatchDomains()
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
				n.ACME.Wake()
			}
		}
	})
}

// web makes a server for http or https.
func (n *Node) web(l Listener, ln net.Listener) server {
	o := httpd.Options{Policy: n.policy, Challenge: n.Certs.Challenge, Logger: n.opts.Logger, Metrics: n.opts.Stores.Metrics}
	if l.Service == HTTPS {
		o.TLS = n.Certs.Config(certs.Service{ALPN: []string{"http/1.1"}, Challenges: true})
	}
	s := httpd.New(o)
	return server{serve: func() error { return s.Serve(ln) }, shutdown: func(ctx context.Context) error { ln.Close(); return s.Shutdown(ctx) }}
}

// policy is the MTA-STS policy of a domain.
func (n *Node) policy(ctx context.Context, domain string) (string, error) {
	d, err := n.Directory.Domain(ctx, domain)
	if err != nil {
		return "", err
	}
	text := d.STSPolicy(n.opts.Hostname)
	if text == "" {
		return "", postino.E(postino.NotFound, "find MTA-STS policy", domain, errors.New("the domain has none"))
	}
	return text, nil
}
