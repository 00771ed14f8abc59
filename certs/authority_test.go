package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/postino-mail/postino/test/memnet"
)

// authority is as much of a certificate authority (RFC 8555, RFC 9773) as it takes
// to see when it is asked, and for what, in fake time. It believes every signature;
// test/interop has a real one.
type authority struct {
	t    *testing.T
	net  *memnet.Network
	base string
	key  crypto.Signer
	root *entry

	mu       sync.Mutex
	life     time.Duration
	deny     func(name, challenge string) bool
	window   func(*x509.Certificate) (start, end time.Time) // nil: no renewal info
	sources  []*Source                                      // where it looks for challenges
	txt      map[string][]string
	accounts int
	asked    []time.Time // orders
	replaces []string
	orders   map[string]*order
	issued   []*x509.Certificate
	solved   []string // types of challenges
}

type order struct {
	name, status, chain string
}

var authorities int // numbers them: acmez remembers directories by URL

// newAuthority serves at an address of net.
func newAuthority(t *testing.T, net *memnet.Network, at string) *authority {
	t.Helper()
	authorities++
	a := &authority{
		t: t, net: net, base: fmt.Sprintf("http://%s/%d", at, authorities), life: 90 * 24 * time.Hour, txt: map[string][]string{}, orders: map[string]*order{},
		deny: func(string, string) bool { return false },
	}
	var err error
	if a.key, _, err = newKey(); err != nil {
		t.Fatal(err)
	}
	if a.root, err = signWith(a.key, time.Now(), []string{"root.example"}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: a}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close(); <-done })
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", "nonce")
	var jws struct{ Payload string }
	var body struct {
		CSR         string
		Identifiers []acme.Identifier
		Replaces    string
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
			a.t.Error(err)
		}
		if b, err := base64.RawURLEncoding.DecodeString(jws.Payload); err == nil && len(b) > 0 {
			_ = json.Unmarshal(b, &body)
		}
	}
	path, _ := strings.CutPrefix("http://"+r.Host+r.URL.Path, a.base)
	what, id, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	reply := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch what {
	case "dir":
		d := map[string]string{"newNonce": a.base + "/nonce", "newAccount": a.base + "/account", "newOrder": a.base + "/new", "revokeCert": a.base + "/no", "keyChange": a.base + "/no"}
		if a.window != nil {
			d["renewalInfo"] = a.base + "/ari"
		}
		reply(200, d)
	case "nonce":
		w.WriteHeader(200)
	case "account":
		a.accounts++
		w.Header().Set("Location", a.base+"/account/1")
		reply(201, map[string]any{"status": "valid"})
	case "new":
		a.asked = append(a.asked, time.Now())
		a.replaces = append(a.replaces, body.Replaces)
		id := fmt.Sprint(len(a.orders))
		a.orders[id] = &order{name: body.Identifiers[0].Value, status: "pending"}
		w.Header().Set("Location", a.base+"/order/"+id)
		reply(201, a.order(id))
	case "order":
		reply(200, a.order(id))
	case "authz":
		reply(200, a.authz(id))
	case "challenge":
		kind, id, _ := strings.Cut(id, "/")
		o := a.orders[id]
		if o.status = "ready"; a.deny(o.name, kind) || !a.proven(kind, o.name, "token"+id) {
			o.status = "invalid"
		}
		a.solved = append(a.solved, kind)
		reply(200, a.authz(id))
	case "finalize":
		o := a.orders[id]
		der, err := base64.RawURLEncoding.DecodeString(body.CSR)
		if err != nil {
			a.t.Error(err)
		}
		o.chain, o.status = a.sign(der), "valid"
		reply(200, a.order(id))
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		fmt.Fprint(w, a.orders[id].chain)
	case "ari":
		for _, c := range a.issued {
			if n, err := acme.ARIUniqueIdentifier(c); err == nil && n == id {
				start, end := a.window(c)
				reply(200, map[string]any{"suggestedWindow": map[string]any{"start": start, "end": end}})
				return
			}
		}
		reply(404, map[string]any{"type": "urn:ietf:params:acme:error:malformed"})
	default:
		reply(404, map[string]any{"type": "urn:ietf:params:acme:error:malformed", "detail": path})
	}
}

func (a *authority) order(id string) map[string]any {
	o := a.orders[id]
	m := map[string]any{
		"status": o.status, "identifiers": []acme.Identifier{{Type: "dns", Value: o.name}},
		"authorizations": []string{a.base + "/authz/" + id}, "finalize": a.base + "/finalize/" + id,
	}
	if o.status == "valid" {
		m["certificate"] = a.base + "/cert/" + id
	}
	return m
}

func (a *authority) authz(id string) map[string]any {
	o := a.orders[id]
	status := map[string]string{"pending": "pending", "ready": "valid", "valid": "valid", "invalid": "invalid"}[o.status]
	var challenges []map[string]any
	for _, kind := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		c := map[string]any{"type": kind, "url": a.base + "/challenge/" + kind + "/" + id, "status": status, "token": "token" + id}
		if status == "invalid" {
			c["error"] = map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "not proven"}
		}
		challenges = append(challenges, c)
	}
	return map[string]any{"status": status, "identifier": acme.Identifier{Type: "dns", Value: o.name}, "challenges": challenges}
}

// proven looks for the answer to a challenge.
func (a *authority) proven(kind, name, token string) bool {
	switch kind {
	case "http-01":
		return slices.ContainsFunc(a.sources, func(s *Source) bool {
			text, ok := s.Challenge(token)
			return ok && strings.HasPrefix(text, token+".")
		})
	case "tls-alpn-01":
		return slices.ContainsFunc(a.sources, func(s *Source) bool {
			st, err := handshake(a.t, s.Config(Service{ALPN: []string{"http/1.1"}, Challenges: true}), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{acmeALPN}})
			return err == nil && st.NegotiatedProtocol == acmeALPN && len(st.PeerCertificates) == 1 && slices.Equal(st.PeerCertificates[0].DNSNames, []string{name})
		})
	}
	return len(a.txt["_acme-challenge."+name]) == 1
}

// sign issues what a request asks for.
func (a *authority) sign(der []byte) string {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		a.t.Error(err)
		return ""
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(a.issued) + 1)), DNSNames: csr.DNSNames, NotBefore: time.Now(), NotAfter: time.Now().Add(a.life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, AuthorityKeyId: []byte{1, 2, 3},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.root.chain[0], csr.PublicKey, a.key)
	if err != nil {
		a.t.Error(err)
		return ""
	}
	leaf, err := x509.ParseCertificate(signed)
	if err != nil {
		a.t.Error(err)
		return ""
	}
	a.issued = append(a.issued, leaf)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.chain[0].Raw}))
}

// AddTXT and RemoveTXT let the authority be the name server too.
func (a *authority) AddTXT(_ context.Context, name, value string, _ time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.txt[name] = append(a.txt[name], value)
	return nil
}

func (a *authority) RemoveTXT(_ context.Context, name, value string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.txt[name] = slices.DeleteFunc(a.txt[name], func(v string) bool { return v == value })
	return nil
}

// count is how many certificates were issued, and how many orders made.
func (a *authority) count() (issued, asked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.issued), len(a.asked)
}

// set changes how it behaves.
func (a *authority) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// memory is a Store.
type memory struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (s *memory) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.m[key]), nil
}

func (s *memory) Update(_ context.Context, key string, fn func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := fn(slices.Clone(s.m[key]))
	switch {
	case err != nil:
		return err
	case next == nil:
		delete(s.m, key)
	default:
		s.m[key] = next
	}
	return nil
}

func (s *memory) Keys(_ context.Context, prefix string) (keys []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.m {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// host is a node that gets certificates.
type host struct {
	*ACME
	source *Source
	mu     sync.Mutex
	names  []string
	stop   func()
}

const mailName = "mail.example.org"

var authorityAddr = netip.MustParseAddrPort("192.0.2.1:14000").String()

// newHost makes a node; Run runs until stop or the end of the test.
func newHost(t *testing.T, a *authority, store Store, change func(*ACMEOptions)) *host {
	t.Helper()
	s, err := New(Options{Names: []string{mailName}})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{source: s, names: []string{mailName}}
	o := ACMEOptions{
		Source: s, Store: store, Directories: []string{a.base + "/dir"}, HTTP01: true, Dial: a.net.Dial, Holder: "node",
		Names: func(context.Context) ([]string, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return slices.Clone(h.names), nil
		},
	}
	if change != nil {
		change(&o)
	}
	if h.ACME, err = NewACME(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.sources = append(a.sources, s) })
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	h.stop = func() { cancel(); done.Wait() }
	t.Cleanup(h.stop)
	return h
}

// leaf is what clients get.
func (h *host) leaf() *x509.Certificate { return h.source.For(mailName).Chain[0] }
