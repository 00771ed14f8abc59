package sasl

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
)

// Client is the client's side of one authentication exchange, for one
// goroutine and one use. An error of it cancels the exchange.
type Client interface {
	// Mechanism is its name, upper case.
	Mechanism() string
	// Start gives the initial response; nil when the server speaks first (an
	// empty one is not nil). Where a protocol has no room for an initial
	// response it is the answer to a first, empty challenge.
	Start() (initial []byte, err error)
	// Next answers a challenge, which is only valid during the call.
	Next(challenge []byte) (response []byte, err error)
	// Secret tells that what is sent gives the password away, so that it must
	// not go over a connection that others can read.
	Secret() bool
}

// PlainClient is RFC 4616: authz is who to act as, usually empty.
func PlainClient(authz, user, password string) Client {
	return &plainClient{Credentials{authz, user, password}}
}

// LoginClient is the obsolete LOGIN, for servers that offer nothing better.
func LoginClient(user, password string) Client {
	return &loginClient{c: Credentials{User: user, Password: password}}
}

// ChooseClient takes the best mechanism of those that a server announced,
// separated by spaces; nil when none is known here.
func ChooseClient(announced, user, password string) Client {
	names := strings.Fields(strings.ToUpper(announced))
	switch {
	case slices.Contains(names, "PLAIN"):
		return PlainClient("", user, password)
	case slices.Contains(names, "LOGIN"):
		return LoginClient(user, password)
	}
	return nil
}

// AppendEncode appends the base64 of src to dst (RFC 4648 §4).
func AppendEncode(dst, src []byte) []byte { return base64.StdEncoding.AppendEncode(dst, src) }

// sendable refuses what no server could take and what would change the meaning
// of a message, a NUL above all.
func (c *Credentials) sendable() error {
	if !text(c.Authz, MaxName) || !text(c.User, MaxName) || !text(c.Password, MaxPassword) || c.User == "" || c.Password == "" {
		return postino.E(postino.Invalid, "sasl", "name or password is not clean text of allowed length", nil)
	}
	return nil
}

// unexpected is a challenge for which the mechanism has no answer.
func unexpected() error {
	return postino.E(postino.Invalid, "sasl", "server asks for more than the mechanism has", nil)
}

type plainClient struct{ c Credentials }

func (p *plainClient) Mechanism() string { return "PLAIN" }
func (p *plainClient) Secret() bool      { return true }

func (p *plainClient) Start() ([]byte, error) {
	if err := p.c.sendable(); err != nil {
		return nil, err
	}
	return []byte(p.c.Authz + "\x00" + p.c.User + "\x00" + p.c.Password), nil
}

func (p *plainClient) Next([]byte) ([]byte, error) { return nil, unexpected() }

// loginClient answers by order: the prompts differ between servers.
type loginClient struct {
	c    Credentials
	step int
}

func (l *loginClient) Mechanism() string { return "LOGIN" }
func (l *loginClient) Secret() bool      { return true }

func (l *loginClient) Start() ([]byte, error) { return nil, l.c.sendable() }

func (l *loginClient) Next([]byte) ([]byte, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte(l.c.User), nil
	case 2:
		return []byte(l.c.Password), nil
	}
	return nil, unexpected()
}
