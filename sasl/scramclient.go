package sasl

import (
	"crypto/hmac"
	"crypto/subtle"
	"errors"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// scramClient is the client's side of RFC 5802.
type scramClient struct {
	o        *ClientOptions
	hash     Hash
	plus     bool
	flag     string // of the GS2 header
	data     []byte // channel binding
	nonce    string // ours, then that of both
	bare     string
	wanted   []byte // the server's signature
	verified bool
}

func (c *scramClient) Mechanism() string { return c.hash.mechanism(c.plus) }
func (c *scramClient) Secret() bool      { return false }

// Done wants the server's proof, without which anybody could say that all is well.
func (c *scramClient) Done() error {
	if !c.verified {
		return unproved(errors.New("the server has not proved that it knows the password"))
	}
	return nil
}

func unproved(cause error) error { return postino.E(postino.Denied, "sasl", "", cause) }

func (c *scramClient) header() string {
	if c.o.Authz == "" {
		return c.flag + ",,"
	}
	return c.flag + ",a=" + escape(Prepare(c.o.Authz)) + ","
}

func (c *scramClient) Start() ([]byte, error) {
	if err := c.o.sendable(); err != nil {
		return nil, err
	}
	if c.nonce == "" { // else a test has set it
		c.nonce = randomText()
	}
	c.bare = "n=" + escape(Prepare(c.o.User)) + ",r=" + c.nonce
	return []byte(c.header() + c.bare), nil
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	switch {
	case c.verified:
		return nil, unexpected()
	case c.wanted != nil:
		return c.verify(string(challenge))
	}
	return c.prove(string(challenge))
}

// prove answers the server's first message.
func (c *scramClient) prove(challenge string) ([]byte, error) {
	odd := postino.E(postino.Invalid, "sasl", "malformed first message of the server", nil)
	fields := strings.SplitN(challenge, ",", 4)
	if len(fields) < 3 || len(fields) == 4 && !attributes(fields[3]) {
		return nil, odd
	}
	nonce, ok1 := strings.CutPrefix(fields[0], "r=")
	salt64, ok2 := strings.CutPrefix(fields[1], "s=")
	count, ok3 := strings.CutPrefix(fields[2], "i=")
	salt, err := Decode(nil, []byte(salt64))
	iterations, err2 := strconv.ParseUint(count, 10, 31)
	if !ok1 || !ok2 || !ok3 || err != nil || err2 != nil || len(salt) == 0 || !printable(nonce) {
		return nil, odd
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return nil, unproved(errors.New("the server's nonce does not continue ours"))
	}
	if iterations < MinIterations || iterations > MaxIterations {
		return nil, unproved(errors.New("the server wants an iteration count of " + count))
	}
	c.nonce = nonce
	cbind := append([]byte(c.header()), c.data...)
	final := string(AppendEncode([]byte("c="), cbind)) + ",r=" + nonce
	said := []byte(c.bare + "," + challenge + "," + final)
	client, key := derive(c.hash, c.o.Password, salt, int(iterations))
	proof := c.hash.mac(key.Stored, said)
	subtle.XORBytes(proof, proof, client)
	c.wanted = c.hash.mac(key.Server, said)
	return AppendEncode([]byte(final+",p="), proof), nil
}

// verify checks the server's proof.
func (c *scramClient) verify(challenge string) ([]byte, error) {
	v, _, _ := strings.Cut(challenge, ",")
	v, ok := strings.CutPrefix(v, "v=")
	sum, err := Decode(nil, []byte(v))
	if !ok || err != nil || !hmac.Equal(sum, c.wanted) {
		return nil, unproved(errors.New("the server's proof is wrong"))
	}
	c.verified = true
	return []byte{}, nil
}
