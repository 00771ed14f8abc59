package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// oversigned are signed once more than they appear, so that nobody adds one (MA5).
var oversigned = [...]string{"from", "to", "cc", "subject", "date", "reply-to", "mime-version", "content-type",
	"content-transfer-encoding"}

// signedToo are signed as often as they appear (RFC 6376 §5.4.1).
var signedToo = [...]string{"sender", "message-id", "in-reply-to", "references", "content-id", "content-description",
	"content-disposition", "content-language", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post",
	"list-subscribe", "list-post", "list-owner", "list-archive", "autocrypt", "openpgp"}

const (
	signLifetime = 7 * 24 * time.Hour // MA5
	maxSigners   = 8
	minSignBits  = 2048 // MA5
)

var (
	errSignKey  = errors.New("the key is neither RSA of 2,048 to 4,096 bits nor Ed25519")
	errSignName = errors.New("domain or selector make no name of a key")
	errSignFrom = errors.New("the message has not one From field")
	errSignMany = errors.New("no key, or more than 8")
)

// SignKey is a key that signs for a domain.
type SignKey struct {
	// Domain is canonical; Selector names the key below it.
	Domain, Selector string
	// Key is RSA of at least 2,048 bits or Ed25519. It is given digests, so the
	// private part may be in another device.
	Key crypto.Signer
	// Header and Body are the forms that are signed; the default, Relaxed,
	// survives transport best.
	Header, Body Canonicalization
}

func (k *SignKey) algorithm() (string, error) {
	if keyName(k.Selector, k.Domain) == "" {
		return "", errSignName
	}
	if d, err := postino.CanonicalDomain(k.Domain); err != nil || d != k.Domain || d[0] == '[' {
		return "", errSignName
	}
	if k.Key == nil {
		return "", errSignKey
	}
	switch p := k.Key.Public().(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); minSignBits <= n && n <= maxRSABits {
			return "rsa-sha256", nil
		}
	case ed25519.PublicKey:
		return "ed25519-sha256", nil
	}
	return "", errSignKey
}

// finish signs the canonical fields and the draft of the field of the signature,
// which ends with "b=", and returns the draft completed.
func (k *SignKey) finish(fields, draft []byte) ([]byte, error) {
	text := appendField(fields, draft, k.Header)
	text = text[:len(text)-len(crlf)]
	digest, hash := sha256.Sum256(text), crypto.SHA256
	if _, ok := k.Key.Public().(ed25519.PublicKey); ok {
		hash = crypto.Hash(0) // RFC 8463 §3: PureEdDSA of the digest
	}
	sig, err := k.Key.Sign(rand.Reader, digest[:], hash)
	if err != nil {
		return nil, err
	}
	f := folder{draft, 3}
	for b := base64.StdEncoding.EncodeToString(sig); b != ""; {
		n := min(len(b), foldAt-f.col)
		f.dst = append(f.dst, b[:n]...)
		if b = b[n:]; b != "" {
			f.fold()
		}
	}
	return append(f.dst, crlf...), nil
}

const foldAt = 76

// folder writes a field on lines of at most 76 octets, where tokens allow.
type folder struct {
	dst []byte
	col int
}

func (f *folder) fold() {
	f.dst = append(f.dst, "\r\n\t"...)
	f.col = 1
}

// put writes a token after a space or on a new line.
func (f *folder) put(token string) {
	if f.col+1+len(token) > foldAt {
		f.fold()
	} else {
		f.dst = append(f.dst, ' ')
		f.col++
	}
	f.join(token)
}

// join writes a token without a space, on a new line if it does not fit.
func (f *folder) join(token string) {
	if f.col > 1 && f.col+len(token) > foldAt {
		f.fold()
	}
	f.dst = append(f.dst, token...)
	f.col += len(token)
}

// SignOptions are the parameters of a Signer.
type SignOptions struct {
	// Keys make one signature each, 1 to 8.
	Keys []SignKey
	// Time is when the message is signed, t=.
	Time time.Time
	// Lifetime is how long after that the signatures count, x=, in whole seconds;
	// 0 means 7 days.
	Lifetime time.Duration
}

// Signer signs a message with DKIM. The header is given to NewSigner; the body is
// written once, in pieces of any size; then Sign makes the fields. It belongs to
// one goroutine.
type Signer struct {
	opts   SignOptions
	header *header
	bodies bodyHashes
}

// bodyHashes hashes a whole body in the forms that signatures of ours need.
type bodyHashes [2]*canon

func (b *bodyHashes) need(form Canonicalization) {
	if b[form] == nil {
		b[form] = &canon{simple: form == Simple, sums: []*bodySum{{Hash: sha256.New(), limit: -1}}}
	}
}

func (b *bodyHashes) Write(p []byte) (int, error) {
	for _, c := range b {
		if c != nil {
			c.Write(p)
		}
	}
	return len(p), nil
}

func (b *bodyHashes) close() {
	for _, c := range b {
		if c != nil {
			c.close()
		}
	}
}

func (b *bodyHashes) base64(form Canonicalization) string {
	return base64.StdEncoding.EncodeToString(b[form].sums[0].sum)
}

// NewSigner reads the raw header of a message, which is not copied. A header that
// would not verify, without From or with several, is refused with
// postino.Invalid, and so are keys that others would not accept.
func NewSigner(rawHeader []byte, opts SignOptions) (*Signer, error) {
	s := &Signer{opts: opts, header: parseHeader(rawHeader, Limits{}.withDefaults().Fields)}
	if len(opts.Keys) == 0 || len(opts.Keys) > maxSigners {
		return nil, postino.E(postino.Invalid, "sign", "", errSignMany)
	}
	if err := s.header.signable(); err != nil {
		return nil, err
	}
	for _, k := range opts.Keys {
		if _, err := k.algorithm(); err != nil {
			return nil, postino.E(postino.Invalid, "sign", k.Domain, err)
		}
		s.bodies.need(k.Body)
	}
	return s, nil
}

func (h *header) signable() error {
	if h.fault != "" {
		return postino.E(postino.Invalid, "sign", "", errors.New(h.fault))
	}
	if h.count("from") != 1 {
		return postino.E(postino.Invalid, "sign", "", errSignFrom)
	}
	for _, name := range unique {
		if h.count(name) > 1 {
			return postino.E(postino.Invalid, "sign", name, errors.New("the field appears twice"))
		}
	}
	return nil
}

// Write takes the next piece of the body. It never fails.
func (s *Signer) Write(p []byte) (int, error) { return s.bodies.Write(p) }

// Sign ends the body and returns the DKIM-Signature fields, in the order of the
// keys, to be put before the header. An error is one of a key.
func (s *Signer) Sign() ([]byte, error) {
	s.bodies.close()
	lifetime := s.opts.Lifetime.Truncate(time.Second)
	if lifetime <= 0 {
		lifetime = signLifetime
	}
	names := s.header.signedNames()
	var out []byte
	for _, k := range s.opts.Keys {
		algorithm, _ := k.algorithm()
		f := folder{[]byte("DKIM-Signature:"), 15}
		f.put("v=1;")
		f.put("a=" + algorithm + ";")
		f.put("c=" + k.Header.String() + "/" + k.Body.String() + ";")
		f.putSigner(&k, s.opts.Time)
		f.put("x=" + strconv.FormatInt(s.opts.Time.Add(lifetime).Unix(), 10) + ";")
		field, err := s.header.sign(&f, &k, names, &s.bodies)
		if err != nil {
			return nil, postino.E(postino.Internal, "sign", k.Domain, err)
		}
		out = append(out, field...)
	}
	return out, nil
}

func (f *folder) putSigner(k *SignKey, t time.Time) {
	f.put("d=" + k.Domain + ";")
	f.put("s=" + k.Selector + ";")
	f.put("t=" + strconv.FormatInt(t.Unix(), 10) + ";")
}

// sign writes the tags h=, bh= and b= and returns the whole field.
func (h *header) sign(f *folder, k *SignKey, names []string, bodies *bodyHashes) ([]byte, error) {
	for i, name := range names {
		switch last := i == len(names)-1; {
		case i == 0 && last:
			f.put("h=" + name + ";")
		case i == 0:
			f.put("h=" + name)
		case last:
			f.join(":" + name + ";")
		default:
			f.join(":" + name)
		}
	}
	f.put("bh=" + bodies.base64(k.Body) + ";")
	f.fold()
	f.join("b=")
	var fields []byte
	h.pick(names, nil, func(raw []byte) { fields = appendField(fields, raw, k.Header) })
	return k.finish(fields, f.dst)
}

// signedNames is what h= names.
func (h *header) signedNames() []string {
	var names []string
	for _, name := range oversigned {
		for range h.count(name) + 1 {
			names = append(names, name)
		}
	}
	for _, name := range signedToo {
		names = append(names, slices.Repeat([]string{name}, min(h.count(name), maxSets))...)
	}
	return names
}

// SealOptions are the parameters of a Sealer.
type SealOptions struct {
	// AuthServID is the name of our Authentication-Results.
	AuthServID string
	Time       time.Time
}

// Sealer adds a set to the Authenticated Received Chain of a message that leaves
// again (RFC 8617 §5.1), after all other changes of it. It belongs to one
// goroutine.
type Sealer struct {
	opts   SealOptions
	header *header
	chain  arcChain
	n      int // our instance; 0 when there is nothing to seal
	bodies bodyHashes
	ended  bool // the body is over
}

// NewSealer reads the raw header of the message as it will leave; it is not
// copied. A header that NewSigner refuses is refused here, and a chain of 50 sets
// with postino.Full.
func NewSealer(rawHeader []byte, opts SealOptions) (*Sealer, error) {
	s := &Sealer{opts: opts, header: parseHeader(rawHeader, Limits{}.withDefaults().Fields)}
	if err := s.header.signable(); err != nil {
		return nil, err
	}
	s.chain.parse(s.header, opts.Time)
	s.bodies.need(Relaxed)
	last, cv := s.header.newestSeal()
	if cv == "fail" {
		return s, nil // RFC 8617 §5.1, step 2
	}
	if last >= maxSets {
		return nil, postino.E(postino.Full, "seal", "", errors.New("the chain has 50 sets"))
	}
	s.n = last + 1
	return s, nil
}

// newestSeal returns the highest instance of the fields of the chain, and cv= of
// the seal with it.
func (h *header) newestSeal() (n int, cv string) {
	for k, name := range [3]string{"arc-authentication-results", "arc-message-signature", "arc-seal"} {
		for i := h.at(name); i >= 0; i = h.fields[i].prev {
			at, _ := instance(&h.fields[i], k)
			if at < n {
				continue
			}
			if at > n {
				n, cv = at, ""
			}
			if k == 2 {
				tags, _ := parseTags(h.fields[i].Value)
				cv = strings.ToLower(tags.text("cv", ""))
			}
		}
	}
	return n, cv
}

// Write takes the next piece of the body. It never fails.
func (s *Sealer) Write(p []byte) (int, error) { return s.bodies.Write(p) }

// Seal ends the body and returns the three fields of the set, to be put before the
// header; nothing when the chain was sealed as failed already. results are what we
// found when the message arrived, and chain what its chain was worth then, before
// we changed anything. The forms of the key are passed over: they are always
// relaxed. Copies that several domains send on get a set each. An error is one of
// the key.
func (s *Sealer) Seal(key SignKey, results []AuthResult, chain Chain) ([]byte, error) {
	key.Header, key.Body = Relaxed, Relaxed
	algorithm, err := key.algorithm()
	if err != nil {
		return nil, postino.E(postino.Invalid, "seal", key.Domain, err)
	}
	if s.n == 0 {
		return nil, nil
	}
	if !s.ended {
		s.bodies.close()
		s.ended = true
	}
	i, k := "i="+strconv.Itoa(s.n)+";", &key
	claim := appendResults(folder{[]byte("ARC-Authentication-Results: " + i), 28 + len(i)}, s.opts.AuthServID, results)

	f := folder{[]byte("ARC-Message-Signature:"), 22}
	f.put(i)
	f.put("a=" + algorithm + ";")
	f.put("c=relaxed/relaxed;")
	f.putSigner(k, s.opts.Time)
	names := append(s.header.signedNames(), slices.Repeat([]string{"dkim-signature"}, min(s.header.count("dkim-signature"), maxSets))...)
	message, err := s.header.sign(&f, k, names, &s.bodies)
	if err != nil {
		return nil, postino.E(postino.Internal, "seal", k.Domain, err)
	}
	seal, err := s.seal(i, algorithm, k, chain.Result, claim, message)
	if err != nil {
		return nil, postino.E(postino.Internal, "seal", k.Domain, err)
	}
	return append(append(seal, message...), claim...), nil
}

// seal makes the seal over all sets, or over ours alone when the chain is broken
// (RFC 8617 §5.1.1, §5.1.2).
func (s *Sealer) seal(i, algorithm string, k *SignKey, found Result, results, message []byte) ([]byte, error) {
	var text []byte
	cv := Fail
	switch {
	case s.n == 1 && found != Fail:
		cv = None
	case found == Pass && s.chain.fault == "" && len(s.chain.sets) == s.n-1:
		cv = Pass
		for j := range s.chain.sets {
			set := &s.chain.sets[j]
			text = s.chain.appendSets(text, j, j)
			text = appendField(text, set.seal.field.Raw, Relaxed)
		}
	}
	text = appendField(appendField(text, results, Relaxed), message, Relaxed)
	f := folder{[]byte("ARC-Seal:"), 9}
	f.put(i)
	f.put("a=" + algorithm + ";")
	f.put("cv=" + string(cv) + ";")
	f.putSigner(k, s.opts.Time)
	f.fold()
	f.join("b=")
	return k.finish(text, f.dst)
}
