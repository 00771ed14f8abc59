package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/test/memnet"
)

// shelf is a Cache in memory.
type shelf struct {
	mu   sync.Mutex
	rows map[string][]byte
	err  error // of Get
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
	return nil
}

func (s *shelf) Delete(_ context.Context, domain string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, domain)
	return nil
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
	return nil
}

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

// world is a domain b.example with a web server for its policy.
type world struct {
	*testing.T
	net      *memnet.Network
	dns      *dns.Fake
	shelf    *shelf
	policies *Policies

	mu     sync.Mutex
	status int
	media  string
	text   string
	asked  int
	slow   chan struct{} // when not nil, the server waits for it
}

// bubble runs fn in a synctest bubble with a new world, in which the policy is good.
func bubble(t *testing.T, change func(*Options), fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, net: memnet.New(), dns: dns.NewFake(), shelf: &shelf{rows: map[string][]byte{}}, status: 200, media: "text/plain", text: good}
		root := issue(t, nil, time.Now().Add(365*24*time.Hour), nil)
		roots := x509.NewCertPool()
		roots.AddCert(root.cert)
		opts := Options{DNS: w.dns, Cache: w.shelf, Fetch: fetch.New(fetch.Options{DNS: w.dns, Roots: roots, Dial: w.net.Dial})}
		if change != nil {
			change(&opts)
		}
		var err error
		if w.policies, err = New(opts); err != nil {
			t.Fatal(err)
		}
		w.zone("v=STSv1; id=1;")
		l, err := w.net.Listen("tcp", "192.0.2.80:443")
		if err != nil {
			t.Fatal(err)
		}
		leaf := issue(t, root, time.Now().Add(365*24*time.Hour), nil, "mta-sts.b.example")
		s := &http.Server{Handler: w, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan struct{})
		go func() {
			s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}}}))
			close(done)
		}()
		fn(w)
		s.Close()
		<-done
	})
}

// zone sets the record of the domain; empty takes it away.
func (w *world) zone(record string) {
	text := "@ MX 10 mx\nmx A 192.0.2.10\nmta-sts A 192.0.2.80\n"
	if record != "" {
		text += "_mta-sts TXT \"" + record + "\"\n"
	}
	if err := w.dns.AddZone("b.example", text, dns.Insecure); err != nil {
		w.Fatal(err)
	}
}

// ServeHTTP serves the policy.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked++
	status, media, text, slow := w.status, w.media, w.text, w.slow
	w.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-r.Context().Done():
		}
	}
	if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.b.example" {
		w.Errorf("asked for %s of %s", r.URL.Path, r.Host)
	}
	rw.Header().Set("Content-Type", media)
	if status/100 == 3 {
		rw.Header().Set("Location", "https://mta-sts.b.example/.well-known/mta-sts.txt")
	}
	rw.WriteHeader(status)
	io.WriteString(rw, text)
}

// serve changes what the web server says.
func (w *world) serve(status int, media, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status, w.media, w.text = status, media, text
}

// fetches is how often the policy was asked for since last time.
func (w *world) fetches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.asked = 0 }()
	return w.asked
}

// find looks for the policy of a host of the domain.
func (w *world) find(host string) *Findings {
	w.Helper()
	f, err := w.policies.Find(w.Context(), Question{Domain: "b.example", Host: host, Port: 25})
	if err != nil {
		w.Fatal(err)
	}
	return f
}

// expect looks for it and compares.
func (w *world) expect(host string, want STS, fetches int) {
	w.Helper()
	f := w.find(host)
	if n := w.fetches(); f.facts.STS != want || n != fetches {
		w.Errorf("%s: %s (%d), %d fetches; want %d, %d", host, f.Basis(), f.facts.STS, n, want, fetches)
	}
}

func policy(mode string, age int, mx ...string) string {
	s := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", mode, age)
	for _, m := range mx {
		s += "mx: " + m + "\n"
	}
	return s
}

// A policy is fetched once, and again when its id changes.
func TestFetchAndKeep(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.expect("mx.b.example", EnforceIn, 1)
		w.expect("a.c.example", EnforceIn, 0)
		w.expect("mx.evil.example", EnforceOut, 0)
		w.serve(200, "text/plain; charset=utf-8", policy("testing", 86400, "mx.b.example"))
		w.expect("mx.evil.example", EnforceOut, 0)
		w.zone("v=STSv1; id=2;")
		w.expect("mx.b.example", TestingIn, 1)
		w.expect("mx.evil.example", TestingOut, 0)
		w.serve(200, "text/plain", policy("none", 86400))
		w.zone("v=STSv1; id=3;")
		w.expect("mx.evil.example", NoSTS, 1)
		w.expect("mx.evil.example", NoSTS, 0)
	})
}

// TL5: a cached policy outlives the loss of its record and of its web server, until
// it ends; a newer one that cannot be had does not replace it.
func TestCacheOutlives(t *testing.T) {
	for name, lose := range map[string]func(w *world){
		"no record":      func(w *world) { w.zone("") },
		"two records":    func(w *world) { w.zone("v=STSv1; id=1;\"\n_mta-sts TXT \"v=STSv1; id=2;") },
		"invalid record": func(w *world) { w.zone("v=STSv1; id=what?") },
		"no DNS":         func(w *world) { w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultServFail}) },
		"bogus DNS":      func(w *world) { w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultBogus}) },
		"new id, no server": func(w *world) {
			w.zone("v=STSv1; id=2;")
			w.net.SetFault(netip.MustParseAddr("192.0.2.80"), memnet.Fault{Unreachable: true})
		},
		"new id, broken":   func(w *world) { w.zone("v=STSv1; id=2;"); w.serve(200, "text/plain", "what?") },
		"new id, gone":     func(w *world) { w.zone("v=STSv1; id=2;"); w.serve(404, "text/plain", "") },
		"new id, redirect": func(w *world) { w.zone("v=STSv1; id=2;"); w.serve(302, "text/plain", good) },
		"new id, HTML":     func(w *world) { w.zone("v=STSv1; id=2;"); w.serve(200, "text/html", good) },
		"new id, no host name": func(w *world) {
			w.zone("v=STSv1; id=2;")
			w.dns.SetFault("mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultServFail})
		},
	} {
		bubble(t, nil, func(w *world) {
			w.expect("mx.evil.example", EnforceOut, 1)
			lose(w)
			for range 3 {
				if f := w.find("mx.evil.example"); f.facts.STS != EnforceOut {
					t.Errorf("%s: %s", name, f.Basis())
				}
			}
			time.Sleep(7*24*time.Hour - time.Minute)
			if f := w.find("mx.evil.example"); f.facts.STS != EnforceOut {
				t.Errorf("%s, a week later: %s", name, f.Basis())
			}
			time.Sleep(2 * time.Minute) // max_age is over
			if f := w.find("mx.evil.example"); f.facts.STS == EnforceOut {
				t.Errorf("%s: it holds for ever", name)
			}
		})
	}
}

// What is wrong with a policy that was never had is told, and asked again after
// five minutes only (RFC 8461 §3.3).
func TestNeverHad(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world)
		fact   STS
		result Result
	}{
		"no record":      {func(w *world) { w.zone("") }, NoSTS, Success},
		"invalid record": {func(w *world) { w.zone("v=STSv1; id=") }, NoSTS, Success},
		"no DNS":         {func(w *world) { w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultServFail}) }, STSUnknown, Success},
		"bogus DNS":      {func(w *world) { w.dns.SetFault("_mta-sts.b.example", 0, dns.Fault{Kind: dns.FaultBogus}) }, STSBogus, STSFetchError},
		"unreachable":    {func(w *world) { w.net.SetFault(netip.MustParseAddr("192.0.2.80"), memnet.Fault{Unreachable: true}) }, STSLost, STSFetchError},
		"silent":         {func(w *world) { w.net.SetFault(netip.MustParseAddr("192.0.2.80"), memnet.Fault{Silent: true}) }, STSLost, STSFetchError},
		"404":            {func(w *world) { w.serve(404, "text/plain", good) }, STSLost, STSFetchError},
		"redirect":       {func(w *world) { w.serve(301, "text/plain", good) }, STSLost, STSFetchError},
		"HTML":           {func(w *world) { w.serve(200, "text/html", good) }, STSLost, STSInvalid},
		"invalid":        {func(w *world) { w.serve(200, "text/plain", "version: STSv1\n") }, STSLost, STSInvalid},
		"too large":      {func(w *world) { w.serve(200, "text/plain", good+"x: "+strings.Repeat("y", maxPolicy)) }, STSLost, STSInvalid},
		"certificate": {func(w *world) {
			w.dns.AddZone("b.example", "_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts CNAME www.c.example.\n", dns.Insecure)
			w.rename()
		}, STSLost, STSWebPKIInvalid},
		"private address": {func(w *world) {
			w.dns.AddZone("b.example", "_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 127.0.0.1\n", dns.Insecure)
		}, STSLost, STSFetchError},
		"no name of a host": {func(w *world) { w.dns.AddZone("b.example", "_mta-sts TXT \"v=STSv1; id=1\"\n", dns.Insecure) }, STSLost, STSFetchError},
	} {
		bubble(t, nil, func(w *world) {
			tc.change(w)
			f := w.find("mx.b.example")
			if f.facts.STS != tc.fact || f.sts.result != tc.result {
				t.Errorf("%s: %s (%d, %q)", name, f.Basis(), f.facts.STS, f.sts.result)
			}
			d := f.Decide(Opportunistic, NoWish)
			if d.Level != Opportunistic || (d.Refuse == DNSFailed) != (tc.fact == STSBogus) || d.Problem != tc.result {
				t.Errorf("%s: %+v", name, d)
			}
			if tc.fact != STSLost {
				return
			}
			w.fetches()
			w.serve(200, "text/plain", good)
			w.net.SetFault(netip.MustParseAddr("192.0.2.80"), memnet.Fault{})
			w.find("mx.b.example")
			if n := w.fetches(); n != 0 {
				t.Errorf("%s: %d fetches at once", name, n)
			}
			time.Sleep(failureTime)
			if f := w.find("mx.b.example"); w.fetches() == 1 && f.facts.STS != EnforceIn {
				t.Errorf("%s, later: %s", name, f.Basis())
			}
		})
	}
}

// rename gives the web server a name that its certificate has not: that of the
// policy is asked for, and another host answers.
func (w *world) rename() {
	if err := w.dns.AddZone("c.example", "www A 192.0.2.81\n", dns.Insecure); err != nil {
		w.Fatal(err)
	}
	other := issue(w, nil, time.Now().Add(time.Hour), nil, "www.c.example")
	l, err := w.net.Listen("tcp", "192.0.2.81:443")
	if err != nil {
		w.Fatal(err)
	}
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err == nil {
			tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{other.cert.Raw}, PrivateKey: other.key}}}).Handshake()
			c.Close()
		}
	}()
}

// Many who need a policy at once cause one fetch; who gives up does not take it
// away from the others.
func TestOneFetch(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.slow = make(chan struct{})
		impatient, cancel := context.WithCancel(w.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.policies.Find(impatient, Question{Domain: "b.example", Host: "mx.b.example"}); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if f := w.find("mx.b.example"); f.facts.STS != EnforceIn {
					t.Error(f.Basis())
				}
			})
		}
		synctest.Wait()
		if n := w.fetches(); n != 1 {
			t.Errorf("%d fetches for all", n)
		}
		cancel()
		synctest.Wait()
		close(w.slow)
		wg.Wait()
		if n := w.fetches(); n != 1 {
			t.Errorf("%d fetches after one gave up", n)
		}
	})
}

// Run fetches again every day, whatever the record says, so that the policy lasts
// as long as it is used; it forgets what has ended (RFC 8461 §10.2).
func TestRefresh(t *testing.T) {
	bubble(t, nil, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		done := make(chan error)
		w.expect("mx.b.example", EnforceIn, 1)
		go func() { done <- w.policies.Run(ctx) }()
		time.Sleep(10*24*time.Hour + time.Minute)
		if n := w.fetches(); n < 9 || n > 10 {
			t.Errorf("%d fetches in ten days", n)
		}
		w.zone("") // an attacker takes the record away
		w.expect("mx.evil.example", EnforceOut, 0)
		time.Sleep(10 * 24 * time.Hour)
		if n := w.fetches(); n < 9 || n > 10 {
			t.Errorf("%d fetches in ten more days", n)
		}
		w.expect("mx.evil.example", EnforceOut, 0)
		// A changed policy is taken without a new id.
		w.serve(200, "text/plain", policy("testing", 604800, "mx.b.example"))
		time.Sleep(25 * time.Hour)
		w.expect("mx.evil.example", TestingOut, 1)
		// Nobody uses it any more: it ends.
		time.Sleep(forgetTime)
		w.fetches()
		time.Sleep(8 * 24 * time.Hour)
		if n := w.fetches(); n != 0 || w.shelf.count() != 0 {
			t.Errorf("%d fetches, %d rows of a policy that nobody uses", n, w.shelf.count())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// G10: of too many policies those that were not used for longest go, and a full
// cache keeps no mail from going by a policy.
func TestTooMany(t *testing.T) {
	bubble(t, func(o *Options) { o.Max = 20 }, func(w *world) {
		p, err := ParseSTSPolicy([]byte(good))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for i := range 20 {
			domain := fmt.Sprintf("d%02d.example", i)
			e := &entry{domain: domain, id: "1", fetched: now, used: now.Add(-time.Duration(i) * time.Hour), policy: p}
			w.policies.put(w.Context(), e, true)
		}
		w.expect("mx.b.example", EnforceIn, 1)
		if w.shelf.count() != 20 || w.shelf.rows["b.example"] != nil {
			t.Errorf("%d rows", w.shelf.count())
		}
		if err := w.policies.round(w.Context()); err != nil {
			t.Fatal(err)
		}
		if w.shelf.count() != 18 || w.shelf.rows["d17.example"] == nil || w.shelf.rows["d18.example"] != nil {
			t.Errorf("%d rows are left", w.shelf.count())
		}
		w.fetches()
		w.expect("mx.b.example", EnforceIn, 1)
		if w.shelf.rows["b.example"] == nil {
			t.Error("there is room, and it is not kept")
		}
	})
}

// Our own store decides nothing: when it fails, nothing is known. A row that is
// damaged is as good as none.
func TestStoreFails(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.shelf.err = errors.New("no such luck")
		if f, err := w.policies.Find(w.Context(), Question{Domain: "b.example", Host: "mx.b.example"}); err == nil {
			t.Error(f.Basis())
		}
		w.shelf.err = nil
		w.shelf.rows["b.example"] = []byte{99, 1, 2, 3}
		w.expect("mx.b.example", EnforceIn, 1)
	})
	if _, err := New(Options{}); !postino.Is(err, postino.Invalid) {
		t.Errorf("no options: %v", err)
	}
}
