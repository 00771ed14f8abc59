package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

const (
	minRSABits = 1024 // RFC 8301 §3.2
	maxRSABits = 4096 // MA4; RFC 8301 §3.2 asks for no more
	maxRecord  = 16 << 10
)

// KeyFact is what the DNS said about a key, for the story of a message.
type KeyFact struct {
	// Name is the name that was asked for, "" when none was.
	Name string
	// Record is the text of the key record; it comes from outside. Empty without one.
	Record   string
	Security dns.Security
	TTL      time.Duration
}

// publicKey is a key record that was looked up (RFC 6376 §3.6.1), or why there is
// no such key.
type publicKey struct {
	fact    KeyFact
	key     crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	kind    string           // rsa, ed25519
	bits    int
	testing bool // t=y
	strict  bool // t=s
	result  Result
	reason  string
}

func (k *publicKey) refuse(r Result, reason string) *publicKey {
	k.result, k.reason = r, reason
	return k
}

// keyName is where the key of a selector is (RFC 6376 §3.6.2.1), "" when selector
// or domain make no name. U-labels become A-labels (RFC 8616 §3).
func keyName(selector, domain string) string {
	s := strings.ToLower(selector)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' {
			continue
		}
		if c < 0x80 {
			return ""
		}
		canonical, err := postino.CanonicalDomain(s)
		if err != nil {
			return ""
		}
		s = canonical
		break
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return ""
		}
	}
	name := s + "._domainkey." + domain
	if len(name) > postino.MaxDomain {
		return ""
	}
	return name
}

// keyring looks up the keys that one message needs, each once.
type keyring struct {
	resolver dns.Resolver
	keys     map[string]*publicKey
}

// get returns the key at a name. At most max different ones are asked for.
func (r *keyring) get(ctx context.Context, name string, max int) *publicKey {
	if k, ok := r.keys[name]; ok {
		return k
	}
	if len(r.keys) >= max {
		return (&publicKey{}).refuse(Policy, "the message needs too many keys")
	}
	k := lookupKey(ctx, r.resolver, name)
	r.keys[name] = k
	return k
}

func lookupKey(ctx context.Context, r dns.Resolver, name string) *publicKey {
	k := &publicKey{fact: KeyFact{Name: name}}
	a, err := r.Lookup(ctx, name, dns.TypeTXT)
	if a != nil {
		k.fact.Security, k.fact.TTL = a.Security, a.TTL
	}
	switch {
	case postino.Is(err, postino.NotFound), postino.Is(err, postino.Invalid):
		return k.refuse(PermError, "no key at "+name)
	case err != nil:
		return k.refuse(TempError, "the key at "+name+" cannot be looked up now")
	}
	records := slices.DeleteFunc(slices.Clone(a.TXT), func(t string) bool { return !keyRecord(t) })
	if len(records) != 1 {
		// RFC 6376 §3.6.2.2: of several, nobody knows which one is meant.
		if len(records) > 1 {
			return k.refuse(PermError, "several key records at "+name)
		}
		return k.refuse(PermError, "no key record at "+name)
	}
	k.fact.Record = records[0]
	k.parse(records[0])
	return k
}

// keyRecord tells whether a text is meant as a key: other records may stand at the
// same name, by a wildcard for example.
func keyRecord(t string) bool {
	if len(t) > maxRecord {
		return false
	}
	tags, err := parseTags([]byte(t))
	if err != nil {
		return strings.HasPrefix(strings.TrimLeft(t, fws), "v=DKIM1")
	}
	_, ok := tags.get("p")
	return ok && tags.text("v", "DKIM1") == "DKIM1"
}

// parse reads a key record (RFC 6376 §3.6.1).
func (k *publicKey) parse(record string) {
	tags, err := parseTags([]byte(record))
	if err != nil {
		k.refuse(PermError, "the key record is malformed: "+err.Error())
		return
	}
	if _, ok := tags.get("v"); ok && tags[0].name != "v" {
		k.refuse(PermError, "v= is not the first tag of the key record")
		return
	}
	for _, flag := range tags.list("t") {
		k.testing = k.testing || flag == "y"
		k.strict = k.strict || flag == "s"
	}
	k.kind = tags.text("k", "rsa")
	if h := tags.list("h"); h != nil && !slices.Contains(h, "sha256") {
		k.refuse(PermError, "the key is not for SHA-256")
		return
	}
	if s := tags.list("s"); s != nil && !slices.Contains(s, "*") && !slices.Contains(s, "email") {
		k.refuse(PermError, "the key is not for mail")
		return
	}
	p, err := tags.base64("p")
	switch {
	case err != nil:
		k.refuse(PermError, "the key is not base64")
	case len(p) == 0:
		k.refuse(PermError, "the key was revoked") // RFC 6376 §3.6.1, p=
	case k.kind == "rsa":
		k.parseRSA(p)
	case k.kind == "ed25519":
		if k.bits = len(p) * 8; len(p) != ed25519.PublicKeySize {
			k.refuse(PermError, "the Ed25519 key has not 32 octets")
			return
		}
		k.key = ed25519.PublicKey(p)
	default:
		k.refuse(PermError, "unknown kind of key")
	}
}

// parseRSA reads a key in the form that everybody publishes, SubjectPublicKeyInfo,
// or in the one that RFC 6376 §3.6.1 names, RSAPublicKey.
func (k *publicKey) parseRSA(p []byte) {
	var key *rsa.PublicKey
	if any, err := x509.ParsePKIXPublicKey(p); err == nil {
		key, _ = any.(*rsa.PublicKey)
	} else {
		key, _ = x509.ParsePKCS1PublicKey(p)
	}
	if key == nil {
		k.refuse(PermError, "the key is no RSA key")
		return
	}
	switch k.bits = key.N.BitLen(); {
	case k.bits < minRSABits:
		k.refuse(PermError, "the RSA key is shorter than 1024 bits") // RFC 8301 §3.2
	case k.bits > maxRSABits:
		k.refuse(PermError, "the RSA key is longer than 4096 bits")
	default:
		k.key = key
	}
}

// verify checks a signature of a digest (RFC 6376 §3.3.1, RFC 8463 §3).
func (k *publicKey) verify(digest, sig []byte) bool {
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, digest, sig)
	}
	return false
}
