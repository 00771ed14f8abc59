package imap

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// mayLogin tells whether a password may come over this connection.
func (c *conn) mayLogin() bool { return c.secure.Load() || c.srv.opts.AllowClear }

var errClear = &Error{Code: "PRIVACYREQUIRED", Text: "Use TLS first"}

// login is LOGIN (RFC 9051 §6.2.3).
func (c *conn) login() error {
	if !c.mayLogin() {
		return errClear
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	user, err := c.p.AString()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	password, err := c.p.AString()
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return c.welcome("LOGIN", c.sess.Login(c.ctx, user, password))
}

// welcome ends a login. All that is wrong with credentials is answered alike (AU2).
func (c *conn) welcome(how string, err error) error {
	if err == nil && !c.srv.conns.Login(c, c.sess.User(), c.sess.Stays, c.expel) {
		// The session is bound to the account and cannot be unbound.
		c.die("[LIMIT] Too many sessions of this user")
		return c.readErr
	}
	if err != nil {
		c.srv.observe.loginFailed(c, how, err)
		for _, kind := range []postino.Kind{postino.Denied, postino.NotFound, postino.Invalid} {
			err = withCode(err, kind, "AUTHENTICATIONFAILED", "Authentication failed")
		}
		return err
	}
	c.srv.observe.loggedIn(c, how)
	c.state = authenticated
	c.setCode(c.capabilities)
	c.bad = 0
	return nil
}

// authenticate is AUTHENTICATE (RFC 9051 §6.2.2) with initial response (RFC 4959).
func (c *conn) authenticate() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	mechanism, err := c.p.Label()
	if err != nil {
		return err
	}
	name := string(mechanism)
	var response []byte // nil: none was sent
	if c.p.Try(' ') {
		if response, err = decodeResponse(c.p.Rest()); err != nil {
			return err
		}
		c.p.Advance(len(c.p.Rest()))
	}
	if err := c.end(); err != nil {
		return err
	}
	if !c.mayLogin() {
		return errClear
	}
	exchange, err := c.sess.Authenticate(c.ctx, name)
	if err != nil {
		return withCode(err, postino.NotFound, "CANNOT", "No such mechanism")
	}
	for {
		challenge, done, err := exchange.Next(c.ctx, response)
		if err != nil {
			return c.welcome(name, err)
		}
		if done && len(challenge) == 0 {
			break
		}
		if response, err = c.challenge(challenge); err != nil {
			return err
		}
		if done {
			break
		}
	}
	return c.welcome(name, c.sess.Bind(c.ctx, exchange.Identity()))
}

// challenge sends a challenge and reads the response to it.
func (c *conn) challenge(b []byte) ([]byte, error) {
	c.out.str("+ ")
	c.out.buf = base64.StdEncoding.AppendEncode(c.out.buf, b)
	c.out.str("\r\n")
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	c.p.Reset(nil)
	switch {
	case string(line) == "*":
		return nil, syntax("Authentication cancelled")
	case len(line) == 0:
		return []byte{}, nil
	}
	return decodeResponse(line)
}

// decodeResponse decodes base64; "=" is an empty initial response (RFC 4959 §3).
func decodeResponse(b []byte) ([]byte, error) {
	if string(b) == "=" {
		return []byte{}, nil
	}
	out, err := sasl.Decode([]byte{}, b)
	if err != nil || len(b) == 0 {
		return nil, syntax("Malformed base64")
	}
	return out, nil
}

// startTLS is STARTTLS (RFC 9051 §6.2.1).
func (c *conn) startTLS() error {
	if err := c.end(); err != nil {
		return err
	}
	if c.srv.tls == nil || c.secure.Load() {
		return syntax("STARTTLS is not offered")
	}
	if c.in.Buffered() > 0 {
		// Octets sent in clear must not be taken for octets sent under TLS.
		return c.die("Data after STARTTLS")
	}
	c.out.buf = append(c.out.buf, c.tag...)
	c.out.str(" OK ")
	c.out.text("Begin TLS negotiation now")
	c.out.str("\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	c.in.Release()
	tc := tls.Server(c.raw, c.srv.tls)
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.Handshake)
	defer cancel()
	c.raw.SetDeadline(time.Time{})
	if err := tc.HandshakeContext(ctx); err != nil {
		c.srv.observe.handshakeFailed(c, err)
		c.readErr = err
		return err
	}
	c.nc, c.out.conn = tc, tc
	c.secure.Store(true)
	c.bad = 0
	return errReplied
}
