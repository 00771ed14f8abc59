package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// Result is the outcome of a method as Authentication-Results names it (RFC 8601
// §2.7).
type Result string

// The results that the methods share.
const (
	None      Result = "none"      // nothing to judge
	Pass      Result = "pass"      // proven
	Fail      Result = "fail"      // disproven: changed on the way, or forged
	Policy    Result = "policy"    // the signature is right but proves too little for us
	Neutral   Result = "neutral"   // malformed
	TempError Result = "temperror" // may be judged later
	PermError Result = "permerror" // cannot be judged, now or later
	SoftFail  Result = "softfail"  // SPF: the domain believes that it is forged
	Unknown   Result = "unknown"   // ADSP: mail of the domain may be signed or not
	Discard   Result = "discard"   // ADSP: the domain wants it thrown away
	NXDomain  Result = "nxdomain"  // ADSP: there is no such domain
)

// clockSkew is how far clocks may differ (MA4).
const clockSkew = 300 * time.Second

// Signature is a signature of a message and what became of it. Texts are as the
// message has them: escape them for logs.
type Signature struct {
	Result Result
	// Reason says in plain English why the result is not Pass; fit for logs.
	Reason string
	// Domain, d=, in lower-case A-labels: who signed. Selector is s=.
	Domain, Selector string
	// Identity, i=, local part and domain; "@" and Domain when absent (RFC 6376
	// §3.5). Empty in ARC.
	Identity string
	// Algorithm is a=.
	Algorithm    string
	Header, Body Canonicalization
	// Fields are the names of h= in lower case.
	Fields []string
	// Signed and Expires are t= and x=; zero when absent.
	Signed, Expires time.Time
	// Length is l=, -1 when absent; Unsigned is how many octets of the canonical
	// body lie beyond it.
	Length, Unsigned int64
	// Testing tells that the domain is trying (t=y): treat what is not Pass as
	// unsigned (RFC 6376 §3.6.1).
	Testing bool
	// KeyBits is the size of the key, 0 when it is not known.
	KeyBits int
	// Data is b= without white space; its beginning tells signatures apart (RFC
	// 6008 §4).
	Data string
	// Key is what the DNS said.
	Key KeyFact
}

// use is what a field signs.
type use uint8

const (
	dkimSignature use = iota
	arcMessage
	arcSeal
)

// signature is a Signature under work.
type signature struct {
	Signature
	use    use
	field  *headerField
	tags   tagList
	bh, b  []byte
	name   string // of the key
	body   *bodySum
	strict bool // i= and d= differ: not for keys with t=s
}

func (s *signature) refuse(r Result, reason string) {
	if s.Result == "" {
		s.Result, s.Reason = r, reason
	}
}

// parseSignature reads a field (RFC 6376 §3.5, §6.1.1; RFC 8617 §4.1.2, §4.1.3).
// When it is refused, Result is set.
func parseSignature(f *headerField, what use, now time.Time) *signature {
	s := &signature{use: what, field: f}
	s.Length = -1
	tags, err := parseTags(f.Value)
	if err != nil {
		s.refuse(Neutral, err.Error())
		return s
	}
	s.tags = tags
	s.parseSigner()
	if what != arcSeal {
		s.parseScope()
	}
	if what == dkimSignature {
		s.parseIdentity()
	}
	s.parseTimes(now)
	return s
}

// parseSigner reads who signed and how.
func (s *signature) parseSigner() {
	required := []string{"a", "b", "d", "s"}
	switch s.use {
	case dkimSignature:
		required = []string{"v", "a", "b", "bh", "d", "h", "s"}
	case arcMessage:
		required = []string{"a", "b", "bh", "d", "h", "s"}
	}
	for _, name := range required {
		if v, _ := s.tags.get(name); len(v) == 0 {
			s.refuse(PermError, "the tag "+name+"= is missing")
		}
	}
	if s.use == dkimSignature && s.tags.text("v", "") != "1" {
		s.refuse(PermError, "unknown version of DKIM")
	}
	s.Selector, s.Algorithm = s.tags.text("s", ""), s.tags.text("a", "")
	domain, err := postino.CanonicalDomain(s.tags.text("d", ""))
	if err != nil || strings.HasPrefix(domain, "[") {
		s.refuse(PermError, "d= is no domain")
	} else if s.Domain = domain; !strings.Contains(domain, ".") {
		s.refuse(PermError, "d= is a top-level domain")
	}
	if s.name = keyName(s.Selector, s.Domain); s.name == "" {
		s.refuse(PermError, "s= is no selector")
	}
	switch strings.ToLower(s.Algorithm) {
	case "rsa-sha256", "ed25519-sha256":
	case "rsa-sha1":
		s.refuse(PermError, "SHA-1 proves nothing") // RFC 8301 §3.1
	default:
		s.refuse(PermError, "unknown algorithm")
	}
	if s.b, err = s.tags.base64("b"); err != nil {
		s.refuse(Neutral, "b= is not base64")
	}
	b, _ := s.tags.get("b")
	s.Data = string(withoutSpace(b))
}

// parseScope reads what is signed.
func (s *signature) parseScope() {
	var err error
	if s.bh, err = s.tags.base64("bh"); err != nil {
		s.refuse(Neutral, "bh= is not base64")
	} else if len(s.bh) != sha256.Size {
		s.refuse(PermError, "bh= has not the size of the hash")
	}
	head, body, two := strings.Cut(strings.ToLower(s.tags.text("c", "simple/simple")), "/")
	if !two {
		body = "simple"
	}
	var ok1, ok2 bool
	s.Header, ok1 = canonicalization(head)
	s.Body, ok2 = canonicalization(body)
	if !ok1 || !ok2 {
		s.refuse(PermError, "unknown canonicalization")
	}
	s.Fields = s.tags.list("h")
	for i, name := range s.Fields {
		s.Fields[i] = strings.ToLower(name)
		if s.Fields[i] == "" {
			s.refuse(Neutral, "h= has an empty name")
		}
	}
	if !slices.Contains(s.Fields, "from") {
		s.refuse(PermError, "From is not signed") // RFC 6376 §6.1.1
	}
	if s.use == arcMessage && slices.ContainsFunc(s.Fields, notInARC) {
		s.refuse(PermError, "h= names a field of ARC or Authentication-Results") // RFC 8617 §4.1.2
	}
	if s.Length, err = s.tags.number("l"); err != nil {
		s.refuse(Neutral, "l= is no number")
	}
	if q := s.tags.list("q"); q != nil && !slices.Contains(q, "dns/txt") {
		s.refuse(PermError, "q= does not name the DNS")
	}
}

func notInARC(name string) bool {
	return strings.HasPrefix(name, "arc-") || name == "authentication-results"
}

func canonicalization(name string) (c Canonicalization, ok bool) {
	switch name {
	case "simple":
		return Simple, true
	case "relaxed":
		return Relaxed, true
	}
	return 0, false
}

// parseIdentity reads i=, which is in d= or below it (RFC 6376 §3.5).
func (s *signature) parseIdentity() {
	v, ok := s.tags.get("i")
	if !ok {
		s.Identity = "@" + s.Domain
		return
	}
	id, ok := unquotePrintable(v)
	at := strings.LastIndexByte(id, '@')
	if !ok || at < 0 {
		s.refuse(Neutral, "i= is no identity")
		return
	}
	domain, err := postino.CanonicalDomain(id[at+1:])
	if err != nil || domain != s.Domain && !strings.HasSuffix(domain, "."+s.Domain) {
		s.refuse(PermError, "i= is outside of d=")
		return
	}
	s.Identity = id[:at+1] + domain
	s.strict = domain != s.Domain
}

// unquotePrintable decodes DKIM-Quoted-Printable (RFC 6376 §2.11).
func unquotePrintable(v []byte) (string, bool) {
	v = withoutSpace(v)
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] != '=' {
			out = append(out, v[i])
			continue
		}
		if i+2 >= len(v) {
			return "", false
		}
		h, l := unhex(v[i+1]), unhex(v[i+2])
		if h < 0 || l < 0 {
			return "", false
		}
		out = append(out, byte(h<<4|l))
		i += 2
	}
	return string(out), true
}

func unhex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

func (s *signature) parseTimes(now time.Time) {
	var err, err2 error
	s.Signed, err = s.tags.time("t")
	if s.use != arcSeal {
		s.Expires, err2 = s.tags.time("x")
	}
	switch {
	case err != nil || err2 != nil:
		s.refuse(Neutral, "t= or x= is no time")
	case !s.Expires.IsZero() && !s.Expires.After(s.Signed):
		s.refuse(PermError, "the signature expires before it is made")
	case !s.Expires.IsZero() && now.After(s.Expires.Add(clockSkew)):
		s.refuse(PermError, "the signature has expired")
	case s.Signed.After(now.Add(clockSkew)):
		s.refuse(PermError, "the signature is made in the future")
	}
}

// judge sets the result of a signature that was not refused: first what costs
// nothing, then the key. signed appends what is signed but the field itself.
func (s *signature) judge(ctx context.Context, keys *keyring, max int, scratch []byte, signed func([]byte) []byte) []byte {
	if s.Result != "" {
		return scratch
	}
	if s.body != nil && !s.bodyHolds() {
		return scratch
	}
	k := keys.get(ctx, s.name, max)
	s.Key, s.KeyBits, s.Testing = k.fact, k.bits, k.testing
	kind, _, _ := strings.Cut(strings.ToLower(s.Algorithm), "-")
	switch {
	case k.result != "":
		s.refuse(k.result, k.reason)
	case kind != k.kind:
		s.refuse(PermError, "the key is of another kind than the signature")
	case k.strict && s.strict:
		s.refuse(PermError, "i= is below d=, which the key forbids") // RFC 6376 §3.6.1, t=s
	default:
		scratch = s.appendOwn(signed(scratch[:0]))
		sum := sha256.Sum256(scratch)
		if k.verify(sum[:], s.b) {
			s.Result = Pass
		} else {
			s.refuse(Fail, "the signature does not fit the header")
		}
	}
	return scratch
}

func (s *signature) bodyHolds() bool {
	if s.Length > s.body.size {
		s.refuse(Fail, "the body is shorter than l=")
		return false
	}
	if subtle.ConstantTimeCompare(s.body.sum, s.bh) != 1 {
		s.refuse(Fail, "the body was changed")
		return false
	}
	if s.Length >= 0 {
		s.Unsigned = s.body.size - s.Length
	}
	return true
}

// appendOwn appends the field of the signature itself, with nothing in b= and
// without the last line end (RFC 6376 §3.7).
func (s *signature) appendOwn(dst []byte) []byte {
	raw := s.field.Raw
	from := bytes.IndexByte(raw, ':') + 1
	i := slices.IndexFunc(s.tags, func(t tag) bool { return t.name == "b" })
	own := append(bytes.Clone(raw[:from+s.tags[i].start]), raw[from+s.tags[i].end:]...)
	dst = appendField(dst, own, s.Header)
	return bytes.TrimSuffix(dst, crlf)
}

// doubt turns a pass into Policy where the signature proves too little.
func (s *signature) doubt(h *header) {
	if s.Result != Pass {
		return
	}
	reason := h.fault
	if name := h.unsigned(s.Fields); reason == "" && name != "" {
		reason = name + " appears more often than it is signed"
	}
	if reason == "" && s.Unsigned > 0 {
		reason = "a part of the body is not signed (l=)"
	}
	if reason != "" {
		s.Result, s.Reason = Policy, reason
	}
}
