package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// maxExchange is how long an AUTH exchange may take (AU4).
const maxExchange = 60 * time.Second

var (
	replyAuthDone      = &Reply{235, "2.7.0", "Authentication succeeded"}
	replyAuthNoTLS     = &Reply{538, "5.7.11", "Encryption required for requested authentication mechanism"}
	replyAuthMech      = &Reply{504, "5.5.4", "Unrecognized authentication mechanism"}
	replyAuthBase64    = &Reply{501, "5.5.2", "Cannot decode response"}
	replyAuthSyntax    = &Reply{501, "5.5.2", "Malformed response"}
	replyAuthStopped   = &Reply{501, "5.7.0", "Authentication cancelled"}
	replyAuthTooLong   = &Reply{500, "5.5.6", "Authentication exchange line is too long"}
	replyAuthInvalid   = &Reply{535, "5.7.8", "Authentication credentials invalid"}
	replyAuthTemporary = &Reply{454, "4.7.0", "Temporary authentication failure"}
)

// mechanisms is what AUTH accepts now: nothing in clear (AU4).
func (c *Conn) mechanisms() []string {
	if c.tls == nil && !c.srv.opts.AuthInsecure {
		return nil
	}
	return c.session.Mechanisms()
}

// doAuth is RFC 4954 §4.
func (c *Conn) doAuth(arg []byte) *Reply {
	switch {
	case !c.esmtp:
		return replyHelloFirst
	case c.identity != "" || c.tx.open():
		return replySequence
	case len(arg) == 0:
		return replySyntax
	case c.tls == nil && !c.srv.opts.AuthInsecure:
		return replyAuthNoTLS
	}
	name, coded, hasInitial := strings.Cut(string(arg), " ")
	name = strings.ToUpper(name)
	offered := c.mechanisms()
	switch {
	case len(offered) == 0:
		return replyNotDone
	case !slices.Contains(offered, name):
		return replyAuthMech
	}
	x, err := c.session.Auth(c.ctx, name)
	if err != nil {
		return c.authFailed(name, err)
	}
	var response []byte // nil: none yet
	if hasInitial {
		if coded == "=" {
			response = []byte{}
		} else if response, err = decode([]byte(coded)); err != nil || coded == "" {
			return replyAuthBase64
		}
	}
	c.until = time.Now().Add(maxExchange)
	defer func() { c.until = time.Time{} }()
	return c.exchange(name, x, response)
}

// exchange hands challenges and responses to and fro.
func (c *Conn) exchange(name string, x Exchange, response []byte) *Reply {
	for {
		challenge, done, err := x.Next(c.ctx, response)
		clear(response)
		if err != nil {
			return c.authFailed(name, err)
		}
		if done {
			return c.authenticated(x.Identity())
		}
		c.out = append(c.out, "334 "...)
		c.out = append(base64.StdEncoding.AppendEncode(c.out, challenge), '\r', '\n')
		line, err := c.readLine(c.commandTimeout())
		switch {
		case err == errLineTooLong:
			c.drop(replyAuthTooLong)
			return nil
		case err != nil:
			c.fail(err)
			return nil
		case string(line) == "*":
			return replyAuthStopped
		}
		if response, err = decode(line); err != nil {
			return replyAuthBase64
		}
	}
}

// authenticated notes who the client is from now on.
func (c *Conn) authenticated(identity string) *Reply {
	if identity == "" {
		return c.authFailed("", errors.New("no identity"))
	}
	c.identity, c.idle, c.forward, c.owed = identity, 0, nil, 0
	c.promote()
	return replyAuthDone
}

// authFailed tells what is wrong with the credentials apart from what is wrong
// with us, and nothing more (RFC 4954 §6, AU2).
func (c *Conn) authFailed(mechanism string, err error) *Reply {
	c.srv.log.authFailed(c, mechanism, err)
	var r *Reply
	if errors.As(err, &r) && !r.success() {
		return r
	}
	switch postino.KindOf(err) {
	case postino.Invalid:
		return replyAuthSyntax
	case postino.Denied, postino.NotFound:
		return replyAuthInvalid
	}
	return replyAuthTemporary
}

// decode reads base64 as strictly as RFC 4954 §4 wants it. The result is never
// nil: that would mean that there was no response.
func decode(src []byte) ([]byte, error) {
	if bytes.ContainsAny(src, "\r\n") { // encoding/base64 would skip them
		return nil, base64.CorruptInputError(0)
	}
	return base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(src))), src)
}
