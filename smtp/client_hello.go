package smtp

import (
	"strconv"
	"strings"
)

// capability is one line of the EHLO reply.
type capability struct{ keyword, args string }

// offers are the capabilities that Send asks for all the time.
type offers struct {
	pipelining, chunking, binary, eightBit, utf8 bool
	size, dsn, auth, requireTLS, deliverBy       bool
	priority, futureRelease, rrvs                bool
	maxSize                                      int64 // 0: none was named (RFC 1870 §4)
	minBy                                        int64 // RFC 2852 §3, seconds
	mailMax, rcptMax, domainMax                  int   // RFC 9422 §4; 0: none
	holdUntil                                    string
}

// sayHello asks for the capabilities. A server that refuses EHLO is spoken to
// in plain SMTP (RFC 5321 §4.1.1.1); LMTP has nothing to fall back to.
func (c *Client) sayHello() error {
	verb := "EHLO "
	if c.opts.LMTP {
		verb = "LHLO "
	}
	r, err := c.ask(StageHello, verb+c.opts.Name, c.opts.Timeouts.Hello)
	if err == nil && r.Permanent() && !c.opts.LMTP {
		c.esmtp = false
		r, err = c.ask(StageHello, "HELO "+c.opts.Name, c.opts.Timeouts.Hello)
	} else if err == nil {
		c.esmtp = true
	}
	switch {
	case err != nil:
		return err
	case r.Code/100 == 3:
		return c.odd(StageHello, r)
	case !r.Success():
		return c.fail(StageHello, &r, nil)
	}
	c.hello, c.caps, c.offers, c.owed = r, nil, offers{}, false
	if c.esmtp {
		c.learn(r.Text)
	}
	return nil
}

// learn reads the lines after the first.
func (c *Client) learn(text string) {
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(text, "\n") {
		keyword, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rest, ok := cutFold(keyword, "AUTH="); ok { // as it was before RFC 2554
			keyword, args = "AUTH", rest+" "+args
		}
		if keyword != "" {
			c.caps = append(c.caps, capability{strings.ToUpper(keyword), strings.TrimSpace(args)})
		}
	}
	o := &c.offers
	for _, k := range c.caps {
		switch k.keyword {
		case "PIPELINING":
			o.pipelining = true
		case "CHUNKING":
			o.chunking = true
		case "BINARYMIME":
			o.binary = true
		case "8BITMIME":
			o.eightBit = true
		case "SMTPUTF8":
			o.utf8 = true
		case "SIZE":
			o.size = true
			o.maxSize, _ = parseSize(k.args)
		case "DSN":
			o.dsn = true
		case "AUTH":
			o.auth = true
		case "REQUIRETLS":
			o.requireTLS = c.tls != nil // RFC 8689 §2: offered only inside TLS
		case "DELIVERBY":
			o.deliverBy = true
			o.minBy, _ = parseSize(k.args)
			o.minBy = min(o.minBy, 999_999_999)
		case "MT-PRIORITY":
			o.priority = true
		case "RRVS":
			o.rrvs = true
		case "FUTURERELEASE":
			o.futureRelease = true
			_, o.holdUntil, _ = strings.Cut(k.args, " ")
		case "LIMITS":
			o.limits(k.args)
		}
	}
	o.binary = o.binary && o.chunking // RFC 3030 §3
}

// limits reads the value of LIMITS; what it does not understand is as if not
// said (RFC 9422 §3.7).
func (o *offers) limits(args string) {
	for part := range strings.FieldsSeq(args) {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || len(value) > 6 || value[0] == '0' || value[0] == '+' {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			o.mailMax = n
		case "RCPTMAX":
			o.rcptMax = n
		case "RCPTDOMAINMAX":
			o.domainMax = n
		}
	}
}

// Has tells whether the last EHLO reply named the extension, and its
// arguments; of several lines of one keyword all arguments, in their order.
func (c *Client) Has(keyword string) (args string, ok bool) {
	for _, k := range c.caps {
		if !strings.EqualFold(k.keyword, keyword) {
			continue
		}
		if ok && k.args != "" {
			args = strings.TrimSpace(args + " " + k.args)
		} else if !ok {
			args, ok = k.args, true
		}
	}
	return args, ok
}

// cutFold is strings.CutPrefix without regard to ASCII case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
