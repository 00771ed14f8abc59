package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// CRAMSecretSize is that of [CRAMSecret], in octets.
const CRAMSecretSize = 2 * md5.Size

// CRAMSecret is what a server keeps of a password for CRAM-MD5: the states of MD5
// after the inner and the outer key (RFC 2195 §2). Whoever has them can log in by
// CRAM-MD5, but does not know the password.
func CRAMSecret(password string) []byte {
	key := []byte(Prepare(password))
	if len(key) > md5.BlockSize {
		sum := md5.Sum(key)
		key = sum[:]
	}
	secret := make([]byte, 0, CRAMSecretSize)
	for _, pad := range []byte{0x36, 0x5c} {
		block := bytes.Repeat([]byte{pad}, md5.BlockSize)
		subtle.XORBytes(block, block[:len(key)], key)
		h := md5.New()
		h.Write(block)
		state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			panic("md5: " + err.Error()) // it never gives one
		}
		secret = append(secret, state[len(md5Magic):len(md5Magic)+md5.Size]...)
	}
	return secret
}

// md5Magic begins a state as crypto/md5 writes it; 16 octets of state, a block,
// and eight of length follow.
const md5Magic = "md5\x01"

// resume is the MD5 of a block that is known by its state, and text.
func resume(state, text []byte) []byte {
	b := append([]byte(md5Magic), state...)
	b = append(b, make([]byte, md5.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, md5.BlockSize)
	h := md5.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		panic("md5: " + err.Error()) // the length is right
	}
	h.Write(text)
	return h.Sum(nil)
}

// cramProof is the HMAC-MD5 of a challenge in hexadecimal digits.
func cramProof(secret, challenge []byte) []byte {
	inner := resume(secret[:md5.Size], challenge)
	return hex.AppendEncode(nil, resume(secret[md5.Size:], inner))
}

// cram is CRAM-MD5 (RFC 2195).
type cram struct {
	exchange
	challenge []byte
}

// Next sends the challenge, then checks "user SP digest".
func (c *cram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := c.count(response); err != nil {
		return nil, false, err
	}
	if c.challenge == nil {
		if response != nil {
			return nil, false, c.fail("CRAM-MD5 has no initial response")
		}
		c.challenge = []byte("<" + c.auth.newNonce() + "@" + c.auth.Realm + ">")
		return c.challenge, false, nil
	}
	i := bytes.LastIndexByte(response, ' ')
	if i < 0 || len(response)-i-1 != 2*md5.Size {
		return nil, false, c.fail("malformed response")
	}
	a, err := c.claim(ctx, Claim{User: string(response[:i])})
	if err != nil {
		return nil, false, err
	}
	found := -1
	if len(a.Secret) == CRAMSecretSize && subtle.ConstantTimeCompare(cramProof(a.Secret, c.challenge), response[i+1:]) == 1 {
		found = 0
	}
	return c.finish(a.End(ctx, found))
}

// DigestSecret is what a server keeps of a password for DIGEST-MD5: the hash of
// user, realm and password (RFC 2831 §2.1.2.1). Whoever has it can log in by
// DIGEST-MD5.
func DigestSecret(user, realm, password string) []byte {
	sum := md5.Sum([]byte(latin1(user) + ":" + latin1(realm) + ":" + latin1(Prepare(password))))
	return sum[:]
}

// latin1 writes what fits in ISO 8859-1 so, as RFC 2831 §2.1.2.1 wants it.
func latin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return s
		}
		b = append(b, byte(r))
	}
	return string(b)
}

// digest is DIGEST-MD5 (RFC 2831), without security layers.
type digest struct {
	exchange
	nonce string
}

// Next sends the challenge, checks the response, and hears the answer to our proof.
func (d *digest) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := d.count(response); err != nil {
		return nil, false, err
	}
	switch {
	case d.proved != "":
		return d.heard(response)
	case d.nonce == "" && response != nil:
		return nil, false, d.fail("initial response for a session that is not kept")
	case d.nonce == "":
		d.nonce = d.auth.newNonce()
		return []byte(`realm="` + d.auth.Realm + `",nonce="` + d.nonce + `",qop="auth",charset=utf-8,algorithm=md5-sess`), false, nil
	}
	return d.check(ctx, string(response))
}

func (d *digest) check(ctx context.Context, response string) ([]byte, bool, error) {
	v, ok := parseDirectives(response)
	if !ok || !utf8.ValidString(response) {
		return nil, false, d.fail("malformed directives")
	}
	qop := v["qop"]
	if qop == "" {
		qop = "auth"
	}
	// RFC 2831 §2.1.2; the nonce count is 1, since no session is kept (§2.2).
	if v["nonce"] != d.nonce || v["realm"] != d.auth.Realm || v["nc"] != "00000001" || qop != "auth" || v["cnonce"] == "" ||
		v["digest-uri"] == "" || len(v["response"]) != 2*md5.Size || v["charset"] != "" && v["charset"] != "utf-8" {
		return nil, false, d.fail("directives are not an answer to ours")
	}
	a, err := d.claim(ctx, Claim{Authz: v["authzid"], User: v["username"], Realm: v["realm"]})
	if err != nil {
		return nil, false, err
	}
	found := -1
	if len(a.Secret) == md5.Size && hmac.Equal([]byte(digestProof(a.Secret, v, "AUTHENTICATE:")), []byte(v["response"])) {
		found = 0
	}
	id, err := a.End(ctx, found)
	if found < 0 || err != nil {
		return d.finish("", err)
	}
	return d.lastWord([]byte("rspauth="+digestProof(a.Secret, v, ":")), id, nil)
}

// digestProof is the response-value of RFC 2831 §2.1.2.1.
func digestProof(secret []byte, v map[string]string, method string) string {
	sum := func(s string) string {
		h := md5.Sum([]byte(s))
		return hex.EncodeToString(h[:])
	}
	a1 := string(secret) + ":" + v["nonce"] + ":" + v["cnonce"]
	if v["authzid"] != "" {
		a1 += ":" + v["authzid"]
	}
	return sum(sum(a1) + ":" + v["nonce"] + ":" + v["nc"] + ":" + v["cnonce"] + ":auth:" + sum(method+v["digest-uri"]))
}

// parseDirectives reads a list of name=value, where values may be quoted (RFC
// 2831 §7.1). No name may come twice.
func parseDirectives(s string) (map[string]string, bool) {
	all := map[string]string{}
	for {
		s = strings.TrimLeft(s, ", \t\r\n")
		if s == "" {
			return all, len(all) > 0
		}
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.TrimRight(name, " \t\r\n"))
		if _, twice := all[name]; !ok || twice || name == "" {
			return nil, false
		}
		var value string
		if value, s, ok = directiveValue(strings.TrimLeft(rest, " \t\r\n")); !ok {
			return nil, false
		}
		all[name] = value
	}
}

// directiveValue reads a token or a quoted string, and what parts it from the
// next directive.
func directiveValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ",")
		value = strings.TrimRight(value, " \t\r\n")
		return value, rest, value != "" && !strings.ContainsAny(value, "\" \t\r\n\x00")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			rest = strings.TrimLeft(s[i+1:], " \t\r\n")
			return b.String(), rest, rest == "" || rest[0] == ','
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
