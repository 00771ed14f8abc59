package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/message"
)

var signedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// texts is a resolver of TXT records only.
type texts struct {
	m     map[string][]string
	fail  bool
	mu    sync.Mutex
	asked int
}

func (t *texts) Lookup(_ context.Context, name string, _ dns.Type) (*dns.Answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.fail {
		return nil, postino.E(postino.Transient, "look up", name, dns.ErrServer)
	}
	if r := t.m[name]; r != nil {
		return &dns.Answer{Name: name, TXT: r, TTL: time.Hour, Security: dns.Secure}, nil
	}
	return &dns.Answer{}, postino.E(postino.NotFound, "look up", name, dns.ErrNXDomain)
}

var testKeys = sync.OnceValue(func() (k struct {
	rsa, rsa1024 crypto.Signer
	ed           crypto.Signer
}) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	k.rsa = key
	if key, err = rsa.GenerateKey(rand.Reader, 1024); err != nil {
		panic(err)
	}
	k.rsa1024 = key
	k.ed = ed25519.NewKeyFromSeed(make([]byte, 32))
	return k
})

func record(k crypto.Signer) string {
	if p, ok := k.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(p)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

func zone() *texts {
	k := testKeys()
	return &texts{m: map[string][]string{
		"rsa._domainkey.example.org": {record(k.rsa)},
		"ed._domainkey.example.org":  {record(k.ed)},
		"rsa._domainkey.example.net": {record(k.rsa)},
		"rsa._domainkey.example.com": {record(k.rsa)},
		"old._domainkey.example.org": {record(k.rsa1024)},
	}}
}

func split(msg []byte) (head, body []byte) {
	n := message.HeaderEnd(msg)
	return msg[:n], msg[n:]
}

func verify(t testing.TB, r dns.Resolver, now time.Time, msg []byte) *Verdict {
	t.Helper()
	head, body := split(msg)
	v := NewVerifier(head, VerifyOptions{Resolver: r, Now: now})
	v.Write(body)
	return v.Verify(t.Context())
}

func sign(t testing.TB, msg []byte, keys ...SignKey) []byte {
	t.Helper()
	head, body := split(msg)
	s, err := NewSigner(head, SignOptions{Keys: keys, Time: signedAt})
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	fields, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return append(fields, msg...)
}

func rsaKey() SignKey { return SignKey{Domain: "example.org", Selector: "rsa", Key: testKeys().rsa} }
func edKey() SignKey  { return SignKey{Domain: "example.org", Selector: "ed", Key: testKeys().ed} }

func crlfText(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

const plain = `From: Joe SixPack <joe@example.org>
To: Suzie Q <suzie@example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@example.org>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`

// TestRFC8463 verifies the example of RFC 8463 Appendix A and makes its Ed25519
// signature again.
func TestRFC8463(t *testing.T) {
	msg := crlfText(`DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`)
	r := &texts{m: map[string][]string{
		"brisbane._domainkey.football.example.com": {"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
		"test._domainkey.football.example.com": {"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
			"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" +
			"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" +
			"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"},
	}}
	v := verify(t, r, time.Unix(1528637909, 0), msg)
	if len(v.DKIM) != 2 {
		t.Fatalf("%d signatures", len(v.DKIM))
	}
	for _, s := range v.DKIM {
		if s.Result != Pass || s.Domain != "football.example.com" || s.Identity != "@football.example.com" {
			t.Errorf("%s: %s %s", s.Algorithm, s.Result, s.Reason)
		}
	}
	if v.DKIM[0].KeyBits != 256 || v.DKIM[1].KeyBits != 1024 || v.DKIM[0].Key.TTL == 0 {
		t.Errorf("facts: %+v", v.DKIM)
	}
	if v.ARC.Result != None {
		t.Errorf("arc: %s", v.ARC.Result)
	}
}

// TestRFC6376 checks the canonical forms of RFC 6376 §3.4.5 and the hashes of the
// empty body of §3.4.3 and §3.4.4, and the body hash of Appendix A.2.
func TestRFC6376(t *testing.T) {
	head := []byte("A: X\r\nB : Y\t\r\n\tZ  \r\n")
	var relaxed, simple []byte
	for f := range message.Fields(head) {
		relaxed, simple = appendField(relaxed, f.Raw, Relaxed), appendField(simple, f.Raw, Simple)
	}
	if string(relaxed) != "a:X\r\nb:Y Z\r\n" || !bytes.Equal(simple, head) {
		t.Errorf("header: %q %q", relaxed, simple)
	}
	// The texts of the standard have one space where a reader sees two.
	_, body := split(crlfText(strings.ReplaceAll(plain, "game.  Are", "game. Are")))
	for _, c := range []struct {
		body, sum string
		form      Canonicalization
	}{
		{"", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=", Simple},
		{"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", Relaxed},
		{"\r\n \r\n\t\r\n", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", Relaxed},
		{string(body), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=", Simple},
	} {
		if got := hashOf(c.form, []byte(c.body), len(c.body)+1); got != c.sum {
			t.Errorf("%s %q: %s", c.form, c.body, got)
		}
	}
}

// TestRFC6376Example verifies the message of RFC 6376 Appendix A.2, with the white
// space that its signature was made of and that the layout of the RFC changed.
func TestRFC6376Example(t *testing.T) {
	signature := strings.ReplaceAll(`DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
~c=simple/simple; q=dns/txt; i=joe@football.example.com;
~h=Received : From : To : Subject : Date : Message-ID;
~bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
~b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
~4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
~KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
~4bmp/YzhwvcubU4=;
`, "~", "      ")
	msg := crlfText(signature + `Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`)
	z := &texts{m: map[string][]string{"brisbane._domainkey.example.com": {
		"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkM" +
			"oGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R" +
			"tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI" +
			"MmPSPDdQPNUYckcQ2QIDAQAB"}}}
	s := verify(t, z, signedAt, msg).DKIM[0]
	if s.Result != Pass || s.Identity != "joe@football.example.com" || s.Header != Simple {
		t.Errorf("%s: %s", s.Result, s.Reason)
	}
}

func hashOf(form Canonicalization, body []byte, piece int) string {
	var b bodyHashes
	b.need(form)
	for len(body) > 0 {
		n := min(piece, len(body))
		b.Write(body[:n])
		body = body[n:]
	}
	b.close()
	return b.base64(form)
}

// slowCanon is the text of RFC 6376 §3.4.3 and §3.4.4, word for word.
func slowCanon(form Canonicalization, body string) string {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
	lines := strings.Split(body, "\r\n")
	if form == Relaxed {
		for i, l := range lines {
			l = strings.ReplaceAll(l, "\t", " ")
			for strings.Contains(l, "  ") {
				l = strings.ReplaceAll(l, "  ", " ")
			}
			lines[i] = strings.TrimRight(l, " ")
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		if form == Simple {
			return "\r\n"
		}
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

type recorder struct{ bytes.Buffer }

func (r *recorder) Sum([]byte) []byte { return r.Bytes() }
func (r *recorder) Size() int         { return 0 }
func (r *recorder) BlockSize() int    { return 1 }

// TestCanonPieces shows that the canonical body is the one of the standard, however
// the octets come.
func TestCanonPieces(t *testing.T) {
	atoms := rapid.SliceOf(rapid.SampledFrom([]string{"\r\n", "\r\n", "\n", "\r", " ", "  ", "\t", "a", "bc def", "x \t y ",
		strings.Repeat("long ", 2000), "\r\r\n", "1234567", " one two", "tail \r\n", "a b c d \n", "\x00", "\x1f\x20", "\x21\xa0\x8a\x8d", "line of text\r\n"}))
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(atoms.Draw(t, "body"), "")
		form := Canonicalization(rapid.IntRange(0, 1).Draw(t, "form"))
		rec := &recorder{}
		c := &canon{simple: form == Simple, sums: []*bodySum{{Hash: rec, limit: -1}}}
		for rest := body; rest != ""; {
			n := rapid.IntRange(0, len(rest)).Draw(t, "piece")
			c.Write([]byte(rest[:n]))
			if rest = rest[n:]; n == 0 {
				c.Write([]byte(rest[:1]))
				rest = rest[1:]
			}
		}
		c.close()
		if want := slowCanon(form, body); rec.String() != want {
			t.Fatalf("%s %q\n got %q\nwant %q", form, body, rec.String(), want)
		}
	})
}

// TestSignVerify: what is signed verifies, in all forms and with all line ends, and
// with one octet changed it does not (MA5).
func TestSignVerify(t *testing.T) {
	z := zone()
	words := rapid.StringMatching(`[!-9;-~]{1,12}`)
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for _, name := range []string{"Received", "From", "To", "Subject", "X-Other", "Content-Type"} {
			b.WriteString(name + ":" + rapid.SampledFrom([]string{"", " ", "  ", "\t"}).Draw(t, "sp"))
			for i := range rapid.IntRange(1, 8).Draw(t, "words") {
				if i > 0 {
					b.WriteString(rapid.SampledFrom([]string{" ", "  ", "\r\n ", "\n\t"}).Draw(t, "fold"))
				}
				b.WriteString(words.Draw(t, "word"))
			}
			b.WriteString(rapid.SampledFrom([]string{"\r\n", " \r\n", "\n"}).Draw(t, "end"))
		}
		b.WriteString("\r\n")
		start := b.Len()
		for _, l := range rapid.SliceOfN(words, 0, 20).Draw(t, "lines") {
			b.WriteString(l + rapid.SampledFrom([]string{"\r\n", " \r\n", "\n", "", "\t \r\n\r\n"}).Draw(t, "eol"))
		}
		msg := []byte(b.String())
		keys := []SignKey{rsaKey(), edKey()}
		for i := range keys {
			keys[i].Header = Canonicalization(rapid.IntRange(0, 1).Draw(t, "header"))
			keys[i].Body = Canonicalization(rapid.IntRange(0, 1).Draw(t, "body"))
		}
		head, body := split(msg)
		s, err := NewSigner(head, SignOptions{Keys: keys, Time: signedAt})
		if err != nil {
			t.Fatal(err)
		}
		s.Write(body)
		fields, err := s.Sign()
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.SplitSeq(fields, crlf) {
			if len(line) > 78 {
				t.Fatalf("long line %q", line)
			}
		}
		check := func(msg []byte, want Result) {
			head, body := split(msg)
			v := NewVerifier(head, VerifyOptions{Resolver: z, Now: signedAt})
			v.Write(body)
			got := v.Verify(context.Background())
			if len(got.DKIM) != 2 {
				t.Fatalf("%d signatures", len(got.DKIM))
			}
			for _, s := range got.DKIM {
				if s.Result != want {
					t.Fatalf("%s %s/%s: %s (%s)\n%q", s.Algorithm, s.Header, s.Body, s.Result, s.Reason, msg)
				}
			}
		}
		msg = append(fields, msg...)
		check(msg, Pass)
		if i := len(fields) + start; i < len(msg) {
			changed := bytes.Clone(msg)
			changed[i] ^= 1
			check(changed, Fail)
		}
	})
}

func TestSignerRefuses(t *testing.T) {
	small := rsaKey()
	small.Key = testKeys().rsa1024
	nameless := rsaKey()
	nameless.Selector = "a b"
	for _, c := range []struct {
		head string
		keys []SignKey
	}{
		{plain, nil},
		{plain, []SignKey{small}},
		{plain, []SignKey{nameless}},
		{plain, []SignKey{{Domain: "EXAMPLE.org", Selector: "s", Key: testKeys().ed}}},
		{plain, []SignKey{{Domain: "example.org", Selector: "s"}}},
		{plain, make([]SignKey, 9)},
		{"To: a@example.org\n\n", []SignKey{rsaKey()}},
		{"From: a@example.org\nFrom: b@example.org\n\n", []SignKey{rsaKey()}},
		{"From: a@example.org\nSubject: a\nsubject: b\n\n", []SignKey{rsaKey()}},
		{"From: a@example.org\nX: \rb\n\n", []SignKey{rsaKey()}},
		{"From: a@example.org\nnonsense\n\n", []SignKey{rsaKey()}},
	} {
		if _, err := NewSigner([]byte(c.head), SignOptions{Keys: c.keys, Time: signedAt}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%q %v: %v", c.head[:20], c.keys, err)
		}
	}
}

// handMade signs as no signer of ours would: the tags as given, with TAGS for bh=
// and b=.
func handMade(k SignKey, tags, head, body string) []byte {
	hb, bb := crlfText(head), crlfText(body)
	form := Relaxed
	h := parseHeader(hb, 1000)
	limit := int64(-1)
	list, _ := parseTags([]byte(tags))
	if n, err := list.number("l"); err == nil {
		limit = n
	}
	c := &canon{sums: []*bodySum{{Hash: crypto.SHA256.New(), limit: limit}}}
	c.Write(bb)
	c.close()
	draft := "DKIM-Signature: " + tags + "; bh=" + base64.StdEncoding.EncodeToString(c.sums[0].sum) + "; b="
	names := list.list("h")
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	var fields []byte
	h.pick(names, nil, func(raw []byte) { fields = appendField(fields, raw, form) })
	field, err := k.finish(fields, []byte(draft))
	if err != nil {
		panic(err)
	}
	return append(append(append(field, hb...), crlf...), bb...)
}

// sized is the record of a number of so many bits that looks like a key.
func sized(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}))
}

func TestKeyRecords(t *testing.T) {
	good := record(testKeys().rsa)
	p := strings.TrimPrefix(good, "v=DKIM1; k=rsa; ")
	block, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(p, "p="))
	any, err := x509.ParsePKIXPublicKey(block)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(any.(*rsa.PublicKey)))
	for _, c := range []struct {
		records []string
		want    Result
	}{
		{[]string{good}, Pass}, {[]string{p}, Pass}, {[]string{pkcs1}, Pass}, {[]string{good + " ;"}, Pass},
		{[]string{"h=sha1:sha256;" + p}, Pass}, {[]string{"h=sha1;" + p}, PermError},
		{[]string{"s=email;" + p}, Pass}, {[]string{"s=*;" + p}, Pass}, {[]string{"s=tls;" + p}, PermError},
		{[]string{"t=y;" + p}, Pass}, {[]string{"t=s;" + p}, Pass}, {[]string{"n=a note;" + p}, Pass},
		{[]string{"v=DKIM1;p="}, PermError}, {[]string{"v=DKIM2;" + p}, PermError}, {[]string{p + ";v=DKIM1"}, PermError},
		{[]string{"k=dsa;" + p}, PermError}, {[]string{"k=ed25519;" + p}, PermError}, {[]string{p + ";" + p}, PermError},
		{[]string{"v=DKIM1;k=rsa"}, PermError}, {[]string{"v=DKIM1;p=!!"}, PermError}, {[]string{"v=DKIM1;p=AAAA"}, PermError},
		{[]string{good, good}, PermError}, {[]string{"v=spf1 -all", good}, Pass}, {[]string{"v=spf1 -all"}, PermError},
		{[]string{"v=DKIM1;;" + p}, PermError}, {[]string{record(testKeys().ed)}, PermError},
		{[]string{good + strings.Repeat(" ", maxRecord)}, PermError}, {[]string{record(testKeys().rsa1024)}, Fail},
		{[]string{sized(4096)}, Fail}, {[]string{sized(4097)}, PermError}, {[]string{sized(1024)}, Fail}, {[]string{sized(1023)}, PermError}, // MA4
	} {
		z := &texts{m: map[string][]string{"rsa._domainkey.example.org": c.records}}
		s := verify(t, z, signedAt, sign(t, crlfText(plain), rsaKey())).DKIM[0]
		if s.Result != c.want || (s.Result == Pass) != (s.Reason == "") {
			t.Errorf("%.60q: %s %q, want %s", c.records, s.Result, s.Reason, c.want)
		}
		if strings.Contains(c.records[0], "t=y") != s.Testing {
			t.Errorf("%.60q: testing %v", c.records, s.Testing)
		}
	}
}

// TestLimits: MA4 and MA7.
func TestLimits(t *testing.T) {
	z := zone()
	msg := sign(t, crlfText(plain), rsaKey())
	field := msg[:len(msg)-len(crlfText(plain))]
	many := append(bytes.Repeat(field, 20), crlfText(plain)...)
	v := verify(t, z, signedAt, many)
	if len(v.DKIM) != 10 || v.Skipped != 10 || z.asked != 1 {
		t.Errorf("%d judged, %d skipped, %d questions", len(v.DKIM), v.Skipped, z.asked)
	}
	var other []byte
	for i := range 10 {
		other = append(other, bytes.Replace(field, []byte("s=rsa"), fmt.Appendf(nil, "s=x%d", i), 1)...)
	}
	z = zone()
	v = verify(t, z, signedAt, append(other, crlfText(plain)...))
	if z.asked != 5 || v.DKIM[4].Result != PermError || v.DKIM[5].Result != Policy {
		t.Errorf("%d questions; %+v", z.asked, v.DKIM[5])
	}
	z.fail = true
	if s := verify(t, z, signedAt, msg).DKIM[0]; s.Result != TempError {
		t.Errorf("servfail: %s", s.Result)
	}
}
