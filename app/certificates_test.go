package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/vfs"
)

// What certs keeps is changed by one at a time, and is there after a power cut.
func TestCertStore(t *testing.T) {
	fs := vfs.Memory()
	open := func(fs vfs.FS) *Stores {
		s, err := openStores(StoreOptions{Files: fs, DataDir: "/data", Logger: slog.New(slog.DiscardHandler), Hostname: "mail.example"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(fs)
	store, ctx := certStore{s.DB}, t.Context()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := store.Update(ctx, "lease/a", func(old []byte) ([]byte, error) { return append(bytes.Clone(old), 'x'), nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b, err := store.Get(ctx, "lease/a"); err != nil || len(b) != 80 {
		t.Errorf("%d changes of 80 are there: %v", len(b), err)
	}
	refused := errors.New("no")
	for _, key := range []string{"name/b.example", "name/a.example", "names/c"} {
		if err := store.Update(ctx, key, func(old []byte) ([]byte, error) {
			if old != nil {
				t.Errorf("%s is there already", key)
			}
			return []byte(key), nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Update(ctx, "name/a.example", func([]byte) ([]byte, error) { return []byte("other"), refused }); !errors.Is(err, refused) {
		t.Errorf("a change that is refused: %v", err)
	}
	if err := store.Update(ctx, "lease/a", func([]byte) ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(fs)
	defer s.Close()
	store = certStore{s.DB}
	if keys, err := store.Keys(ctx, "name/"); err != nil || !slices.Equal(keys, []string{"name/a.example", "name/b.example"}) {
		t.Errorf("the keys are %q, %v", keys, err)
	}
	if b, err := store.Get(ctx, "name/a.example"); err != nil || string(b) != "name/a.example" {
		t.Errorf("a.example is %q, %v", b, err)
	}
	if b, err := store.Get(ctx, "lease/a"); err != nil || b != nil {
		t.Errorf("what was removed is %q, %v", b, err)
	}
}

// pair makes a certificate as files have it.
func pair(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(90 * 24 * time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// certNode is a node with files that can be changed, on loopback.
func certNode(t *testing.T, names *dns.Fake, names2 ...string) (n *Node, put func(), at func(Service) string) {
	t.Helper()
	var mu sync.Mutex
	files := map[string][]byte{}
	put = func() {
		cert, key := pair(t, names2...)
		mu.Lock()
		defer mu.Unlock()
		files["cert"], files["key"] = cert, key
	}
	put()
	src, err := certs.New(certs.Options{
		Names: []string{"mail.example.org"}, Files: []certs.Pair{{Cert: "cert", Key: "key"}},
		Read: func(name string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			return files[name], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Hostname: "mail.example.org", Certs: src, Ephemeral: true,
		Stores:    StoreOptions{Files: vfs.Memory(), DataDir: "/data", Metrics: metric.New(), Outward: Outward{DNS: names}},
		Listeners: []Listener{{Service: SMTP, Address: "127.0.0.1:0"}, {Service: IMAPS, Address: "127.0.0.1:0"}, {Service: HTTP, Address: "127.0.0.1:0"}, {Service: HTTPS, Address: "127.0.0.1:0"}},
	}
	if n, err = Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n, put, func(s Service) string {
		for _, l := range n.Bound() {
			if l.Service == s {
				return l.Address
			}
		}
		t.Fatalf("no listener for %s", s)
		return ""
	}
}

// A reload changes what new connections are shown and drops none that is open.
func TestReloadKeepsConnections(t *testing.T) { // AD1
	n, put, at := certNode(t, dns.NewFake(), "mail.example.org")
	dial := func() (*tls.Conn, *bufio.Reader) {
		c, err := tls.Dial("tcp", at(IMAPS), &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* OK") {
			t.Fatalf("greeting %q, %v", line, err)
		}
		return c, r
	}
	say := func(c *tls.Conn, r *bufio.Reader) error {
		if _, err := fmt.Fprint(c, "a NOOP\r\n"); err != nil {
			return err
		}
		_, err := r.ReadString('\n')
		return err
	}
	var open []*tls.Conn
	var readers []*bufio.Reader
	for range 5 {
		c, r := dial()
		defer c.Close()
		open, readers = append(open, c), append(readers, r)
		put()
		if err := n.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for i, c := range open {
		if err := say(c, readers[i]); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
		seen[string(c.ConnectionState().PeerCertificates[0].Raw)] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d certificates were shown, want 5", len(seen))
	}
	if l := n.Certs.Leaves("mail.example.org"); len(l) < 6 {
		t.Errorf("%d certificates may bind a login, want those of all open connections", len(l))
	}
}

// A key does not change while DNS vouches for the old one alone.
func TestReloadWaitsForTLSA(t *testing.T) {
	names := dns.NewFake()
	n, put, at := certNode(t, names, "mail.example.org")
	_, port, err := net.SplitHostPort(at(SMTP))
	if err != nil {
		t.Fatal(err)
	}
	old := n.Certs.For("mail.example.org").Chain[0]
	zone := fmt.Sprintf("_%s._tcp.mail TLSA 3 1 1 %x\n", port, certs.TLSA(old)[0].Data)
	if err := names.AddZone("example.org", zone, dns.Secure); err != nil {
		t.Fatal(err)
	}
	put()
	if err := n.Reload(); !postino.Is(err, postino.Conflict) || !n.Certs.For("mail.example.org").Chain[0].Equal(old) {
		t.Errorf("reload: %v", err)
	}
	var list CertificateList
	if err := n.Call(t.Context(), "cert.list", None{}, &list); err != nil || !strings.Contains(list.Held, "publish beside it") {
		t.Errorf("held: %q, %v", list.Held, err)
	}
	var found CertificateFindings
	if err := n.Call(t.Context(), "cert.check", None{}, &found); err != nil || len(found.Fix) != 1 {
		t.Errorf("findings: %+v, %v", found, err)
	}
}

// The policy of a domain is given by https for its own name.
func TestPolicy(t *testing.T) { // RFC 8461
	n, _, at := certNode(t, dns.NewFake(), "mail.example.org", "mta-sts.example.org")
	ctx := t.Context()
	var out DomainSTS
	for _, err := range []error{
		n.Call(ctx, "domain.add", Domain{Name: "example.org"}, nil),
		n.Call(ctx, "domain.add", Domain{Name: "other.example"}, nil),
		n.Call(ctx, "domain.mta-sts", DomainSTS{Domain: "example.org", Mode: "enforce"}, &out),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out.Warnings) != 0 || !strings.HasPrefix(out.Record, "v=STSv1; id=") || out.Host != "mta-sts.example.org" {
		t.Errorf("%+v", out)
	}
	var other DomainSTS
	if err := n.Call(ctx, "domain.mta-sts", DomainSTS{Domain: "other.example", Mode: "enforce"}, &other); err != nil || len(other.Warnings) != 1 || !strings.Contains(other.Warnings[0], "mta-sts.other.example") {
		t.Errorf("without a certificate: %+v, %v", other, err)
	}
	if err := n.Call(ctx, "domain.mta-sts", DomainSTS{Domain: "other.example", Mode: "strict"}, &other); !postino.Is(err, postino.Invalid) {
		t.Errorf("an unknown mode: %v", err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at(HTTPS))
		},
	}}
	for url, want := range map[string]string{
		"https://mta-sts.example.org/.well-known/mta-sts.txt":       out.Policy,
		"https://mta-sts.elsewhere.example/.well-known/mta-sts.txt": "Nothing here.\n",
	} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", url, b, err)
		}
	}
}
