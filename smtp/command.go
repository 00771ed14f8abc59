package smtp

import (
	"bytes"
	"unicode/utf8"
)

// verb is a command that the server knows.
type verb uint8

const (
	unknown verb = iota
	ehlo
	helo
	lhlo
	mail
	rcpt
	data
	bdat
	burl
	rset
	noop
	vrfy
	expn
	help
	quit
	starttls
	auth
	etrn
	xclient
	xforward
	obsolete // known and not implemented: SEND, SOML, SAML, TURN
	foreign  // the first word of another protocol, or of a proxy that is not listed
)

// verbOf reads the command word, in any case (RFC 5321 §2.4).
func verbOf(word []byte) verb {
	var up [8]byte
	if len(word) > len(up) {
		return unknown
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up[i] = c
	}
	switch string(up[:len(word)]) {
	case "EHLO":
		return ehlo
	case "HELO":
		return helo
	case "LHLO":
		return lhlo
	case "MAIL":
		return mail
	case "RCPT":
		return rcpt
	case "DATA":
		return data
	case "BDAT":
		return bdat
	case "BURL":
		return burl
	case "RSET":
		return rset
	case "NOOP":
		return noop
	case "VRFY":
		return vrfy
	case "EXPN":
		return expn
	case "HELP":
		return help
	case "QUIT":
		return quit
	case "STARTTLS":
		return starttls
	case "AUTH":
		return auth
	case "ETRN":
		return etrn
	case "XCLIENT":
		return xclient
	case "XFORWARD":
		return xforward
	case "SEND", "SOML", "SAML", "TURN":
		return obsolete
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI", "PROXY":
		return foreign
	}
	return unknown
}

// lineLimit is SS7: how long the line that in begins with may be.
func (c *Conn) lineLimit(in []byte) int {
	word, _, _ := bytes.Cut(in[:min(len(in), 9)], []byte(" "))
	v := verbOf(word)
	switch {
	case v == auth, !c.until.IsZero(): // a response of AUTH
		return c.srv.lim.AuthLine
	case v == mail, v == rcpt, v == burl, v == xclient, v == xforward:
		return c.srv.lim.EnvelopeLine
	}
	return c.srv.lim.CommandLine
}

// command answers one line.
func (c *Conn) command(line []byte) {
	line = bytes.TrimRight(line, " \t") // RFC 5321 §4.1.1
	word, arg, _ := bytes.Cut(line, []byte(" "))
	v := verbOf(word)
	c.idle++
	ascii, clean := scanText(line)
	switch {
	case v == foreign || len(line) > 0 && (line[0] < ' ' || line[0] == 0x80):
		c.drop(replyNotSMTP) // HTTP, or a TLS handshake in clear
	case c.buffered() > 0 && !c.mayPipeline(v, arg):
		c.drop(replyPipelining)
	case c.idle > c.srv.lim.IdleCommands:
		c.drop(&Reply{421, "4.7.0", c.srv.opts.Hostname + " Too many commands without mail"})
	default:
		r := c.barred(v, ascii, clean)
		if r != nil && v == bdat { // its chunk must not be read as commands
			c.drop(r)
			return
		}
		if r != nil && v == burl { // nor may the message go on without its piece
			c.endTransaction()
		}
		if r == nil {
			r = c.dispatch(v, arg, ascii)
		}
		if r != nil {
			c.reply(r)
		}
	}
	if c.state == talking && c.buffered() > 0 && !groups(v) {
		c.push() // RFC 2920 §3.2 (5), (6): not to be held back
	}
}

// barred refuses what no command may hold or what the state of the connection
// forbids to all but a few.
func (c *Conn) barred(v verb, ascii, clean bool) *Reply {
	switch {
	case !clean || !ascii && v != mail && v != rcpt && v != vrfy && v != expn:
		return replyOctets
	case c.refusal != nil && v != quit:
		return c.refusal
	case c.srv.opts.RequireTLS && c.tls == nil && v != noop && v != ehlo && v != lhlo && v != starttls && v != quit:
		return replyNeedTLS // RFC 3207 §4
	}
	return nil
}

func (c *Conn) dispatch(v verb, arg []byte, ascii bool) *Reply {
	switch v {
	case ehlo, helo, lhlo:
		if (v == lhlo) != c.srv.opts.LMTP {
			return replyUnknown // RFC 2033 §4.1
		}
		return c.doHello(arg, v != helo)
	case mail:
		return c.doMail(arg, ascii)
	case rcpt:
		return c.doRcpt(arg, ascii)
	case data:
		return c.doData(arg)
	case bdat:
		return c.doBdat(arg)
	case burl:
		return c.doBurl(arg)
	case vrfy, expn:
		return c.doVerify(v, arg, ascii)
	case auth:
		return c.doAuth(arg)
	case starttls:
		return c.doStartTLS(arg)
	case etrn:
		return c.doEtrn(arg)
	case xclient:
		return c.doXClient(arg)
	case xforward:
		return c.doXForward(arg)
	case noop:
		return replyOK
	case help:
		return replyHelp
	case obsolete:
		return replyNotDone
	case rset:
		if len(arg) > 0 {
			return replyNoArgs
		}
		c.endTransaction()
		return replyReset
	case quit:
		if len(arg) > 0 {
			return replyNoArgs
		}
		c.endTransaction()
		c.end(closing, &Reply{221, "2.0.0", c.srv.opts.Hostname + " Service closing transmission channel"})
		return nil
	}
	return replyUnknown
}

// groups tells whether a command may stand before others in a pipelined group
// (RFC 2920 §3.1, RFC 3030 §2, RFC 4468 §3.2).
func groups(v verb) bool {
	return v == mail || v == rcpt || v == rset || v == bdat || v == burl || v == xforward || v == obsolete
}

// mayPipeline tells whether more than the command v may have been sent without
// waiting for its reply (SS17). Unknown commands are answered first.
func (c *Conn) mayPipeline(v verb, arg []byte) bool {
	switch {
	case v == starttls:
		return c.tls != nil || c.srv.tls == nil // else refused there, by SS6
	case c.srv.opts.LaxPipelining, v == quit, v == unknown, v == bdat:
		return true
	case v == auth: // RFC 4954 §4: only a mechanism of one round trip
		return c.esmtp && len(arg) > 6 && bytes.EqualFold(arg[:6], []byte("PLAIN "))
	}
	return c.esmtp && groups(v)
}

// scanText looks for octets that stand in no command: controls, and what is
// not UTF-8.
func scanText(line []byte) (ascii, clean bool) {
	ascii = true
	for _, b := range line {
		if b < ' ' || b == 0x7f {
			return ascii, false
		}
		if b >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii, ascii || utf8.Valid(line)
}

// failed logs the error of a session and returns its reply.
func (c *Conn) failed(during string, err error) *Reply {
	r := ReplyFor(err)
	c.srv.log.failed(c, during, err, r)
	return r
}
