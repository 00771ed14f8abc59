package smtp

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// The replies that are always the same. None repeats what the client said (SS17).
var (
	replyOK           = &Reply{250, "2.0.0", "OK"}
	replyMail         = &Reply{250, "2.1.0", "Sender OK"}
	replyRcpt         = &Reply{250, "2.1.5", "Recipient OK"}
	replyReset        = &Reply{250, "2.0.0", "Reset"}
	replyCannotVerify = &Reply{252, "2.5.0", "Cannot verify; send mail to find out"}
	replyCannotExpand = &Reply{252, "2.5.0", "Cannot expand; send mail to find out"}
	replyHelp         = &Reply{214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT STARTTLS AUTH\nRFC 5321 and the extensions in the reply to EHLO"}
	replyReadyTLS     = &Reply{220, "2.0.0", "Ready to start TLS"}

	replyLocal       = &Reply{421, "4.3.0", "Local error, closing connection"}
	replyTooMany     = &Reply{421, "4.7.0", "Too many connections, try again later"}
	replyUnknown     = &Reply{500, "5.5.2", "Command not recognized"}
	replyBareLine    = &Reply{500, "5.5.2", "Line must end in CRLF"}
	replyLineTooLong = &Reply{500, "5.5.2", "Line too long"}
	replySyntax      = &Reply{501, "5.5.4", "Syntax error in arguments"}
	replyNoArgs      = &Reply{501, "5.5.4", "No arguments allowed"}
	replyOctets      = &Reply{501, "5.5.2", "Illegal octet in command"}
	replyBadSender   = &Reply{501, "5.1.7", "Bad sender address syntax"}
	replyBadRcpt     = &Reply{501, "5.1.3", "Bad recipient address syntax"}
	replyNotUTF8     = &Reply{553, "5.6.7", "Non-ASCII address needs SMTPUTF8"}
	replyNotDone     = &Reply{502, "5.5.1", "Command not implemented"}
	replyHelloFirst  = &Reply{503, "5.5.1", "Say EHLO first"}
	replySequence    = &Reply{503, "5.5.1", "Bad sequence of commands"}
	replyNested      = &Reply{503, "5.5.1", "Transaction already open"}
	replyNeedMail    = &Reply{503, "5.5.1", "Say MAIL first"}
	replyNeedRcpt    = &Reply{554, "5.5.1", "No valid recipients"}
	replyTooManyRcpt = &Reply{452, "4.5.3", "Too many recipients"}
	replyNeedTLS     = &Reply{530, "5.7.0", "Must issue a STARTTLS command first"}
	replyEarly       = &Reply{554, "5.5.0", "Client talked before the greeting"}
	replyPipelining  = &Reply{554, "5.5.0", "Improper pipelining"}
	replyNotSMTP     = &Reply{554, "5.5.0", "This is not the service you want"}
)

// verb is a command that the server knows.
type verb uint8

const (
	unknown verb = iota
	ehlo
	helo
	mail
	rcpt
	data
	bdat
	rset
	noop
	vrfy
	expn
	help
	quit
	starttls
	auth
	obsolete // known and not implemented: SEND, SOML, SAML, TURN
	foreign  // the first word of another protocol
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
	case "MAIL":
		return mail
	case "RCPT":
		return rcpt
	case "DATA":
		return data
	case "BDAT":
		return bdat
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
	case "SEND", "SOML", "SAML", "TURN":
		return obsolete
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI":
		return foreign
	}
	return unknown
}

// lineLimit is SS7: how long the line that in begins with may be.
func (c *Conn) lineLimit(in []byte) int {
	word, _, _ := bytes.Cut(in[:min(len(in), 5)], []byte(" "))
	v := verbOf(word)
	switch {
	case v == auth, !c.until.IsZero(): // a response of AUTH
		return c.srv.lim.AuthLine
	case v == mail, v == rcpt:
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
	case c.srv.opts.RequireTLS && c.tls == nil && v != noop && v != ehlo && v != starttls && v != quit:
		return replyNeedTLS // RFC 3207 §4
	}
	return nil
}

func (c *Conn) dispatch(v verb, arg []byte, ascii bool) *Reply {
	switch v {
	case ehlo, helo:
		return c.doHello(arg, v == ehlo)
	case mail:
		return c.doMail(arg, ascii)
	case rcpt:
		return c.doRcpt(arg, ascii)
	case data:
		return c.doData(arg)
	case bdat:
		return c.doBdat(arg)
	case vrfy, expn:
		return c.doVerify(v, arg, ascii)
	case auth:
		return c.doAuth(arg)
	case starttls:
		return c.doStartTLS(arg)
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
// (RFC 2920 §3.1, RFC 3030 §2).
func groups(v verb) bool {
	return v == mail || v == rcpt || v == rset || v == bdat || v == obsolete
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

// doHello is EHLO and HELO (RFC 5321 §4.1.1.1). Any word is taken for a name:
// RFC 5321 §4.1.4 forbids to refuse mail for it.
func (c *Conn) doHello(arg []byte, esmtp bool) *Reply {
	if len(arg) == 0 || len(arg) > postino.MaxDomain || bytes.IndexByte(arg, ' ') >= 0 {
		return replySyntax
	}
	name := string(arg)
	if err := c.session.Hello(c.ctx, name, esmtp); err != nil {
		if r := c.failed("hello", err); !r.success() {
			return r // and all stays as it was (RFC 5321 §4.1.4)
		}
	}
	c.endTransaction()
	c.hello, c.esmtp, c.authable = name, esmtp, false
	if !esmtp {
		return &Reply{Code: 250, Text: c.srv.opts.Hostname}
	}
	return &Reply{Code: 250, Text: c.srv.opts.Hostname + "\n" + strings.Join(c.extensions(), "\n")}
}

// extensions lists what EHLO announces, only what is complete, and notes it.
func (c *Conn) extensions() []string {
	opts, lim := &c.srv.opts, &c.srv.lim
	ext := []string{"PIPELINING", fmt.Sprint("SIZE ", lim.MessageBytes), "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"}
	if opts.BinaryMIME {
		ext = append(ext, "BINARYMIME")
	}
	if opts.DSN {
		ext = append(ext, "DSN")
	}
	if c.srv.tls != nil && c.tls == nil {
		ext = append(ext, "STARTTLS")
	}
	mechs := c.mechanisms()
	if c.authable = len(mechs) > 0; c.authable && c.identity == "" {
		ext = append(ext, "AUTH "+strings.Join(mechs, " "))
	}
	return append(ext, fmt.Sprintf("LIMITS MAILMAX=%d RCPTMAX=%d", min(c.maxMails(), maxLimit), min(lim.Recipients, maxLimit)))
}

// maxLimit is what LIMITS can say: six digits (RFC 9422 §4.1).
const maxLimit = 999999

// maxMails is how many MAIL commands the client may send.
func (c *Conn) maxMails() int {
	if c.trusted {
		return maxLimit
	}
	return c.srv.lim.Transactions
}

// doMail begins a transaction (RFC 5321 §4.1.1.2).
func (c *Conn) doMail(arg []byte, ascii bool) *Reply {
	c.mails++
	switch {
	case c.hello == "":
		return replyHelloFirst
	case c.tx.open():
		return replyNested
	case c.mails > c.maxMails():
		return &Reply{421, "4.7.0", c.srv.opts.Hostname + " Too many transactions"}
	}
	path, ok := cutKeyword(string(arg), "FROM:")
	if !ok {
		return replySyntax
	}
	from, params, err := postino.ParsePath(path, true)
	if err != nil || from.Domain == "" && !from.IsNull() {
		return replyBadSender
	}
	var o MailOptions
	ext := extensions{dsn: c.srv.opts.DSN, binary: c.srv.opts.BinaryMIME, auth: c.authable, size: c.srv.lim.MessageBytes}
	if r := parseMailParams(params, ext, &o); r != nil {
		return r
	}
	if !ascii && !o.SMTPUTF8 {
		return replyNotUTF8
	}
	t, err := c.session.Mail(c.ctx, from, o)
	r := replyMail
	if err != nil {
		r = c.failed("mail", err)
	}
	if t != nil && r.success() {
		c.tx = transaction{t: t, utf8: o.SMTPUTF8, binary: o.Body == postino.BodyBinaryMIME}
		return r
	}
	if t != nil {
		t.Close()
	}
	if r.success() { // no error and no transaction either
		return replyLocal
	}
	return r
}

// doRcpt adds a recipient (RFC 5321 §4.1.1.3).
func (c *Conn) doRcpt(arg []byte, ascii bool) *Reply {
	switch {
	case !c.tx.open():
		return replyNeedMail
	case c.tx.sink != nil: // after the first BDAT
		return replySequence
	}
	path, ok := cutKeyword(string(arg), "TO:")
	if !ok {
		return replySyntax
	}
	if !ascii && !c.tx.utf8 {
		return replyNotUTF8
	}
	var to postino.Recipient
	var params string
	var err error
	to.Address, params, err = postino.ParsePath(path, c.tx.utf8)
	if err != nil || to.Address.IsNull() {
		return replyBadRcpt
	}
	if r := parseRcptParams(params, extensions{dsn: c.srv.opts.DSN}, &to); r != nil {
		return r
	}
	if c.tx.rcpts >= c.srv.lim.Recipients {
		return replyTooManyRcpt // RFC 5321 §4.5.3.1.10
	}
	r := replyRcpt
	if err := c.tx.t.Rcpt(c.ctx, to); err != nil {
		if r = c.failed("rcpt", err); !r.success() {
			return r
		}
	}
	c.tx.rcpts++
	c.idle = 0
	return r
}

// cutKeyword takes "FROM:" or "TO:" and the spaces that some clients send
// after it off s.
func cutKeyword(s, keyword string) (rest string, ok bool) {
	if len(s) < len(keyword) || !strings.EqualFold(s[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimLeft(s[len(keyword):], " "), true
}

// doVerify is VRFY and EXPN (RFC 5321 §3.5, RFC 6531 §3.7.4.2).
func (c *Conn) doVerify(v verb, arg []byte, ascii bool) *Reply {
	name := string(arg)
	const flag = " SMTPUTF8"
	if n := len(name) - len(flag); n > 0 && strings.EqualFold(name[n:], flag) {
		name = strings.TrimRight(name[:n], " ")
	} else if !ascii {
		return replyNotUTF8
	}
	if name == "" {
		return replySyntax
	}
	ask, r := c.session.Verify, replyCannotVerify
	if v == expn {
		ask, r = c.session.Expand, replyCannotExpand
	}
	if err := ask(c.ctx, name); err != nil {
		return c.failed("verify", err)
	}
	return r
}

// doStartTLS is RFC 3207 §4. All that was learnt before is forgotten: a new
// Session takes over.
func (c *Conn) doStartTLS(arg []byte) *Reply {
	switch {
	case c.srv.tls == nil:
		return replyNotDone
	case c.tls != nil:
		return replySequence
	case len(arg) > 0:
		return replyNoArgs
	}
	c.endSession()
	c.hello, c.esmtp, c.authable, c.identity = "", false, false, ""
	c.out = replyReadyTLS.appendTo(c.out)
	c.push()
	c.shrink()
	if c.state != talking {
		return nil
	}
	if err := c.handshake(); err != nil {
		c.state = closing
		return nil
	}
	s, err := c.srv.opts.Backend.NewSession(c.ctx, c)
	if err != nil {
		r := ReplyFor(err)
		c.srv.log.failed(c, "starttls", err, r)
		c.refusal = r // to the next command, since TLS has no greeting
		return nil
	}
	c.session = s
	return nil
}

// failed logs the error of a session and returns its reply.
func (c *Conn) failed(during string, err error) *Reply {
	r := ReplyFor(err)
	c.srv.log.failed(c, during, err, r)
	return r
}
