package sasl

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
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
	// Done is called when the server reports success. An error tells that it has
	// not proved to know the password, as the mechanism wants it to: the
	// connection is not to be used.
	Done() error
	// Secret tells that what is sent gives a password or token away, so that it
	// must not go over a connection that others can read.
	Secret() bool
}

// ClientOptions are what a client has to log in with.
type ClientOptions struct {
	// User and Password, and who to act as, usually empty.
	User, Password, Authz string
	// Token is an OAuth 2.0 access token, used in place of the password.
	Token string
	// Host and Port are those of the server, told with a token.
	Host string
	Port uint16
	// TLS is the connection's state, nil in clear. It gives the channel binding.
	TLS *tls.ConnectionState
	// AllowClear lets passwords and tokens go over a connection in clear.
	AllowClear bool
}

// ChooseClient takes the strongest mechanism of those that a server announced,
// separated by spaces; nil when none can be used. In clear none is taken that
// gives the password or the token away, unless AllowClear.
func ChooseClient(announced string, o ClientOptions) Client {
	names := strings.Fields(strings.ToUpper(announced))
	for _, c := range o.clients(names) {
		if slices.Contains(names, c.Mechanism()) && (!c.Secret() || o.TLS != nil || o.AllowClear) {
			return c
		}
	}
	return nil
}

// clients are all there are for what we have, strongest first.
func (o *ClientOptions) clients(announced []string) (all []Client) {
	if o.Token != "" {
		return []Client{&bearerClient{o: o}, &bearerClient{o: o, vendor: true}}
	}
	kind, data := clientBinding(o.TLS)
	if kind != "" {
		for _, h := range []Hash{SHA256, SHA1} {
			all = append(all, &scramClient{o: o, hash: h, plus: true, flag: "p=" + kind, data: data})
		}
	}
	for _, h := range []Hash{SHA256, SHA1} {
		flag := "n"
		// RFC 5802 §6: the server hears of it when somebody hid its -PLUS.
		if kind != "" && !slices.Contains(announced, h.mechanism(true)) {
			flag = "y"
		}
		all = append(all, &scramClient{o: o, hash: h, flag: flag})
	}
	return append(all, PlainClient(o.Authz, o.User, o.Password), LoginClient(o.User, o.Password), &cramClient{o: o})
}

// PlainClient is RFC 4616: authz is who to act as, usually empty.
func PlainClient(authz, user, password string) Client {
	return &plainClient{ClientOptions{Authz: authz, User: user, Password: password}}
}

// LoginClient is the obsolete LOGIN, for servers that offer nothing better.
func LoginClient(user, password string) Client {
	return &loginClient{o: ClientOptions{User: user, Password: password}}
}

// AppendEncode appends the base64 of src to dst (RFC 4648 §4).
func AppendEncode(dst, src []byte) []byte { return base64.StdEncoding.AppendEncode(dst, src) }

// sendable refuses what no server could take and what would change the meaning
// of a message, a NUL above all.
func (o *ClientOptions) sendable() error {
	if !text(o.Authz, MaxName) || !text(o.User, MaxName) || !text(o.Password, MaxPassword) || o.User == "" || o.Password == "" {
		return postino.E(postino.Invalid, "sasl", "name or password is not clean text of allowed length", nil)
	}
	return nil
}

// unexpected is a challenge for which the mechanism has no answer.
func unexpected() error {
	return postino.E(postino.Invalid, "sasl", "server asks for more than the mechanism has", nil)
}

type plainClient struct{ o ClientOptions }

func (p *plainClient) Mechanism() string { return "PLAIN" }
func (p *plainClient) Secret() bool      { return true }
func (p *plainClient) Done() error       { return nil }

func (p *plainClient) Start() ([]byte, error) {
	if err := p.o.sendable(); err != nil {
		return nil, err
	}
	return []byte(p.o.Authz + "\x00" + p.o.User + "\x00" + p.o.Password), nil
}

func (p *plainClient) Next([]byte) ([]byte, error) { return nil, unexpected() }

// loginClient answers by order: the prompts differ between servers.
type loginClient struct {
	o    ClientOptions
	step int
}

func (l *loginClient) Mechanism() string { return "LOGIN" }
func (l *loginClient) Secret() bool      { return true }
func (l *loginClient) Done() error       { return nil }

func (l *loginClient) Start() ([]byte, error) { return nil, l.o.sendable() }

func (l *loginClient) Next([]byte) ([]byte, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte(l.o.User), nil
	case 2:
		return []byte(l.o.Password), nil
	}
	return nil, unexpected()
}

// cramClient is CRAM-MD5 (RFC 2195), which does not make the server prove
// anything.
type cramClient struct {
	o    *ClientOptions
	step int
}

func (c *cramClient) Mechanism() string { return "CRAM-MD5" }
func (c *cramClient) Secret() bool      { return false }
func (c *cramClient) Done() error       { return nil }

func (c *cramClient) Start() ([]byte, error) { return nil, c.o.sendable() }

func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	if c.step++; c.step > 1 {
		return nil, unexpected()
	}
	proof := cramProof(CRAMSecret(c.o.Password), challenge)
	return append([]byte(c.o.User+" "), proof...), nil
}

// bearerClient is OAUTHBEARER (RFC 7628) or the vendor's XOAUTH2.
type bearerClient struct {
	o      *ClientOptions
	vendor bool
	told   bool // the server's error message came
}

func (b *bearerClient) Secret() bool { return true }

func (b *bearerClient) Mechanism() string {
	if b.vendor {
		return "XOAUTH2"
	}
	return "OAUTHBEARER"
}

func (b *bearerClient) Start() ([]byte, error) {
	if _, ok := bearerToken("Bearer " + b.o.Token); !ok || !text(b.o.User, MaxName) || !text(b.o.Host, MaxName) {
		return nil, postino.E(postino.Invalid, "sasl", "name or token is not clean text of allowed length", nil)
	}
	if b.vendor {
		return []byte("user=" + b.o.User + kvsep + "auth=Bearer " + b.o.Token + kvsep + kvsep), nil
	}
	return appendBearer(b.o), nil
}

// Next answers the server's error message; the server then refuses.
func (b *bearerClient) Next([]byte) ([]byte, error) {
	if b.told {
		return nil, unexpected()
	}
	b.told = true
	if b.vendor {
		return []byte{}, nil
	}
	return []byte(kvsep), nil
}

// Done finds out a server that refuses and accepts.
func (b *bearerClient) Done() error {
	if b.told {
		return postino.E(postino.Denied, "sasl", "", errors.New("the server did not like the token"))
	}
	return nil
}
