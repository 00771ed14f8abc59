package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// mayLogin tells whether a password may come over this connection.
func (c *conn) mayLogin() bool { return c.secure.Load() || c.srv.opts.AllowClear }

// greet is the greeting, with a timestamp where APOP is offered (RFC 1939 §4, §7).
func (c *conn) greet() {
	c.out.room()
	c.out.str("+OK ")
	if name := c.srv.opts.Name; name != "" {
		c.out.str(name + " ")
	}
	c.out.str(c.say(textReady))
	if c.srv.opts.APOP {
		c.timestamp = "<" + hex.EncodeToString(c.srv.stamp[:]) + "." + strconv.FormatUint(c.info.ID, 10) + "." +
			strconv.FormatInt(time.Now().Unix(), 10) + "@" + c.srv.opts.Name + ">"
		c.out.str(" " + c.timestamp)
	}
	c.out.str("\r\n")
}

// clean tells whether a name or a password is UTF-8 without controls (RFC 6856
// §2.2). The directory brings names to their one form (AU5).
func clean(b []byte) bool {
	for _, x := range b {
		if x < ' ' || x == 0x7f {
			return false
		}
	}
	return len(b) > 0 && utf8.Valid(b)
}

// userCommand is USER (RFC 1939 §7). The answer does not depend on the name (AU2).
func (c *conn) userCommand(args []byte) error {
	if !c.mayLogin() {
		return ErrInsecure
	}
	if !clean(args) {
		return errSyntax
	}
	c.name = string(args)
	return c.ok(textUser)
}

// pass is PASS (RFC 1939 §7); the password is the rest of the line.
func (c *conn) pass(args []byte) error {
	user := c.name
	c.name = ""
	switch {
	case !c.mayLogin():
		return ErrInsecure
	case user == "":
		return errUserFirst
	case !clean(args):
		return errSyntax
	}
	drop, err := c.sess.Login(c.ctx, user, string(args))
	return c.welcome("PASS", drop, err)
}

// apop is APOP (RFC 1939 §7). It gives no password away and so needs no TLS.
func (c *conn) apop(args []byte) error {
	if !c.srv.opts.APOP {
		return errNotOffered
	}
	i := bytes.LastIndexByte(args, ' ')
	if i < 0 || !clean(args[:i]) {
		return errSyntax
	}
	digest, err := hex.DecodeString(string(args[i+1:]))
	if err != nil || len(digest) != 16 {
		return errSyntax
	}
	drop, err := c.sess.APOP(c.ctx, string(args[:i]), c.timestamp, digest)
	return c.welcome("APOP", drop, err)
}

// welcome ends a login. All that is wrong with credentials is answered alike (AU2).
func (c *conn) welcome(how string, drop Maildrop, err error) error {
	switch {
	case err != nil:
	case c.srv.conns.Login(c, drop.User(), drop.Stays, c.expel):
		c.user = drop.User()
	default:
		drop.Close()
		err = errUserLimit
	}
	if err != nil {
		c.srv.observe.loginFailed(c, how, err)
		for _, kind := range []postino.Kind{postino.NotFound, postino.Invalid} {
			if refusalFor(err) == refusals[kind] {
				err = errCredentials
			}
		}
		return err
	}
	c.drop = drop
	c.srv.observe.loggedIn(c, how)
	c.state, c.bad = transaction, 0
	n := drop.Len()
	c.deleted, c.retrieved = newBitset(n), newBitset(n)
	c.left = n
	for i := range n {
		c.total += drop.Size(i)
	}
	c.octets = c.total
	return c.ok(textOpened)
}

// auth is AUTH (RFC 5034 §4).
func (c *conn) auth(args []byte) error {
	if !c.mayLogin() && len(args) > 0 {
		return ErrInsecure
	}
	if len(args) == 0 { // how programs older than CAPA ask what there is
		return c.mechanisms()
	}
	mechanism, initial, has := bytes.Cut(args, []byte{' '})
	var response []byte // nil: none was sent
	var err error
	if has {
		if response, err = decodeResponse(initial); err != nil || len(initial) == 0 {
			return errSyntax
		}
	}
	name := string(bytes.ToUpper(mechanism))
	exchange, err := c.sess.Authenticate(c.ctx, name)
	if postino.Is(err, postino.NotFound) {
		return errMechanism
	} else if err != nil {
		return err
	}
	for done := false; !done; {
		var challenge []byte
		challenge, done, err = exchange.Next(c.ctx, response)
		if err != nil {
			return c.welcome(name, nil, err)
		}
		// There is no room for more in the final reply (RFC 5034 §4).
		if !done || len(challenge) > 0 {
			if response, err = c.challenge(challenge); err != nil {
				return err
			}
		}
	}
	drop, err := c.sess.Bind(c.ctx, exchange.Identity())
	return c.welcome(name, drop, err)
}

func (c *conn) mechanisms() error {
	c.ok(textMechanisms)
	if c.mayLogin() {
		for _, m := range c.sess.Mechanisms() {
			c.out.str(m + "\r\n")
		}
	}
	return c.end()
}

// challenge sends a challenge and reads the response to it.
func (c *conn) challenge(b []byte) ([]byte, error) {
	c.out.open()
	c.out.str("+ ")
	c.out.buf = base64.StdEncoding.AppendEncode(c.out.buf, b)
	c.out.str("\r\n")
	line, err := c.in.line(maxResponse)
	switch {
	case err == errLineTooLong:
		c.refuse(&Error{"", textLineTooLong})
		c.readErr = err
		return nil, err
	case err != nil:
		return nil, err
	case string(line) == "*":
		return nil, errCancelled
	case string(line) == "=": // stands for nothing in the first line only
		return nil, errSyntax
	}
	return decodeResponse(line)
}

// decodeResponse decodes base64; "=" is an empty initial response. The result is
// not nil.
func decodeResponse(b []byte) ([]byte, error) {
	if string(b) == "=" {
		return []byte{}, nil
	}
	out, err := sasl.Decode([]byte{}, b)
	if err != nil {
		return nil, errSyntax
	}
	return out, nil
}

// startTLS is STLS (RFC 2595 §4).
func (c *conn) startTLS(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	if c.srv.tls == nil || c.secure.Load() || c.utf8Mode { // RFC 6856 §2.1: not after UTF8
		return errNotOffered
	}
	if c.in.buffered() > 0 {
		// Octets sent in clear must not be taken for octets sent under TLS.
		c.readErr = errInput
		c.refuse(errSyntax)
		return nil
	}
	c.ok(textBeginTLS)
	if err := c.flush(); err != nil {
		return err
	}
	c.line = nil
	c.in.release()
	tc := tls.Server(c.raw, c.srv.tls)
	c.raw.SetDeadline(time.Time{})
	if !c.handshake(tc) {
		return c.readErr
	}
	c.nc, c.out.conn = tc, tc
	c.secure.Store(true)
	// What was said in clear may not be the client's.
	c.bad, c.name, c.language = 0, "", english
	return nil
}

// handshake does the server's side of TLS.
func (c *conn) handshake(tc *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.Handshake)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		c.srv.observe.handshakeFailed(c, err)
		c.readErr = err
		return false
	}
	return true
}
