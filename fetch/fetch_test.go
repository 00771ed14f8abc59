package fetch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/test/memnet"
)

// certificate signs itself for names.
func certificate(t *testing.T, names ...string) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "www.b.example"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// world is a network with a web server and the client under test.
type world struct {
	*testing.T
	net    *memnet.Network
	dns    *dns.Fake
	roots  *x509.CertPool
	client *Client
	mu     sync.Mutex
	dialed []string
	closes []func()
}

// bubble runs fn in a synctest bubble with a new world.
func bubble(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, net: memnet.New(), dns: dns.NewFake(), roots: x509.NewCertPool()}
		w.client = New(Options{DNS: w.dns, Roots: w.roots, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			w.mu.Lock()
			w.dialed = append(w.dialed, address)
			w.mu.Unlock()
			return w.net.Dial(ctx, network, address)
		}})
		if err := w.dns.AddZone("b.example", "www A 192.0.2.10\ninside A 10.0.0.1\nboth A 127.0.0.1\nboth A 192.0.2.10\nother A 192.0.2.11\nnone TXT x\n", dns.Insecure); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, c := range w.closes {
				c()
			}
			synctest.Wait()
			if n := w.net.Open(); n != 0 { // G11
				t.Errorf("%d connections are left", n)
			}
		}()
		fn(w)
	})
}

// serve answers at an address, inside TLS where there is a certificate.
func (w *world) serve(addr string, cert *tls.Certificate, h http.HandlerFunc) {
	l, err := w.net.Listen("tcp", addr)
	if err != nil {
		w.Fatal(err)
	}
	if cert != nil {
		w.roots.AddCert(cert.Leaf)
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	w.closes = append(w.closes, func() { s.Close(); <-done })
}

func (w *world) tries() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.dialed = nil }()
	return w.dialed
}

func hello(rw http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(rw, "%s %s %s", r.Method, r.URL.Path, r.Header.Get("User-Agent"))
}

func TestGet(t *testing.T) {
	bubble(t, func(w *world) {
		w.serve("192.0.2.10:443", certificate(t, "www.b.example", "both.b.example"), func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/missing" {
				rw.WriteHeader(404)
			}
			hello(rw, r)
		})
		r, err := w.client.Get(w.Context(), "https://www.b.example/x")
		if err != nil || r.Status != 200 || string(r.Body) != "GET /x Postino" || r.URL != "https://www.b.example/x" {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err = w.client.Get(w.Context(), "https://www.b.example:443/missing"); err != nil || r.Status != 404 {
			t.Errorf("%+v, %v", r, err)
		}
		w.tries()
		// Of several addresses only those that may be connected to are tried.
		if _, err = w.client.Get(w.Context(), "https://both.b.example/"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(w.tries(), " "); got != "192.0.2.10:443" {
			t.Errorf("dialed %s", got)
		}
		r, err = w.client.Do(w.Context(), Request{Method: "POST", URL: "https://www.b.example/y", Body: []byte("z"), Header: http.Header{"User-Agent": {"me"}}})
		if err != nil || string(r.Body) != "POST /y me" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// DN4: nothing is dialled for what may not be asked for.
func TestRefused(t *testing.T) {
	bubble(t, func(w *world) {
		for url, want := range map[string]postino.Kind{
			"http://www.b.example/":                                postino.Invalid,
			"ftp://www.b.example/":                                 postino.Invalid,
			"file:///etc/passwd":                                   postino.Invalid,
			"https://www.b.example:8443/":                          postino.Invalid,
			"https://www.b.example:80/":                            postino.Invalid,
			"https://user@www.b.example/":                          postino.Invalid,
			"https://":                                             postino.Invalid,
			"https://www.b.example/" + strings.Repeat("x", maxURL): postino.Invalid,
			"https://w w/":                                         postino.Invalid,
			"https://www_b.example./":                              postino.Transient, // no such name
			"https://inside.b.example/":                            postino.Denied,
			"https://127.0.0.1/":                                   postino.Denied,
			"https://[::1]/":                                       postino.Denied,
			"https://[::ffff:127.0.0.1]/":                          postino.Denied,
			"https://[64:ff9b::7f00:1]/":                           postino.Denied,
			"https://169.254.169.254/latest/meta-data/":            postino.Denied,
			"https://2130706433/":                                  postino.Transient, // 127.0.0.1 to some; a name here
			"https://none.b.example/":                              postino.Transient,
			"https://nowhere.example/":                             postino.Transient,
		} {
			_, err := w.client.Get(w.Context(), url)
			if err == nil || postino.KindOf(err) != want && !(want == postino.Transient && postino.KindOf(err) == postino.Invalid) {
				t.Errorf("%.60s: %v (%v), want %v", url, err, postino.KindOf(err), want)
			}
			if want == postino.Denied && !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", url, err)
			}
		}
		w.dns.SetFault("www.b.example", 0, dns.Fault{Kind: dns.FaultBogus})
		if _, err := w.client.Get(w.Context(), "https://www.b.example/"); !errors.Is(err, dns.ErrBogus) || !postino.Is(err, postino.Transient) {
			t.Errorf("bogus: %v", err)
		}
		if got := w.tries(); len(got) != 0 {
			t.Errorf("dialed %v", got)
		}
	})
}

// http is for images, and a redirect does not lead to where one may not go.
func TestRedirects(t *testing.T) {
	bubble(t, func(w *world) {
		cert := certificate(t, "www.b.example", "other.b.example")
		w.serve("192.0.2.10:443", cert, func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Referer") != "" {
				t.Error("a Referer was sent")
			}
			if r.URL.Path == "/loop" {
				http.Redirect(rw, r, "/loop", http.StatusFound)
				return
			}
			http.Redirect(rw, r, r.URL.Query().Get("to"), http.StatusFound)
		})
		w.serve("192.0.2.11:443", cert, hello)
		w.serve("192.0.2.11:80", nil, hello)
		from := "https://www.b.example/?to="
		if _, err := w.client.Get(w.Context(), from+"https://other.b.example/"); !errors.Is(err, ErrRedirect) || !postino.Is(err, postino.Denied) {
			t.Errorf("%v", err)
		}
		if r, err := w.client.Do(w.Context(), Request{URL: from + "https://other.b.example/z", Redirects: 1}); err != nil || r.URL != "https://other.b.example/z" {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := w.client.Do(w.Context(), Request{URL: from + "https://inside.b.example/", Redirects: 1}); !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
		if _, err := w.client.Do(w.Context(), Request{URL: from + "http://other.b.example/", Redirects: 1}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%v", err)
		}
		w.tries()
		if _, err := w.client.Do(w.Context(), Request{URL: "https://www.b.example/loop", Redirects: 100}); !errors.Is(err, ErrRedirect) {
			t.Errorf("%v", err)
		}
		if n := len(w.tries()); n != maxRedirects+1 {
			t.Errorf("%d requests", n)
		}
		if r, err := w.client.Do(w.Context(), Request{URL: "http://other.b.example/p", PlainHTTP: true}); err != nil || r.Status != 200 {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := w.client.Do(w.Context(), Request{URL: "http://other.b.example:443/p", PlainHTTP: true}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%v", err)
		}
	})
}

// G1: what is too large or too slow ends the request.
func TestBounds(t *testing.T) {
	bubble(t, func(w *world) {
		w.serve("192.0.2.10:443", certificate(t, "www.b.example"), func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/exact":
				rw.Write(make([]byte, DefaultBody))
			case "/large":
				rw.Write(make([]byte, DefaultBody+1))
			case "/header":
				rw.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
			case "/slow":
				<-r.Context().Done()
			case "/drip":
				for r.Context().Err() == nil {
					if _, err := rw.Write([]byte("x")); err != nil {
						return
					}
					rw.(http.Flusher).Flush()
					select {
					case <-time.After(time.Second):
					case <-r.Context().Done():
					}
				}
			}
		})
		if r, err := w.client.Get(w.Context(), "https://www.b.example/exact"); err != nil || len(r.Body) != DefaultBody {
			t.Error(err)
		}
		if _, err := w.client.Get(w.Context(), "https://www.b.example/large"); !errors.Is(err, ErrTooLarge) || !postino.Is(err, postino.Full) {
			t.Error(err)
		}
		if r, err := w.client.Do(w.Context(), Request{URL: "https://www.b.example/large", MaxBody: DefaultBody + 1}); err != nil || len(r.Body) != DefaultBody+1 {
			t.Error(err)
		}
		if _, err := w.client.Get(w.Context(), "https://www.b.example/header"); !postino.Is(err, postino.Transient) {
			t.Error(err)
		}
		for _, path := range []string{"slow", "drip"} {
			began := time.Now() // the clock of the bubble
			if _, err := w.client.Get(w.Context(), "https://www.b.example/"+path); !postino.Is(err, postino.Transient) {
				t.Error(err)
			}
			if took := time.Since(began); took != DefaultTime {
				t.Errorf("%s took %v", path, took)
			}
		}
		w.net.SetFault(netip.MustParseAddr("192.0.2.10"), memnet.Fault{Silent: true})
		if _, err := w.client.Do(w.Context(), Request{URL: "https://www.b.example/", Timeout: time.Second}); !postino.Is(err, postino.Transient) {
			t.Error(err)
		}
	})
}

// TL1, TL4: certificates prove the name of the host, by subject alternative names.
func TestCertificates(t *testing.T) {
	for name, names := range map[string][]string{"other name": {"other.b.example"}, "common name only": nil, "wildcard too wide": {"*.example"}} {
		bubble(t, func(w *world) {
			w.serve("192.0.2.10:443", certificate(t, names...), hello)
			if _, err := w.client.Get(w.Context(), "https://www.b.example/"); !errors.Is(err, ErrCertificate) || !postino.Is(err, postino.Transient) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	bubble(t, func(w *world) {
		cert := certificate(t, "www.b.example")
		w.serve("192.0.2.10:443", cert, hello)
		w.client.opts.Roots = x509.NewCertPool()
		if _, err := w.client.Get(w.Context(), "https://www.b.example/"); !errors.Is(err, ErrCertificate) {
			t.Errorf("unknown authority: %v", err)
		}
	})
	bubble(t, func(w *world) {
		cert := certificate(t, "www.b.example")
		w.roots.AddCert(cert.Leaf)
		l, err := w.net.Listen("tcp", "192.0.2.10:443")
		if err != nil {
			t.Fatal(err)
		}
		w.closes = append(w.closes, func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err == nil {
				tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}).Handshake()
				c.Close()
			}
		}()
		if _, err := w.client.Get(w.Context(), "https://www.b.example/"); err == nil || errors.Is(err, ErrCertificate) {
			t.Errorf("TLS 1.1: %v", err)
		}
	})
}
