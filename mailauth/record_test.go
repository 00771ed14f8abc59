package mailauth

import (
	"crypto"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// What KeyRecord says is what verifiers read, also after a zone file (RFC 6376
// §3.6.1, RFC 8463 §4).
func TestKeyRecord(t *testing.T) {
	for _, k := range []SignKey{rsaKey(), edKey()} {
		name, text := KeyRecord(k.Selector, k.Domain, k.Key.Public())
		if want := k.Selector + "._domainkey.example.org"; name != want {
			t.Errorf("the name is %q, want %q", name, want)
		}
		if text != record(k.Key) {
			t.Errorf("the record is %q, want %q", text, record(k.Key))
		}
		fake := dns.NewFake()
		if err := fake.AddZone("example.org", name+". 600 IN TXT "+ZoneText(text)+"\n", dns.Secure); err != nil {
			t.Fatal(err)
		}
		ttl, err := CheckKeyRecord(t.Context(), fake, k.Selector, k.Domain, k.Key.Public())
		if err != nil || ttl != 10*time.Minute {
			t.Errorf("published: %v, %v", ttl, err)
		}
		if s := verify(t, fake, signedAt, sign(t, crlfText(plain), k)).DKIM[0]; s.Result != Pass {
			t.Errorf("%s: %s %s", k.Selector, s.Result, s.Reason)
		}
	}
	if name, text := KeyRecord("s", "example.org", struct{}{}); name != "" || text != "" {
		t.Errorf("no key makes the record %q %q", name, text)
	}
}

func TestZoneText(t *testing.T) {
	for in, want := range map[string]string{
		"":                       `""`,
		`a "b" \c`:               `"a \"b\" \\c"`,
		"é\n":                    `"\195\169\010"`,
		strings.Repeat("x", 256): `"` + strings.Repeat("x", 255) + `" "x"`,
	} {
		got := ZoneText(in)
		if got != want {
			t.Errorf("%q is written %s, want %s", in, got, want)
		}
		fake := dns.NewFake()
		if err := fake.AddZone("example.org", "@ IN TXT "+got+"\n", dns.Insecure); err != nil {
			t.Fatal(err)
		}
		if a, err := fake.Lookup(t.Context(), "example.org", dns.TypeTXT); err != nil || len(a.TXT) != 1 || a.TXT[0] != in {
			t.Errorf("%s is read as %v, %v", got, a, err)
		}
	}
}

// A key that the DNS does not hold, or not in a way that verifiers take, is told
// apart from one that cannot be asked for.
func TestCheckKeyRecord(t *testing.T) {
	good, pub := record(testKeys().rsa), testKeys().rsa.Public()
	p := good[strings.Index(good, "p="):]
	for _, c := range []struct {
		records []string
		pub     crypto.PublicKey
		want    postino.Kind
	}{
		{[]string{good}, pub, 0},
		{[]string{p}, pub, 0},
		{[]string{"v=spf1 -all", good}, pub, 0},
		{nil, pub, postino.NotFound},
		{[]string{"v=spf1 -all"}, pub, postino.NotFound},
		{[]string{good, good}, pub, postino.Conflict},
		{[]string{"v=DKIM1; p="}, pub, postino.Conflict},
		{[]string{"v=DKIM1; t=y; " + p}, pub, postino.Conflict},
		{[]string{"v=DKIM1; s=tls; " + p}, pub, postino.Conflict},
		{[]string{"v=DKIM1; p=" + base64.StdEncoding.EncodeToString([]byte("no key"))}, pub, postino.Conflict},
		{[]string{record(testKeys().rsa1024)}, pub, postino.Conflict},
		{[]string{record(testKeys().ed)}, pub, postino.Conflict},
		{[]string{good}, testKeys().ed.Public(), postino.Conflict},
	} {
		z := &texts{m: map[string][]string{"rsa._domainkey.example.org": c.records}}
		if c.records == nil {
			z.m = nil
		}
		_, err := CheckKeyRecord(t.Context(), z, "rsa", "example.org", c.pub)
		if c.want == 0 && err != nil || c.want != 0 && !postino.Is(err, c.want) {
			t.Errorf("%.60q: %v", c.records, err)
		}
	}
	if _, err := CheckKeyRecord(t.Context(), &texts{fail: true}, "rsa", "example.org", pub); !postino.Is(err, postino.Transient) {
		t.Errorf("no answer: %v", err)
	}
	if _, err := CheckKeyRecord(t.Context(), zone(), "no name", "example.org", pub); !postino.Is(err, postino.Invalid) {
		t.Errorf("no name: %v", err)
	}
}
