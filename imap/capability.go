package imap

import "strings"

// loggedInCapabilities are announced after login, each by the RFC that defines it.
var loggedInCapabilities = []string{
	"LITERAL+",           // 7888
	"ID",                 // 2971
	"ENABLE",             // 5161
	"IDLE",               // 2177
	"NAMESPACE",          // 2342
	"UIDPLUS",            // 4315
	"MOVE",               // 6851
	"UNSELECT",           // 3691
	"CHILDREN",           // 3348
	"LIST-EXTENDED",      // 5258
	"LIST-STATUS",        // 5819
	"SPECIAL-USE",        // 6154
	"CREATE-SPECIAL-USE", // 6154
	"ESEARCH",            // 4731
	"SEARCHRES",          // 5182
	"CONDSTORE",          // 7162
	"QRESYNC",            // 7162
	"UIDONLY",            // 9586
	"UTF8=ACCEPT",        // 9755
	"COMPRESS=DEFLATE",   // 4978
	"UNAUTHENTICATE",     // 8437
	"NOTIFY",             // 5465
	"LANGUAGE",           // 5255 §3
	"I18NLEVEL=2",        // 5255 §4
	"BINARY",             // 3516
	"MULTIAPPEND",        // 3502
	"STATUS=SIZE",        // 8438
	"CATENATE",           // 4469
	"URL-PARTIAL",        // 5550
	"PREVIEW",            // 8970
	"SAVEDATE",           // 8514
	"OBJECTID",           // 8474
	"REPLACE",            // 8508
	"ACL",                // 4314
	"RIGHTS=kxte",        // 4314
	"LIST-MYRIGHTS",      // 8440
	"QUOTA",              // 9208
	"QUOTASET",
	"QUOTA=RES-STORAGE",
	"QUOTA=RES-MESSAGE",
	"QUOTA=RES-MAILBOX",
	"METADATA",              // 5464
	"METADATA-SERVER",       // 5464
	"LIST-METADATA",         // 9590
	"SORT",                  // 5256
	"SORT=DISPLAY",          // 5957
	"ESORT",                 // 5267 §3
	"CONTEXT=SEARCH",        // 5267 §4
	"CONTEXT=SORT",          // 5267 §4
	"THREAD=ORDEREDSUBJECT", // 5256
	"THREAD=REFERENCES",     // 5256
	"THREAD=REFS",
	"WITHIN",       // 5032
	"SEARCH=FUZZY", // 6203
	"FILTERS",      // 5466
	"MULTISEARCH",  // 7377
	"PARTIAL",      // 9394
	"UIDBATCHES",   // 10022
	"INPROGRESS",   // 9585
}

// capabilities prints what the server can do in this state: nothing that needs
// login before it, LOGINDISABLED where a password would go in clear
// (RFC 9051 §6.1.1), and of LITERAL+ and LITERAL- the one whose limits hold now
// (RFC 7888 §5).
func (c *conn) capabilities(o *output) {
	o.str("CAPABILITY IMAP4rev1 IMAP4rev2")
	if c.state != notAuthenticated {
		for _, name := range loggedInCapabilities {
			if name == "COMPRESS=DEFLATE" && c.compressed() {
				continue
			}
			o.str(" ")
			o.str(name)
		}
		o.str(" APPENDLIMIT=") // 7889
		o.num64(c.lim.Message)
		o.str(" MESSAGELIMIT=") // 9738
		o.num64(int64(c.lim.MessageLimit))
		return
	}
	o.str(" LITERAL- SASL-IR ID ENABLE IDLE LANGUAGE")
	if c.srv.tls != nil && !c.secure.Load() {
		o.str(" STARTTLS")
	}
	if !c.mayLogin() {
		o.str(" LOGINDISABLED")
		return
	}
	for _, m := range c.sess.Mechanisms() {
		o.str(" AUTH=")
		o.str(m)
	}
}

// capability is CAPABILITY (RFC 9051 §6.1.1).
func (c *conn) capability() error {
	if err := c.end(); err != nil {
		return err
	}
	c.out.str("* ")
	c.capabilities(&c.out)
	c.out.str("\r\n")
	return nil
}

// noop is NOOP, and CHECK of RFC 3501 §6.4.1: what is stored is on stable
// storage anyway, and the poll at the end does the rest.
func (c *conn) noop() error { return c.end() }

// logout is LOGOUT (RFC 9051 §6.1.3).
func (c *conn) logout() error {
	if err := c.end(); err != nil {
		return err
	}
	c.noPoll = true
	c.bye("Logging out")
	return nil
}

// id is ID (RFC 2971 §3.1): at most 30 pairs of at most 30 and 1024 octets.
func (c *conn) id() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	var pairs []string
	item := func() error {
		s, isNil, err := c.nstring()
		if err == nil && (len(pairs) == 60 || len(s) > 1024 || len(pairs)%2 == 0 && (isNil || len(s) > 30)) {
			err = syntax("Too much identification")
		}
		pairs = append(pairs, s)
		return err
	}
	var err error
	if c.p.Peek() == '(' {
		err = c.parenthesised(item)
	} else if _, isNil, e := c.nstring(); e != nil || !isNil {
		err = syntax("Expected a list or NIL")
	}
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if len(pairs)%2 != 0 {
		return syntax("Field without value")
	}
	c.srv.observe.clientID(c, pairs)
	c.out.str("* ID ")
	sep := "("
	for _, s := range c.srv.opts.ID {
		c.out.str(sep)
		c.out.buf = appendQuoted(c.out.buf, s)
		sep = " "
	}
	if sep == "(" {
		c.out.str("NIL\r\n")
	} else {
		c.out.str(")\r\n")
	}
	return nil
}

// nstring reads a string or NIL.
func (c *conn) nstring() (s string, isNil bool, err error) {
	if b := c.p.Rest(); len(b) >= 3 && equalFold(b[:3], "NIL") {
		c.p.Advance(3)
		return "", true, nil
	}
	s, err = c.p.String()
	return s, false, err
}

// appendQuoted prints configured text as a quoted string.
func appendQuoted(dst []byte, s string) []byte {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(quote(s))
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
