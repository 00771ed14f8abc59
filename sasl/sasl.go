package sasl

import (
	"context"
	"encoding/base64"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// Limits of one exchange (AU4), in octets and responses.
const (
	MaxExchange = 16 << 10
	MaxSteps    = 10
	MaxTime     = 60 * time.Second
	MaxName     = 255
	MaxPassword = 1024
)

// Server is one authentication exchange, used by one goroutine.
type Server interface {
	// Next takes a response of the client, nil when it has not sent any yet
	// (an initial response that is present but empty is not nil). It returns
	// the next challenge, or done on success, or an error, which ends the
	// exchange: of kind Invalid when the client broke the mechanism, otherwise
	// as the directory gave it. What a mechanism has to say with its success is
	// a challenge too, which an empty response answers (RFC 4422 §5). The
	// response may be overwritten afterwards.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is the name that the client may act as, once done.
	Identity() string
}

// Credentials are what a password mechanism carries.
type Credentials struct {
	// Authz is who the client wants to act as; empty means User (RFC 4616 §2).
	// Whether User may do so is for the directory to say (AU5).
	Authz string
	// User is the name whose password is given, as it was sent: the directory
	// brings it to canonical form.
	User string
	// Password is never logged.
	Password string
	// Mechanism is PLAIN or LOGIN.
	Mechanism string
}

// Claim is what a client says before it proves a password without showing it.
type Claim struct {
	Mechanism string
	// Hash is that of a SCRAM mechanism.
	Hash Hash
	// Authz, User: as in Credentials.
	Authz, User string
	// Realm is that of DIGEST-MD5.
	Realm string
}

// Attempt is one try to prove a password. It holds what is kept of the user, or
// for an unknown one the like of it, so that nobody sees the difference (AU2).
type Attempt struct {
	// SCRAM: the salt and count of all of the user's passwords, and the keys of
	// each that may be used here.
	Salt       []byte
	Iterations int
	Keys       []Key
	// Secret is what [CRAMSecret] or [DigestSecret] made; nil: none is kept.
	Secret []byte
	// End gives the verdict: which of the Keys, or 0 for the Secret, was proved, -1
	// for none. It is called once; the answer may take a while (AU3).
	End func(ctx context.Context, proved int) (identity string, err error)
}

// Token is what OAUTHBEARER and XOAUTH2 carry.
type Token struct {
	Mechanism string
	// User is who the client wants to act as; may be empty.
	User string
	// Token is never logged.
	Token string
	// Host and Port are where the client believes to be; empty when it does not
	// say (RFC 7628 §3.1).
	Host string
	Port uint16
}

// Discovery tells a client whose token was not good where to get one (RFC 7628
// §3.2.2). Both may be empty.
type Discovery struct {
	Scope, OpenIDConfiguration string
}

// Authenticator says which mechanisms there are and asks the directory. It is
// immutable after first use and may be shared within one connection.
type Authenticator struct {
	// Password checks credentials and returns the canonical identity; nil turns
	// PLAIN and LOGIN off.
	Password func(ctx context.Context, c Credentials) (identity string, err error)
	// Begin starts an attempt; nil turns SCRAM, CRAM-MD5 and DIGEST-MD5 off.
	Begin func(ctx context.Context, c Claim) (*Attempt, error)
	// Legacy are those of CRAM-MD5 and DIGEST-MD5 that are offered.
	Legacy []string
	// Realm stands in their challenges: a host name of ours.
	Realm string
	// Bindings are the channel bindings of the connection; without any the -PLUS
	// mechanisms are off.
	Bindings Bindings
	// Token checks a token; nil turns OAUTHBEARER and XOAUTH2 off.
	Token     func(ctx context.Context, t Token) (identity string, err error)
	Discovery Discovery
	// External finds who the connection itself proves; nil turns EXTERNAL off.
	External func(ctx context.Context, authz string) (identity string, err error)

	nonce func() string // of a test; nil: random
}

// mechanism makes a Server.
type mechanism struct {
	name string
	make func(exchange) Server
}

// mechanisms lists what can be started, preferred first.
func (a *Authenticator) mechanisms() (list []mechanism) {
	if a.External != nil {
		list = append(list, mechanism{"EXTERNAL", func(x exchange) Server { return &external{x} }})
	}
	if a.Begin != nil {
		for _, plus := range []bool{true, false} {
			for _, h := range []Hash{SHA256, SHA1} {
				if !plus || len(a.Bindings) > 0 {
					list = append(list, mechanism{h.mechanism(plus), func(x exchange) Server { return &scram{exchange: x, hash: h, plus: plus} }})
				}
			}
		}
	}
	if a.Password != nil {
		list = append(list, mechanism{"PLAIN", func(x exchange) Server { return &plain{x} }},
			mechanism{"LOGIN", func(x exchange) Server { return &login{exchange: x} }})
	}
	if a.Token != nil {
		list = append(list, mechanism{"OAUTHBEARER", func(x exchange) Server { return &bearer{exchange: x} }},
			mechanism{"XOAUTH2", func(x exchange) Server { return &bearer{exchange: x, vendor: true} }})
	}
	if a.Begin != nil && slices.Contains(a.Legacy, "DIGEST-MD5") {
		list = append(list, mechanism{"DIGEST-MD5", func(x exchange) Server { return &digest{exchange: x} }})
	}
	if a.Begin != nil && slices.Contains(a.Legacy, "CRAM-MD5") {
		list = append(list, mechanism{"CRAM-MD5", func(x exchange) Server { return &cram{exchange: x} }})
	}
	return list
}

// Mechanisms lists what can be started, preferred first.
func (a *Authenticator) Mechanisms() (names []string) {
	for _, m := range a.mechanisms() {
		names = append(names, m.name)
	}
	return names
}

// Start begins an exchange. The mechanism is matched exactly (upper case); one
// that is not in Mechanisms is NotFound.
func (a *Authenticator) Start(name string) (Server, error) {
	for _, m := range a.mechanisms() {
		if m.name == name {
			return m.make(exchange{auth: a, name: name, until: time.Now().Add(MaxTime)}), nil
		}
	}
	return nil, postino.E(postino.NotFound, "start sasl", postino.Printable(name), nil)
}

// exchange is what all mechanisms have in common.
type exchange struct {
	auth     *Authenticator
	name     string
	until    time.Time
	steps    int
	octets   int
	ended    bool
	proved   string // who, when only the last word is missing
	identity string
}

// Identity returns the name after success.
func (x *exchange) Identity() string { return x.identity }

// count enforces AU4 and that nothing follows the end.
func (x *exchange) count(response []byte) error {
	x.steps++
	x.octets += len(response)
	if x.ended || x.steps > MaxSteps || x.octets > MaxExchange || time.Now().After(x.until) {
		return x.fail("exchange too long or already over")
	}
	return nil
}

// fail ends the exchange for a broken response. The text never holds any of it.
func (x *exchange) fail(why string) error {
	x.ended = true
	return postino.E(postino.Invalid, "sasl", why, nil)
}

// finish ends the exchange with a verdict of the directory.
func (x *exchange) finish(id string, err error) ([]byte, bool, error) {
	x.ended = true
	if err == nil && id == "" {
		err = postino.E(postino.Internal, "sasl", "directory gave no identity", nil)
	}
	if err != nil {
		return nil, false, err
	}
	x.identity = id
	return nil, true, nil
}

// lastWord sends what the mechanism says with its success, if there is one.
func (x *exchange) lastWord(data []byte, id string, err error) ([]byte, bool, error) {
	if err != nil || id == "" {
		return x.finish(id, err)
	}
	x.proved = id
	return data, false, nil
}

// heard takes the answer to the last word.
func (x *exchange) heard(response []byte) ([]byte, bool, error) {
	if len(response) != 0 {
		return nil, false, x.fail("response to the server's last word")
	}
	return x.finish(x.proved, nil)
}

// password ends the exchange by asking the directory.
func (x *exchange) password(ctx context.Context, c Credentials) ([]byte, bool, error) {
	c.Mechanism = x.name
	if !text(c.Authz, MaxName) || !text(c.User, MaxName) || !text(c.Password, MaxPassword) {
		return nil, false, x.fail("name or password is not clean text of allowed length")
	}
	if c.User == "" || c.Password == "" { // RFC 4616 §2: both 1*SAFE
		return nil, false, x.fail("empty name or password")
	}
	x.ended = true
	return x.finish(x.auth.Password(ctx, c))
}

// claim begins an attempt.
func (x *exchange) claim(ctx context.Context, c Claim) (*Attempt, error) {
	c.Mechanism = x.name
	if !text(c.Authz, MaxName) || !text(c.User, MaxName) || c.User == "" {
		return nil, x.fail("name is not clean text of allowed length")
	}
	a, err := x.auth.Begin(ctx, c)
	if err != nil {
		x.ended = true
	}
	return a, err
}

// text tells whether s is UTF-8 of at most n octets without ASCII controls.
func text(s string, n int) bool {
	if len(s) > n || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// strict refuses line ends and non-zero bits after the end.
var strict = base64.StdEncoding.Strict()

// Decode appends what base64 src stands for to dst. It refuses every octet that
// is not of the alphabet, misplaced and missing padding (RFC 4954 §4). The
// error is of kind Invalid.
func Decode(dst, src []byte) ([]byte, error) {
	for _, c := range src {
		if c == '\r' || c == '\n' { // which encoding/base64 would skip
			return dst, postino.E(postino.Invalid, "decode base64", "", nil)
		}
	}
	out, err := strict.AppendDecode(dst, src)
	if err != nil {
		return dst, postino.E(postino.Invalid, "decode base64", "", nil)
	}
	return out, nil
}
