package sasl

import (
	"context"
	"encoding/base64"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// Limits of one exchange (AU4), in octets and responses.
const (
	MaxExchange = 16 << 10
	MaxSteps    = 10
	MaxName     = 255
	MaxPassword = 1024
)

// Server is one authentication exchange, used by one goroutine.
type Server interface {
	// Next takes a response of the client, nil when it has not sent any yet
	// (an initial response that is present but empty is not nil). It returns
	// the next challenge, or done on success, or an error, which ends the
	// exchange: of kind Invalid when the client broke the mechanism, otherwise
	// as the directory gave it. The response may be overwritten afterwards.
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
}

// Authenticator says which mechanisms there are and asks the directory. It is
// immutable after first use and may be shared.
type Authenticator struct {
	// Password checks credentials and returns the canonical identity; nil turns
	// PLAIN and LOGIN off.
	Password func(ctx context.Context, c Credentials) (identity string, err error)
}

// Mechanisms lists what can be started, preferred first.
func (a *Authenticator) Mechanisms() []string {
	if a.Password == nil {
		return nil
	}
	return []string{"PLAIN", "LOGIN"}
}

// Start begins an exchange. The mechanism is matched exactly (upper case); one
// that is not in Mechanisms is NotFound.
func (a *Authenticator) Start(mechanism string) (Server, error) {
	if a.Password != nil {
		switch mechanism {
		case "PLAIN":
			return &plain{exchange: exchange{auth: a}}, nil
		case "LOGIN":
			return &login{exchange: exchange{auth: a}}, nil
		}
	}
	return nil, postino.E(postino.NotFound, "start sasl", postino.Printable(mechanism), nil)
}

// exchange is what all mechanisms have in common.
type exchange struct {
	auth     *Authenticator
	steps    int
	octets   int
	ended    bool
	identity string
}

// Identity returns the name after success.
func (x *exchange) Identity() string { return x.identity }

// count enforces AU4 and that nothing follows the end.
func (x *exchange) count(response []byte) error {
	x.steps++
	x.octets += len(response)
	if x.ended || x.steps > MaxSteps || x.octets > MaxExchange {
		return x.fail("exchange too long or already over")
	}
	return nil
}

// fail ends the exchange for a broken response. The text never holds any of it.
func (x *exchange) fail(why string) error {
	x.ended = true
	return postino.E(postino.Invalid, "sasl", why, nil)
}

// password ends the exchange by asking the directory.
func (x *exchange) password(ctx context.Context, c Credentials) ([]byte, bool, error) {
	if !text(c.Authz, MaxName) || !text(c.User, MaxName) || !text(c.Password, MaxPassword) {
		return nil, false, x.fail("name or password is not clean text of allowed length")
	}
	if c.User == "" || c.Password == "" { // RFC 4616 §2: both 1*SAFE
		return nil, false, x.fail("empty name or password")
	}
	x.ended = true
	id, err := x.auth.Password(ctx, c)
	if err != nil {
		return nil, false, err
	}
	if id == "" {
		return nil, false, postino.E(postino.Internal, "sasl", "directory gave no identity", nil)
	}
	x.identity = id
	return nil, true, nil
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
