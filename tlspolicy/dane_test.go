package tlspolicy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/dns"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

type test interface {
	Helper()
	Fatal(...any)
}

// issue makes a certificate; nil signs itself. Names make it one of a server.
func issue(t test, by *identity, until time.Time, key crypto.Signer, names ...string) *identity {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, DNSNames: names,
		NotBefore: time.Unix(0, 0), NotAfter: until, BasicConstraintsValid: true, IsCA: len(names) == 0,
	}
	if by == nil {
		by = &identity{tmpl, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{c, key}
}

// record makes the TLSA record of a certificate.
func record(usage, selector, matching uint8, c *x509.Certificate) dns.TLSA {
	data := c.Raw
	if selector == onlyKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case sha2_256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case sha2_512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dns.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

func certs(list ...*identity) (chain []*x509.Certificate) {
	for _, i := range list {
		chain = append(chain, i.cert)
	}
	return chain
}

// RFC 7672 §3.1: what each kind of record makes of each kind of chain.
func TestVerifyTLSA(t *testing.T) {
	now := time.Now()
	later, before := now.Add(24*time.Hour), now.Add(-time.Hour)
	root := issue(t, nil, later, nil)
	middle := issue(t, root, later, nil)
	leaf := issue(t, middle, later, nil, "mx.b.example")
	renewed := issue(t, middle, later, leaf.key, "mx.b.example")
	expired := issue(t, middle, before, nil, "mx.b.example")
	oldRoot := issue(t, nil, before, nil)
	underOld := issue(t, oldRoot, later, nil, "mx.b.example")
	wild := issue(t, root, later, nil, "*.b.example")
	other := issue(t, root, later, nil, "other.example")
	stranger := issue(t, nil, later, nil, "mx.b.example")
	noCA := issue(t, leaf, later, nil, "mx.b.example") // signed by a server
	full := certs(leaf, middle, root)
	names := []string{"mx.b.example", "b.example"}
	for _, tc := range []struct {
		name    string
		records []dns.TLSA
		chain   []*x509.Certificate
		want    Result
	}{
		{"3 1 1", []dns.TLSA{record(3, 1, 1, leaf.cert)}, full, Success},
		{"3 0 2", []dns.TLSA{record(3, 0, 2, leaf.cert)}, full, Success},
		{"3 0 0", []dns.TLSA{record(3, 0, 0, leaf.cert)}, full, Success},
		{"3 1 1 renewed with the same key", []dns.TLSA{record(3, 1, 1, leaf.cert)}, certs(renewed), Success},
		{"3 0 1 renewed with the same key", []dns.TLSA{record(3, 0, 1, leaf.cert)}, certs(renewed), HostMismatch},
		{"3 1 1 expired", []dns.TLSA{record(3, 1, 1, expired.cert)}, certs(expired), Success}, // §3.1.1
		{"3 1 1 other name", []dns.TLSA{record(3, 1, 1, other.cert)}, certs(other), Success},  // §3.2.1
		{"3 1 1 signs itself", []dns.TLSA{record(3, 1, 1, stranger.cert)}, certs(stranger), Success},
		{"3 1 1 of the issuer", []dns.TLSA{record(3, 1, 1, middle.cert)}, full, HostMismatch},
		{"3 1 1 wrong", []dns.TLSA{record(3, 1, 1, stranger.cert)}, full, HostMismatch},
		{"rollover", []dns.TLSA{record(3, 1, 1, stranger.cert), record(3, 1, 1, leaf.cert)}, full, Success},
		{"2 0 1 root", []dns.TLSA{record(2, 0, 1, root.cert)}, full, Success},
		{"2 0 1 intermediate", []dns.TLSA{record(2, 0, 1, middle.cert)}, certs(leaf, middle), Success},
		{"2 1 2 intermediate", []dns.TLSA{record(2, 1, 2, middle.cert)}, full, Success},
		{"2 0 1 root not shown", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(leaf, middle), HostMismatch},
		{"2 0 0 root not shown", []dns.TLSA{record(2, 0, 0, root.cert)}, certs(leaf, middle), Success}, // RFC 7671 §5.2.2
		{"2 1 0 root not shown", []dns.TLSA{record(2, 1, 0, root.cert)}, certs(leaf, middle), Success}, // §5.2.3
		{"2 1 0 signs the leaf", []dns.TLSA{record(2, 1, 0, middle.cert)}, certs(leaf), Success},
		{"2 1 0 of a stranger", []dns.TLSA{record(2, 1, 0, stranger.cert)}, certs(leaf, middle), HostMismatch},
		{"2 0 1 of the leaf", []dns.TLSA{record(2, 0, 1, leaf.cert)}, full, HostMismatch},
		{"2 0 1 order of chain", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(leaf, root, middle), Success},
		{"2 0 1 gap", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(leaf, root), NotTrusted},
		{"2 0 1 expired leaf", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(expired, middle, root), Expired},
		{"2 0 1 expired anchor", []dns.TLSA{record(2, 0, 1, oldRoot.cert)}, certs(underOld, oldRoot), Expired},
		{"2 0 1 wildcard", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(wild, root), Success},
		{"2 0 1 other name", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(other, root), HostMismatch},
		{"2 0 1 not related", []dns.TLSA{record(2, 0, 1, root.cert)}, certs(stranger, root), NotTrusted},
		{"2 0 1 issuer is no authority", []dns.TLSA{record(2, 0, 1, leaf.cert)}, certs(noCA, leaf), NotTrusted},
		{"2 wrong, 3 right", []dns.TLSA{record(2, 0, 1, stranger.cert), record(3, 1, 1, leaf.cert)}, full, Success},
		{"first anchor has the wrong chain", []dns.TLSA{record(2, 0, 1, stranger.cert), record(2, 0, 1, root.cert)}, append(full[:3:3], stranger.cert), Success},
		{"no certificate", []dns.TLSA{record(3, 1, 1, leaf.cert)}, nil, ValidationFailure},
		{"chain of ten", []dns.TLSA{record(3, 1, 1, leaf.cert)}, certs(leaf, root, root, root, root, root, root, root, root, root), Success},
		{"chain of eleven", []dns.TLSA{record(3, 1, 1, leaf.cert)}, certs(leaf, root, root, root, root, root, root, root, root, root, root), NotTrusted}, // TL1
	} {
		usable := UsableTLSA(tc.records)
		if len(usable) != len(tc.records) {
			t.Errorf("%s: %d usable records", tc.name, len(usable))
		}
		matched, err := VerifyTLSA(usable, tc.chain, names, now)
		if got := Classify(err); got != tc.want || (err == nil) == (matched.Data == nil) {
			t.Errorf("%s: %q (%v), want %q", tc.name, got, err, tc.want)
		}
	}
	// The next-hop domain and where its aliases lead are names, too (RFC 7672 §3.2.2).
	forDomain := issue(t, root, later, nil, "b.example")
	if _, err := VerifyTLSA([]dns.TLSA{record(2, 0, 1, root.cert)}, certs(forDomain, root), names, now); err != nil {
		t.Error(err)
	}
	if _, err := VerifyTLSA([]dns.TLSA{record(2, 0, 1, root.cert)}, certs(leaf, middle, root), nil, now); Classify(err) != HostMismatch {
		t.Errorf("without a name: %v", err)
	}
}

// RFC 7672 §3.1.3, RFC 6698 §4.1, RFC 7671 §9.
func TestUsableTLSA(t *testing.T) {
	leaf := issue(t, nil, time.Now().Add(time.Hour), nil, "mx.b.example").cert
	r := func(u, s, m uint8) dns.TLSA { return record(u, s, m, leaf) }
	cut := func(r dns.TLSA) dns.TLSA { r.Data = r.Data[:len(r.Data)-1]; return r }
	for _, tc := range []struct {
		name string
		in   []dns.TLSA
		want []dns.TLSA
	}{
		{"none", nil, nil},
		{"PKIX", []dns.TLSA{r(0, 0, 1), r(1, 1, 1)}, nil},
		{"unknown usage", []dns.TLSA{r(4, 0, 1), r(255, 0, 1)}, nil},
		{"unknown selector", []dns.TLSA{{Usage: 3, Selector: 2, Matching: 1, Data: make([]byte, 32)}}, nil},
		{"unknown matching", []dns.TLSA{{Usage: 3, Selector: 1, Matching: 3, Data: make([]byte, 32)}}, nil},
		{"length", []dns.TLSA{cut(r(3, 1, 1)), cut(r(3, 1, 2)), cut(r(3, 0, 0)), cut(r(3, 1, 0)), {Usage: 3, Selector: 1, Matching: 1}}, nil},
		{"digests", []dns.TLSA{r(3, 1, 1), r(3, 1, 2), r(3, 1, 0)}, []dns.TLSA{r(3, 1, 2), r(3, 1, 0)}},
		{"digests of other kinds", []dns.TLSA{r(3, 1, 1), r(3, 0, 2), r(2, 1, 2)}, []dns.TLSA{r(3, 1, 1), r(3, 0, 2), r(2, 1, 2)}},
		{"a broken digest is none", []dns.TLSA{r(3, 1, 1), cut(r(3, 1, 2))}, []dns.TLSA{r(3, 1, 1)}},
		{"mixed", []dns.TLSA{r(1, 1, 1), r(3, 1, 1)}, []dns.TLSA{r(3, 1, 1)}},
	} {
		got := UsableTLSA(tc.in)
		same := len(got) == len(tc.want)
		for i := range got {
			same = same && FormatTLSA(got[i]) == FormatTLSA(tc.want[i])
		}
		if !same {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if got := FormatTLSA(dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: []byte{0x1f, 0x85}}); got != "3 1 1 1F85" {
		t.Error(got)
	}
}

// A chain of any length and kinds of keys is proven by every record of it that is
// on the way, and by none of another chain.
func TestTLSAProperty(t *testing.T) {
	keys := map[string]func() (crypto.Signer, error){
		"ECDSA":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"Ed25519": func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err },
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		newKey := func() crypto.Signer {
			kind := rapid.SampledFrom([]string{"ECDSA", "P-384", "Ed25519", "RSA"}).Draw(t, "key")
			if kind == "RSA" {
				return rsaKey
			}
			k, err := keys[kind]()
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		name := rapid.StringMatching(`[a-z]{1,8}\.[a-z]{1,8}\.example`).Draw(t, "name")
		n := rapid.IntRange(1, 4).Draw(t, "authorities")
		var chain []*identity
		var top *identity
		for range n {
			top = issue(t, top, now.Add(time.Hour), newKey())
			chain = append([]*identity{top}, chain...)
		}
		leaf := issue(t, top, now.Add(time.Hour), newKey(), name)
		chain = append([]*identity{leaf}, chain...)
		selector, matching := rapid.Uint8Range(0, 1).Draw(t, "selector"), rapid.Uint8Range(0, 2).Draw(t, "matching")
		at := rapid.IntRange(0, n).Draw(t, "at")
		usage := uint8(usageTA)
		if at == 0 {
			usage = usageEE
		}
		shown := certs(chain...)
		r := record(usage, selector, matching, chain[at].cert)
		if got, err := VerifyTLSA(UsableTLSA([]dns.TLSA{r}), shown, []string{name}, now); err != nil || FormatTLSA(got) != FormatTLSA(r) {
			t.Fatalf("%d %d %d at %d of %d: %v", usage, selector, matching, at, n, err)
		}
		if usage == usageTA {
			if _, err := VerifyTLSA([]dns.TLSA{r}, shown, []string{"x" + name}, now); Classify(err) != HostMismatch {
				t.Fatalf("another name: %v", err)
			}
		}
		stranger := issue(t, nil, now.Add(time.Hour), nil)
		wrong := record(usage, selector, matching, stranger.cert)
		if _, err := VerifyTLSA([]dns.TLSA{wrong}, shown, []string{name}, now); err == nil {
			t.Fatalf("a stranger's record: %v", err)
		}
		flipped := record(usage, selector, sha2_256, chain[at].cert)
		flipped.Data[rapid.IntRange(0, 31).Draw(t, "octet")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := VerifyTLSA([]dns.TLSA{flipped}, shown, []string{name}, now); err == nil {
			t.Fatal("a flipped bit proves")
		}
	})
}

// A certificate counts by its subject alternative names only: no common name,
// and a wildcard stands for one whole label (RFC 9525 §6.3, TL4).
func TestVerifyPKIX(t *testing.T) {
	until := time.Now().Add(time.Hour)
	root := issue(t, nil, until, nil)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	for _, tc := range []struct {
		names []string
		host  string
		good  bool
	}{
		{[]string{"mx.b.example"}, "mx.b.example", true},
		{[]string{"MX.B.example"}, "mx.b.example", true},
		{[]string{"*.b.example"}, "mx.b.example", true},
		{[]string{"*.b.example"}, "a.mx.b.example", false},
		{[]string{"*.b.example"}, "b.example", false},
		{[]string{"m*.b.example"}, "mx.b.example", false},
		{[]string{"mx.*.example"}, "mx.b.example", false},
		{[]string{"b.example"}, "mx.b.example", false},
		{[]string{"xn--bcher-kva.example"}, "xn--bcher-kva.example", true},
		{[]string{"mx.b.example\x00.evil.example"}, "mx.b.example", false},
		{nil, "mx.b.example", false},
	} {
		leaf := issue(t, root, until, nil, tc.names...)
		err := VerifyPKIX(tls.ConnectionState{PeerCertificates: certs(leaf)}, pool, tc.host)
		if (err == nil) != tc.good {
			t.Errorf("%v for %s: %v", tc.names, tc.host, err)
		}
	}
	if err := VerifyPKIX(tls.ConnectionState{}, pool, "mx.b.example"); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("no certificate: %v", err)
	}
	long := certs(issue(t, root, until, nil, "mx.b.example"), root, root, root, root, root, root, root, root, root, root)
	if err := VerifyPKIX(tls.ConnectionState{PeerCertificates: long}, pool, "mx.b.example"); !errors.Is(err, ErrLongChain) {
		t.Errorf("eleven certificates: %v", err) // TL1
	}
}
