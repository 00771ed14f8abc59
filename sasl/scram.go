package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// Hash is that of a SCRAM mechanism.
type Hash uint8

// The hashes.
const (
	SHA1   Hash = iota // RFC 5802
	SHA256             // RFC 7677
)

// New returns the hash function.
func (h Hash) New() hash.Hash {
	if h == SHA1 {
		return sha1.New()
	}
	return sha256.New()
}

// Size is that of a key, in octets.
func (h Hash) Size() int { return [...]int{sha1.Size, sha256.Size}[h] }

func (h Hash) mechanism(plus bool) string {
	name := [...]string{"SCRAM-SHA-1", "SCRAM-SHA-256"}[h]
	if plus {
		name += "-PLUS"
	}
	return name
}

func (h Hash) mac(key, text []byte) []byte {
	m := hmac.New(h.New, key)
	m.Write(text)
	return m.Sum(nil)
}

func (h Hash) sum(b []byte) []byte {
	s := h.New()
	s.Write(b)
	return s.Sum(nil)
}

// Key is what a server keeps of a password: Stored checks the client's proof,
// Server makes its own (RFC 5802 §3).
type Key struct{ Stored, Server []byte }

// MinIterations and MaxIterations bound what a client computes for a server:
// less is too weak (RFC 7677 §4), more is an attack.
const (
	MinIterations = 4096
	MaxIterations = 1_000_000
)

// NewKey derives the key of a password.
func NewKey(h Hash, password string, salt []byte, iterations int) Key {
	_, k := derive(h, password, salt, iterations)
	return k
}

// derive also gives the ClientKey. It is RFC 5802 §3.
func derive(h Hash, password string, salt []byte, iterations int) (client []byte, k Key) {
	salted, err := pbkdf2.Key(h.New, Prepare(password), salt, iterations, h.Size())
	if err != nil {
		panic("pbkdf2: " + err.Error()) // only under FIPS with a short salt
	}
	client = h.mac(salted, []byte("Client Key"))
	return client, Key{h.sum(client), h.mac(salted, []byte("Server Key"))}
}

// Prepare is the SASLprep of RFC 4013, in which clients hash passwords. What it
// refuses, such as characters younger than Unicode 3.2, is taken as it is.
func Prepare(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			if p, err := stringprep.SASLprep.Prepare(s); err == nil {
				return p
			}
			return s
		}
	}
	return s
}

// scram is the server's side of RFC 5802.
type scram struct {
	exchange
	hash    Hash
	plus    bool
	attempt *Attempt
	cbind   [][]byte // what "c" may be, decoded
	nonce   string   // of both
	said    []byte   // client-first-message-bare "," server-first-message ","
}

// Next takes the client's first message, its final one, and the nothing that
// answers our proof.
func (s *scram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := s.count(response); err != nil {
		return nil, false, err
	}
	switch {
	case s.proved != "":
		return s.heard(response)
	case s.attempt != nil:
		return s.final(ctx, response)
	case response == nil:
		return []byte{}, false, nil
	}
	return s.first(ctx, string(response))
}

// first reads the claim and answers with nonce, salt and count.
func (s *scram) first(ctx context.Context, msg string) ([]byte, bool, error) {
	header, bare, ok := cutHeader(msg)
	if !ok {
		return nil, false, s.fail("malformed GS2 header")
	}
	g, ok := parseHeader(header)
	if !ok {
		return nil, false, s.fail("malformed GS2 header")
	}
	switch {
	case s.plus != (g.flag == 'p'):
		return nil, false, s.fail("channel binding does not fit the mechanism")
	case g.flag == 'y' && len(s.auth.Bindings) > 0: // RFC 5802 §6: somebody hid our -PLUS
		return nil, false, s.fail("client did not see that channel binding is offered")
	case g.flag == 'p' && len(s.auth.Bindings[g.binding]) == 0:
		return nil, false, s.fail("channel binding of a type that is not offered")
	}
	user, nonce, ok := parseBare(bare)
	if !ok {
		return nil, false, s.fail("malformed first message")
	}
	a, err := s.claim(ctx, Claim{Hash: s.hash, Authz: g.authz, User: user})
	if err != nil {
		return nil, false, err
	}
	s.attempt = a
	s.cbind = [][]byte{[]byte(header)}
	if g.flag == 'p' {
		s.cbind = nil
		for _, data := range s.auth.Bindings[g.binding] {
			s.cbind = append(s.cbind, append([]byte(header), data...))
		}
	}
	s.nonce = nonce + s.auth.newNonce()
	b := append([]byte("r="), s.nonce...)
	b = append(b, ",s="...)
	b = AppendEncode(b, a.Salt)
	b = append(b, ",i="...)
	b = strconv.AppendInt(b, int64(a.Iterations), 10)
	s.said = append(append(append([]byte(bare), ','), b...), ',')
	return b, false, nil
}

// final checks the proof and answers with ours.
func (s *scram) final(ctx context.Context, msg []byte) ([]byte, bool, error) {
	i := bytes.LastIndex(msg, []byte(",p="))
	if i < 0 {
		return nil, false, s.fail("final message without proof")
	}
	proof, err := Decode(nil, msg[i+3:])
	if err != nil || len(proof) != s.hash.Size() {
		return nil, false, s.fail("malformed proof")
	}
	cbind, nonce, ok := parseFinal(string(msg[:i]))
	if !ok || nonce != s.nonce {
		return nil, false, s.fail("malformed final message, or not an answer to ours")
	}
	bound := 0
	for _, want := range s.cbind {
		bound |= subtle.ConstantTimeCompare(cbind, want)
	}
	said := append(s.said, msg[:i]...)
	found := -1
	for n, k := range s.attempt.Keys {
		client := s.hash.mac(k.Stored, said)
		subtle.XORBytes(client, client, proof)
		if subtle.ConstantTimeCompare(s.hash.sum(client), k.Stored)&bound == 1 {
			found = n
		}
	}
	id, err := s.attempt.End(ctx, found)
	if found < 0 || err != nil {
		return s.finish("", err)
	}
	return s.lastWord(AppendEncode([]byte("v="), s.hash.mac(s.attempt.Keys[found].Server, said)), id, nil)
}

// newNonce returns 144 random bits as text.
func (a *Authenticator) newNonce() string {
	if a.nonce != nil {
		return a.nonce()
	}
	return randomText()
}

func randomText() string {
	var b [18]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// gs2 is the header of RFC 5801 §4 as SCRAM and OAUTHBEARER have it.
type gs2 struct {
	flag    byte // n, y or p
	binding string
	authz   string
}

// cutHeader parts a message behind the second comma.
func cutHeader(msg string) (header, rest string, ok bool) {
	if i := strings.IndexByte(msg, ','); i >= 0 {
		if j := strings.IndexByte(msg[i+1:], ','); j >= 0 {
			return msg[:i+1+j+1], msg[i+1+j+1:], true
		}
	}
	return "", "", false
}

// parseHeader reads gs2-header of RFC 5802 §7.
func parseHeader(s string) (g gs2, ok bool) {
	flag, rest, _ := strings.Cut(s, ",")
	authz := strings.TrimSuffix(rest, ",")
	switch {
	case flag == "n" || flag == "y":
	case strings.HasPrefix(flag, "p=") && len(flag) > 2 && len(flag) <= 64:
		g.binding = flag[2:]
	default:
		return g, false
	}
	g.flag = flag[0]
	if authz == "" {
		return g, true
	}
	name, ok := strings.CutPrefix(authz, "a=")
	if ok {
		g.authz, ok = unescape(name)
	}
	return g, ok
}

// unescape reads a saslname; one that is empty is none.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '=')
		if i < 0 {
			b.WriteString(s)
			return b.String(), b.Len() > 0
		}
		b.WriteString(s[:i])
		switch s = s[i:]; {
		case strings.HasPrefix(s, "=2C"):
			b.WriteByte(',')
		case strings.HasPrefix(s, "=3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = s[3:]
	}
}

// escape writes a saslname.
func escape(s string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s) }

// parseBare reads client-first-message-bare. Extensions may follow the nonce; a
// mandatory one ("m") is refused by its place, where the name should be.
func parseBare(s string) (user, nonce string, ok bool) {
	name, rest, _ := strings.Cut(s, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	name, ok1 := strings.CutPrefix(name, "n=")
	nonce, ok2 := strings.CutPrefix(nonce, "r=")
	if !ok1 || !ok2 || !printable(nonce) || more && !attributes(extensions) {
		return "", "", false
	}
	user, ok = unescape(name)
	return user, nonce, ok
}

// parseFinal reads client-final-message-without-proof.
func parseFinal(s string) (cbind []byte, nonce string, ok bool) {
	c, rest, _ := strings.Cut(s, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	c, ok1 := strings.CutPrefix(c, "c=")
	nonce, ok2 := strings.CutPrefix(nonce, "r=")
	if !ok1 || !ok2 || more && !attributes(extensions) {
		return nil, "", false
	}
	cbind, err := Decode(nil, []byte(c))
	return cbind, nonce, err == nil
}

// attributes tells whether s is a list of attr-val.
func attributes(s string) bool {
	for a := range strings.SplitSeq(s, ",") {
		if len(a) < 3 || a[1] != '=' || !('a' <= a[0]|0x20 && a[0]|0x20 <= 'z') || strings.IndexByte(a, 0) >= 0 {
			return false
		}
	}
	return true
}

// printable tells whether s is 1*printable of RFC 5802 §7, without commas.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return s != ""
}
