package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// KeyRecord returns the TXT record that publishes a key (RFC 6376 §3.6): its name
// and its text. pub is *rsa.PublicKey or ed25519.PublicKey; of others, and of names
// that cannot be, the name is empty.
func KeyRecord(selector, domain string, pub crypto.PublicKey) (name, text string) {
	kind := ""
	var p []byte
	switch k := pub.(type) {
	case *rsa.PublicKey:
		p, _ = x509.MarshalPKIXPublicKey(k) // what everybody publishes; it never fails for RSA
		kind = "rsa"
	case ed25519.PublicKey:
		p, kind = k, "ed25519" // RFC 8463 §4: the 32 octets themselves
	default:
		return "", ""
	}
	return keyName(selector, domain), "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(p)
}

// ZoneText writes the text of a TXT record as a zone file has it: quoted strings of
// at most 255 octets (RFC 1035 §3.3.14, §5.1). What is not printable ASCII is
// written by number.
func ZoneText(text string) string {
	const most = 255
	var b strings.Builder
	for i := 0; i < len(text) || i == 0; i += most {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for _, c := range []byte(text[i:min(i+most, len(text))]) {
			switch {
			case c == '"', c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ', c > '~':
				b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// CheckKeyRecord asks whether the DNS holds a key as a verifier would use it, and
// for how long its answer may be kept. NotFound: there is no key record; Conflict:
// there is another one, several, or one that is of no use; Transient: nobody can
// tell now.
func CheckKeyRecord(ctx context.Context, r dns.Resolver, selector, domain string, pub crypto.PublicKey) (ttl time.Duration, err error) {
	const op = "check DKIM key"
	name := keyName(selector, domain)
	if name == "" {
		return 0, postino.E(postino.Invalid, op, domain, errSignName)
	}
	k := lookupKey(ctx, r, name)
	same, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case k.result == TempError:
		return 0, postino.E(postino.Transient, op, name, errors.New(k.reason))
	case k.fact.Record == "" && !strings.HasPrefix(k.reason, "several"):
		return k.fact.TTL, postino.E(postino.NotFound, op, name, errors.New(k.reason))
	case k.result != "":
		return k.fact.TTL, postino.E(postino.Conflict, op, name, errors.New(k.reason))
	case !ok || !same.Equal(pub):
		return k.fact.TTL, postino.E(postino.Conflict, op, name, errors.New("the record holds another key"))
	case k.testing:
		return k.fact.TTL, postino.E(postino.Conflict, op, name, errors.New("the record says t=y: whoever reads it takes the mail for unsigned"))
	}
	return k.fact.TTL, nil
}
