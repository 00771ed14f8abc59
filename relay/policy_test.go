package relay

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/tlspolicy"
)

// shelf is a tlspolicy.Cache.
type shelf struct {
	mu   sync.Mutex
	rows map[string][]byte
	err  error
}

func (s *shelf) Get(_ context.Context, domain string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[domain], s.err
}

func (s *shelf) Put(_ context.Context, domain string, row []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[domain] = row
	return s.err
}

func (s *shelf) Delete(_ context.Context, domain string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, domain)
	return s.err
}

func (s *shelf) Each(_ context.Context, fn func(string, []byte) bool) error {
	s.mu.Lock()
	rows := maps.Clone(s.rows)
	s.mu.Unlock()
	for domain, row := range rows {
		if !fn(domain, row) {
			break
		}
	}
	return s.err
}

// pile is a Reports.
type pile struct {
	mu   sync.Mutex
	list []reports.TLSOutcome
}

func (p *pile) TLS(o reports.TLSOutcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, o)
}

// words tells of the reports since last time: "tlsa mx.b.example success".
func (p *pile) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, o := range p.list {
		result := o.Result
		if result == "" {
			result = "success"
		}
		all = append(all, o.Policy.Type+" "+o.MXHost+" "+result)
	}
	p.list = nil
	return strings.Join(all, ", ")
}

// policies gives a relay the real thing, over the network of its world.
func policies(t testing.TB) func(*Options) {
	return func(o *Options) {
		dial := o.Dial
		client := fetch.New(fetch.Options{DNS: o.DNS, Roots: o.Roots, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address, netip.Addr{})
		}})
		p, err := tlspolicy.New(tlspolicy.Options{DNS: o.DNS, Fetch: client, Cache: &shelf{rows: map[string][]byte{}}})
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = p
	}
}

// publish serves an MTA-STS policy, "MODE PATTERN", for a domain, and returns what
// its zone must hold; "lost" has a record and no server.
func (w *world) publish(ca *authority, domain, policy string) (zone string) {
	w.Helper()
	mode, pattern, _ := strings.Cut(policy, " ")
	if mode != "lost" {
		l, err := w.net.Listen("tcp", "192.0.2.80:443")
		if err != nil {
			w.Fatal(err)
		}
		s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(rw, "version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 86400\r\n", mode, pattern)
		})}
		w.serving.Go(func() {
			s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*ca.issue(w, "mta-sts."+domain)}}))
		})
		w.closers = append(w.closers, func() { s.Close() })
	}
	return "_mta-sts TXT \"v=STSv1; id=1;\"\nmta-sts A 192.0.2.80\n"
}

// tlsa writes the record for a certificate; usage 2 is for the authority.
func tlsa(cert []byte, usage int) string {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("TLSA %d 1 1 %X", usage, sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// Each row of the decision table meets servers that keep to it and servers that do
// not: what becomes of the mail, what reports say, and what the story says (TL3).
func TestPolicies(t *testing.T) {
	ca := newAuthority(t)
	good, other := ca.issue(t, "mx.b.example"), ca.issue(t, "mx.other.example")
	old := ca.issueUntil(t, time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), "mx.b.example")
	stranger := newAuthority(t)
	foreign := stranger.issue(t, "mx.b.example")
	chain := *other
	chain.Certificate = append(slices.Clone(other.Certificate), ca.cert.Raw)
	full := *good
	full.Certificate = append(slices.Clone(good.Certificate), ca.cert.Raw)
	const zone = "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx "
	ee := zone + tlsa(good.Certificate[0], 3) + "\n"
	plain := "@ MX 10 mx\nmx A 192.0.2.10\n"
	for _, tc := range []struct {
		name     string
		zone     string
		security dns.Security
		sts      string
		server   *server
		result   queue.Result
		reply    string
		report   string
		story    string
	}{
		{"DANE, right", ee, dns.Secure, "", &server{cert: good}, queue.Relayed, "250", "tlsa mx.b.example success", "TLS 1.3, DANE: certificate matches TLSA 3 1 1 "},
		{"DANE, expired", zone + tlsa(old.Certificate[0], 3), dns.Secure, "", &server{cert: old}, queue.Relayed, "250", "tlsa mx.b.example success", "TLS 1.3, DANE: "},
		{"DANE, other key", ee, dns.Secure, "", &server{cert: foreign}, queue.Deferred, "4.7.5 DANE requires TLS that mx.b.example does not give: no TLSA record matches the certificate",
			"tlsa mx.b.example certificate-host-mismatch", ""},
		{"DANE, STARTTLS stripped", ee, dns.Secure, "", &server{}, queue.Deferred, "4.7.5 DANE requires TLS that mx.b.example does not give: it does not offer STARTTLS",
			"tlsa mx.b.example starttls-not-supported", ""},
		{"DANE, broken handshake", ee, dns.Secure, "", &server{cert: good, garble: true}, queue.Deferred, "4.7.5 DANE requires ", "tlsa mx.b.example validation-failure", ""},
		{"DANE, STARTTLS refused", ee, dns.Secure, "", &server{cert: good, replies: map[string]string{"starttls": "454 4.7.0 not now"}}, queue.Deferred,
			"4.7.5 DANE requires TLS that mx.b.example does not give: 454 4.7.0 not now", "tlsa mx.b.example validation-failure", ""},
		{"DANE of an authority", zone + tlsa(ca.cert.Raw, 2), dns.Secure, "", &server{cert: &full}, queue.Relayed, "250", "tlsa mx.b.example success", "TLS 1.3, DANE: certificate matches TLSA 2 1 1 "},
		{"DANE of an authority, other name", zone + tlsa(ca.cert.Raw, 2), dns.Secure, "", &server{cert: &chain}, queue.Deferred, "4.7.5 DANE requires ",
			"tlsa mx.b.example certificate-host-mismatch", ""},
		{"DANE, unusable", zone + "TLSA 1 1 1 " + strings.Repeat("00", 32), dns.Secure, "", &server{cert: foreign}, queue.Relayed, "250", "tlsa mx.b.example tlsa-invalid",
			"TLS 1.3, DANE without a usable TLSA record: x509: "},
		{"DANE, unusable and stripped", zone + "TLSA 1 1 1 " + strings.Repeat("00", 32), dns.Secure, "", &server{}, queue.Deferred, "4.7.5 DANE requires ",
			"tlsa mx.b.example starttls-not-supported", ""},
		{"unsigned TLSA", ee, dns.Insecure, "", &server{cert: foreign}, queue.Relayed, "250", "no-policy-found mx.b.example success", "TLS 1.3"},
		{"unjudged TLSA", ee, dns.Unknown, "", &server{}, queue.Relayed, "250", "no-policy-found mx.b.example starttls-not-supported", "in clear"},
		{"signed, no TLSA", plain, dns.Secure, "", &server{}, queue.Relayed, "250", "no-policy-found mx.b.example starttls-not-supported", "in clear"},
		{"no policy, broken handshake", plain, dns.Secure, "", &server{cert: good, garble: true}, queue.Relayed, "250", "no-policy-found mx.b.example validation-failure", "in clear"},
		{"DANE right, MTA-STS wrong", ee, dns.Secure, "enforce other.example", &server{cert: good}, queue.Relayed, "250", "tlsa mx.b.example success", "TLS 1.3, DANE: "},
		{"DANE wrong, MTA-STS right", zone + tlsa(foreign.Certificate[0], 3), dns.Secure, "enforce mx.b.example", &server{cert: good}, queue.Deferred, "4.7.5 DANE requires ",
			"tlsa mx.b.example certificate-host-mismatch", ""}, // RFC 8461 §2
		{"DANE unusable, MTA-STS wrong certificate", zone + "TLSA 0 0 1 " + strings.Repeat("00", 32), dns.Secure, "enforce mx.b.example", &server{cert: foreign}, queue.Deferred,
			"4.7.5 MTA-STS requires ", "sts mx.b.example certificate-not-trusted", ""},
		{"enforce, right", plain, dns.Insecure, "enforce mx.b.example", &server{cert: good}, queue.Relayed, "250", "sts mx.b.example success",
			"TLS 1.3, MTA-STS enforce: certificate valid for mx.b.example"},
		{"enforce, other host", plain, dns.Insecure, "enforce other.example", &server{cert: good}, queue.Deferred,
			"4.7.5 mx.b.example is none of the hosts of the MTA-STS policy of b.example (enforce, id 1: other.example)", "sts mx.b.example certificate-host-mismatch", ""},
		{"enforce, other name", plain, dns.Insecure, "enforce mx.b.example", &server{cert: other}, queue.Deferred, "4.7.5 MTA-STS requires TLS that mx.b.example does not give: x509: certificate is valid for mx.other.example",
			"sts mx.b.example certificate-host-mismatch", ""},
		{"enforce, expired", plain, dns.Insecure, "enforce mx.b.example", &server{cert: old}, queue.Deferred, "4.7.5 MTA-STS requires ", "sts mx.b.example certificate-expired", ""},
		{"enforce, unknown authority", plain, dns.Insecure, "enforce mx.b.example", &server{cert: foreign}, queue.Deferred, "4.7.5 MTA-STS requires ", "sts mx.b.example certificate-not-trusted", ""},
		{"enforce, stripped", plain, dns.Insecure, "enforce mx.b.example", &server{}, queue.Deferred, "4.7.5 MTA-STS requires TLS that mx.b.example does not give: it does not offer STARTTLS",
			"sts mx.b.example starttls-not-supported", ""},
		{"enforce, broken handshake", plain, dns.Insecure, "enforce mx.b.example", &server{cert: good, garble: true}, queue.Deferred, "4.7.5 MTA-STS requires ", "sts mx.b.example validation-failure", ""},
		{"testing, right", plain, dns.Insecure, "testing mx.b.example", &server{cert: good}, queue.Relayed, "250", "sts mx.b.example success",
			"TLS 1.3, MTA-STS testing: certificate valid for mx.b.example"},
		{"testing, other host", plain, dns.Insecure, "testing other.example", &server{cert: good}, queue.Relayed, "250", "sts mx.b.example certificate-host-mismatch", "TLS 1.3, MTA-STS testing: "},
		{"testing, other name", plain, dns.Insecure, "testing mx.b.example", &server{cert: other}, queue.Relayed, "250", "sts mx.b.example certificate-host-mismatch",
			"TLS 1.3, MTA-STS testing: x509: certificate is valid for mx.other.example, not mx.b.example"},
		{"testing, expired", plain, dns.Insecure, "testing mx.b.example", &server{cert: old}, queue.Relayed, "250", "sts mx.b.example certificate-expired", "TLS 1.3, MTA-STS testing: x509: "},
		{"testing, unknown authority", plain, dns.Insecure, "testing mx.b.example", &server{cert: foreign}, queue.Relayed, "250", "sts mx.b.example certificate-not-trusted", "TLS 1.3, MTA-STS testing: "},
		{"testing, stripped", plain, dns.Insecure, "testing mx.b.example", &server{}, queue.Relayed, "250", "sts mx.b.example starttls-not-supported", "in clear, MTA-STS testing: it does not offer STARTTLS"},
		{"testing, broken handshake", plain, dns.Insecure, "testing mx.b.example", &server{cert: good, garble: true}, queue.Relayed, "250", "sts mx.b.example validation-failure", "in clear, MTA-STS testing: "},
		{"none", plain, dns.Insecure, "none mx.other.example", &server{}, queue.Relayed, "250", "no-policy-found mx.b.example starttls-not-supported", "in clear"},
		{"policy lost", plain, dns.Insecure, "lost", &server{cert: foreign}, queue.Relayed, "250", "sts mx.b.example sts-policy-fetch-error", "TLS 1.3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := &pile{}
			var policy Policies
			bubble(t, func(o *Options) { o.Roots, o.Reports = ca.pool(), told; policies(t)(o); policy = o.Policies }, func(w *world) {
				text := tc.zone + "\n"
				if tc.sts != "" {
					text += w.publish(ca, "b.example", tc.sts)
				}
				w.zone("b.example", text, tc.security)
				w.listen(tc.server, "192.0.2.10:25")
				if policy == nil {
					t.Fatal("no policies")
				}
				o := w.one("bob@b.example", tc.result, tc.reply)
				if got := told.words(); got != tc.report {
					t.Errorf("reports: %s; want %s", got, tc.report)
				}
				if _, how, _ := strings.Cut(o.where, "), "); !strings.HasPrefix(how, tc.story) || (how == "") != (tc.result != queue.Relayed) {
					t.Errorf("story: %q; want %q", o.where, tc.story)
				}
				if n := len(tc.server.taken()); (n == 1) != (tc.result == queue.Relayed) {
					t.Errorf("%d messages", n)
				}
				// TLS-Required: No goes in spite of all, and is no measure (RFC 8689 §4.2.2).
				w.oneItem(func(it *queue.Item) { it.TLSOptional = true }, "bob@b.example", queue.Relayed, "250")
				if got := told.words(); got != "" {
					t.Errorf("reports for TLS-Required: No: %s", got)
				}
			})
		})
	}
}

// What is bogus or gives no answer makes mail wait, and never go with less (TL3,
// DN2, RFC 7672 §2.1.2). The next host is asked.
func TestBogus(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, "mx.b.example", "two.b.example")
	zone := "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx " + tlsa(good.Certificate[0], 3) + "\n"
	for _, kind := range []dns.FaultKind{dns.FaultBogus, dns.FaultServFail, dns.FaultRefused, dns.FaultSilent} {
		for name, at := range map[string]dns.Type{"b.example": dns.TypeMX, "mx.b.example": dns.TypeA, "_25._tcp.mx.b.example": dns.TypeTLSA} {
			told := &pile{}
			bubble(t, func(o *Options) { o.Roots, o.Reports = ca.pool(), told; policies(t)(o) }, func(w *world) {
				w.zone("b.example", zone, dns.Secure)
				s := w.listen(&server{cert: good}, "192.0.2.10:25")
				if at == dns.TypeA {
					w.dns.SetFault(name, dns.TypeAAAA, dns.Fault{Kind: kind})
				}
				w.dns.SetFault(name, at, dns.Fault{Kind: kind})
				reply := "4.4.3 "
				if at == dns.TypeTLSA && kind == dns.FaultSilent { // this resolver waits as long as the attempt
					reply = "4.7.5 what TLS b.example wants of mx.b.example cannot be found out"
				} else if at == dns.TypeTLSA {
					reply = "4.7.5 the TLSA records of mx.b.example cannot be looked up"
				}
				w.one("bob@b.example", queue.Deferred, reply)
				if len(s.taken()) != 0 || s.count() != 0 {
					t.Errorf("%s: %d connections", name, s.count())
				}
				if got := told.words(); at == dns.TypeTLSA && kind != dns.FaultSilent && got != "tlsa mx.b.example dnssec-invalid" {
					t.Errorf("reports: %q", got)
				}
				w.dns.SetFault(name, 0, dns.Fault{})
			})
		}
	}
	// So does a bogus answer whether there is a policy of MTA-STS; none at all is no
	// reason to wait (RFC 8461 §3.3).
	bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
		w.zone("b.example", "@ MX 10 mx\nmx A 192.0.2.10\n", dns.Secure)
		w.listen(&server{}, "192.0.2.10:25")
		w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultBogus})
		w.one("bob@b.example", queue.Deferred, "4.7.5 whether b.example has an MTA-STS policy cannot be known: ")
		w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultServFail})
		w.one("bob@b.example", queue.Relayed, "250")
	})
	bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
		w.zone("b.example", zone+"@ MX 20 two\ntwo A 192.0.2.11\n", dns.Secure)
		w.dns.SetFault("_25._tcp.mx.b.example", 0, dns.Fault{Kind: dns.FaultBogus})
		first, second := w.listen(&server{cert: good}, "192.0.2.10:25"), w.listen(&server{}, "192.0.2.11:25")
		w.one("bob@b.example", queue.Relayed, "250")
		if first.count() != 0 || len(second.taken()) != 1 {
			t.Error("not to the next host")
		}
	})
}

// RFC 7672 §2.2.2, §2.2.3: which name the TLSA records are at.
func TestTLSABase(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, "anything.example")
	record := tlsa(good.Certificate[0], 3) + "\n"
	wrong := "TLSA 3 1 1 " + strings.Repeat("00", 32) + "\n"
	for _, tc := range []struct {
		name   string
		zones  map[string]string // text by origin; "!" before it: not signed
		result queue.Result
		sni    string
	}{
		{"host", map[string]string{"b.example": "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx " + record}, queue.Relayed, "mx.b.example"},
		{"alias, at its end", map[string]string{"b.example": "@ MX 10 mx\nmx CNAME mail.c.example.\n_25._tcp.mx " + wrong,
			"c.example": "mail A 192.0.2.10\n_25._tcp.mail " + record}, queue.Relayed, "mail.c.example"},
		{"alias, at its beginning", map[string]string{"b.example": "@ MX 10 mx\nmx CNAME mail.c.example.\n_25._tcp.mx " + record,
			"c.example": "mail A 192.0.2.10\n"}, queue.Relayed, "mx.b.example"},
		{"alias out of signed zones", map[string]string{"b.example": "@ MX 10 mx\nmx CNAME mail.c.example.\n_25._tcp.mx " + record,
			"c.example": "!mail A 192.0.2.10\n_25._tcp.mail " + wrong}, queue.Relayed, "mx.b.example"},
		{"alias out of signed zones, wrong", map[string]string{"b.example": "@ MX 10 mx\nmx CNAME mail.c.example.\n_25._tcp.mx " + wrong,
			"c.example": "!mail A 192.0.2.10\n"}, queue.Deferred, ""},
		{"alias in unsigned zones", map[string]string{"b.example": "@ MX 10 mx.d.example.\n", "d.example": "!mx CNAME mail.c.example.\n_25._tcp.mx " + wrong,
			"c.example": "mail A 192.0.2.10\n_25._tcp.mail " + wrong}, queue.Relayed, "mx.d.example"},
		{"alias of the records", map[string]string{"b.example": "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx CNAME dane\ndane " + record}, queue.Relayed, "mx.b.example"},
		{"implicit exchanger", map[string]string{"b.example": "@ A 192.0.2.10\n_25._tcp " + wrong}, queue.Deferred, ""},
		{"unsigned exchangers", map[string]string{"b.example": "!@ MX 10 mx.c.example.\n", "c.example": "mx A 192.0.2.10\n_25._tcp.mx " + wrong}, queue.Relayed, "mx.c.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
				for origin, text := range tc.zones {
					text, unsigned := strings.CutPrefix(text, "!")
					security := dns.Secure
					if unsigned {
						security = dns.Insecure
					}
					w.zone(origin, text, security)
				}
				s := w.listen(&server{cert: good}, "192.0.2.10:25")
				w.one("bob@b.example", tc.result, "")
				if tc.result == queue.Relayed && s.serverName() != tc.sni {
					t.Errorf("the client asked for %q", s.serverName())
				}
			})
		})
	}
}

// A smart host has a policy of its own (RFC 8461 §3.4, RFC 7672 §2.2.2), which
// networks of our own do not.
func TestPolicyOfRoute(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "smart.example")
	for _, tc := range []struct {
		name   string
		route  directory.Route
		zone   string
		result queue.Result
	}{
		{"TLSA of its port", directory.Route{Hosts: []string{"smart.example:587"}}, "@ A 192.0.2.20\n_587._tcp TLSA 3 1 1 " + strings.Repeat("00", 32), queue.Deferred},
		{"TLSA of another port", directory.Route{Hosts: []string{"smart.example:587"}}, "@ A 192.0.2.20\n_25._tcp TLSA 3 1 1 " + strings.Repeat("00", 32), queue.Relayed},
		{"right TLSA", directory.Route{Hosts: []string{"smart.example:587"}, TLS: directory.TLSVerified}, "@ A 192.0.2.20\n_587._tcp " + tlsa(cert.Certificate[0], 3), queue.Relayed},
		{"private", directory.Route{Hosts: []string{"smart.example:587"}, Private: true}, "@ A 192.0.2.20\n_587._tcp TLSA 3 1 1 " + strings.Repeat("00", 32), queue.Relayed},
		{"switched off", directory.Route{Hosts: []string{"smart.example:587"}, TLS: directory.TLSNone}, "@ A 192.0.2.20\n_587._tcp TLSA 3 1 1 " + strings.Repeat("00", 32), queue.Relayed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
				w.zone("smart.example", tc.zone, dns.Secure)
				w.listen(&server{cert: cert}, "192.0.2.20:587")
				tc.route.Name, tc.route.Domain, tc.route.Action = "up", "*", directory.Smarthost
				w.routes.routes = []*directory.Route{&tc.route}
				w.one("bob@b.example", tc.result, "")
			})
		})
	}
}

// A connection that was made when the destination asked for less is not used any
// more when it asks for what the connection has not, and is used when it has it.
func TestReuseUnderPolicy(t *testing.T) {
	ca := newAuthority(t)
	good, foreign := ca.issue(t, "mx.b.example"), newAuthority(t).issue(t, "mx.b.example")
	const plain = "@ MX 10 mx\nmx A 192.0.2.10\n"
	for _, tc := range []struct {
		name        string
		server      *server
		before      string // zone
		after       string
		result      queue.Result
		connections int
	}{
		{"nothing new", &server{cert: good}, plain, plain, queue.Relayed, 1},
		{"DANE, same key", &server{cert: good}, plain, plain + "_25._tcp.mx " + tlsa(good.Certificate[0], 3), queue.Relayed, 1},
		{"DANE, other key", &server{cert: good}, plain, plain + "_25._tcp.mx " + tlsa(foreign.Certificate[0], 3), queue.Deferred, 2},
		{"DANE, in clear", &server{}, plain, plain + "_25._tcp.mx " + tlsa(good.Certificate[0], 3), queue.Deferred, 2},
		{"DANE, records changed", &server{cert: good}, plain + "_25._tcp.mx " + tlsa(good.Certificate[0], 3), plain + "_25._tcp.mx " + tlsa(foreign.Certificate[0], 3), queue.Deferred, 2},
		{"DANE gone", &server{cert: good}, plain + "_25._tcp.mx " + tlsa(good.Certificate[0], 3), plain, queue.Relayed, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
				w.zone("b.example", tc.before, dns.Secure)
				s := w.listen(tc.server, "192.0.2.10:25")
				w.one("bob@b.example", queue.Relayed, "250")
				w.zone("b.example", tc.after, dns.Secure)
				w.one("bob@b.example", tc.result, "")
				if s.count() != tc.connections {
					t.Errorf("%d connections, want %d", s.count(), tc.connections)
				}
			})
		})
	}
	// An MTA-STS policy appears, and its server is proven.
	bubble(t, func(o *Options) { o.Roots = ca.pool(); policies(t)(o) }, func(w *world) {
		w.zone("b.example", plain, dns.Insecure)
		s := w.listen(&server{}, "192.0.2.10:25")
		w.one("bob@b.example", queue.Relayed, "250")
		w.zone("b.example", plain+w.publish(ca, "b.example", "enforce mx.b.example"), dns.Insecure)
		w.one("bob@b.example", queue.Deferred, "4.7.5 MTA-STS requires")
		if s.total() != 1 {
			t.Error("an enforced policy was not heard")
		}
		synctest.Wait()
	})
}

// A store that cannot tell the policies makes mail wait.
func TestPolicyStoreFails(t *testing.T) {
	bubble(t, func(o *Options) {
		client := fetch.New(fetch.Options{DNS: o.DNS})
		p, err := tlspolicy.New(tlspolicy.Options{DNS: o.DNS, Fetch: client, Cache: &shelf{err: errors.New("no such luck")}})
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = p
	}, func(w *world) {
		s := w.simple("b.example", "192.0.2.10", &server{})
		w.one("bob@b.example", queue.Deferred, "4.7.5 what TLS b.example wants of mx.b.example cannot be found out: no such luck")
		if s.count() != 0 {
			t.Error("it was connected to")
		}
	})
}
