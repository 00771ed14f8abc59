package message

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// checker is a strict reader of the IMAP grammar for ENVELOPE and BODYSTRUCTURE
// (RFC 9051 §9), independent of the code that writes it.
type checker struct {
	b   []byte
	err error
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format+" before %.60q", append(args, c.b)...)
	}
	c.b = nil
}

func (c *checker) lit(s string) {
	if !bytes.HasPrefix(c.b, []byte(s)) {
		c.fail("want %q", s)
		return
	}
	c.b = c.b[len(s):]
}

func (c *checker) has(s string) bool { return bytes.HasPrefix(c.b, []byte(s)) }

func (c *checker) number() (n int64) {
	i := 0
	for i < len(c.b) && '0' <= c.b[i] && c.b[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(string(c.b[:i]), 10, 64)
	if err != nil {
		c.fail("want number")
		return 0
	}
	c.b = c.b[i:]
	return n
}

func (c *checker) str() string {
	var out []byte
	switch {
	case c.has("{"):
		c.lit("{")
		n := c.number()
		c.lit("}\r\n")
		if n > int64(len(c.b)) {
			c.fail("literal of %d", n)
			return ""
		}
		out, c.b = c.b[:n], c.b[n:]
		if bytes.IndexByte(out, 0) >= 0 {
			c.fail("NUL in literal")
		}
		return string(out)
	case c.has(`"`):
		for i := 1; i < len(c.b); i++ {
			switch ch := c.b[i]; {
			case ch == '"':
				c.b = c.b[i+1:]
				return string(out)
			case ch == '\\':
				if i++; i >= len(c.b) || c.b[i] != '"' && c.b[i] != '\\' {
					c.fail("escape")
					return ""
				}
				out = append(out, c.b[i])
			case ch == 0 || ch == '\r' || ch == '\n' || ch >= 0x80:
				c.fail("octet %#x in quoted string", ch)
				return ""
			default:
				out = append(out, ch)
			}
		}
	}
	c.fail("want string")
	return ""
}

func (c *checker) nstr() string {
	if c.has("NIL") {
		c.lit("NIL")
		return ""
	}
	return c.str()
}

func (c *checker) envelope() {
	c.lit("(")
	c.nstr()
	c.lit(" ")
	c.nstr()
	for range 6 {
		c.lit(" ")
		if c.has("NIL") {
			c.lit("NIL")
			continue
		}
		c.lit("(")
		group := false
		for first := true; first || c.has("("); first = false {
			c.lit("(")
			c.nstr()
			c.lit(" ")
			c.nstr()
			c.lit(" ")
			mailboxNil := c.has("NIL")
			c.nstr()
			c.lit(" ")
			hostNil := c.has("NIL")
			c.nstr()
			c.lit(")")
			if hostNil {
				if mailboxNil != group {
					c.fail("group bounds out of order")
				}
				group = !group
			} else if mailboxNil {
				c.fail("NIL mailbox with host")
			}
			if c.err != nil {
				return
			}
		}
		if group {
			c.fail("group not closed")
		}
		c.lit(")")
	}
	c.lit(" ")
	c.nstr()
	c.lit(" ")
	c.nstr()
	c.lit(")")
}

func (c *checker) params() {
	if c.has("NIL") {
		c.lit("NIL")
		return
	}
	c.lit("(")
	for {
		c.str()
		c.lit(" ")
		c.str()
		if c.err != nil || !c.has(" ") {
			break
		}
		c.lit(" ")
	}
	c.lit(")")
}

func (c *checker) extension() {
	c.lit(" ")
	if c.has("NIL") {
		c.lit("NIL")
	} else {
		c.lit("(")
		c.str()
		c.lit(" ")
		c.params()
		c.lit(")")
	}
	c.lit(" ")
	if c.has("(") {
		c.lit("(")
		c.str()
		for c.err == nil && c.has(" ") {
			c.lit(" ")
			c.str()
		}
		c.lit(")")
	} else {
		c.nstr()
	}
	c.lit(" ")
	c.nstr()
}

// body checks one body and returns how many bodies it holds, itself included.
func (c *checker) body(extended bool) (n int) {
	n = 1
	c.lit("(")
	if c.has("(") {
		for c.err == nil && c.has("(") {
			n += c.body(extended)
		}
		c.lit(" ")
		c.str()
		if extended {
			c.lit(" ")
			c.params()
			c.extension()
		}
		c.lit(")")
		return n
	}
	typ := strings.ToLower(c.str())
	c.lit(" ")
	subtype := strings.ToLower(c.str())
	c.lit(" ")
	c.params()
	c.lit(" ")
	c.nstr()
	c.lit(" ")
	c.nstr()
	c.lit(" ")
	c.str()
	c.lit(" ")
	c.number()
	switch {
	case typ == "multipart":
		c.fail("multipart as a single part")
	case typ == "message" && (subtype == "rfc822" || subtype == "global"):
		c.lit(" ")
		c.envelope()
		c.lit(" ")
		n += c.body(extended)
		c.lit(" ")
		c.number()
	case typ == "text":
		c.lit(" ")
		c.number()
	}
	if extended {
		c.lit(" ")
		c.nstr()
		c.extension()
	}
	c.lit(")")
	return n
}

func checkEnvelope(b []byte) error {
	c := &checker{b: b}
	c.envelope()
	if c.err == nil && len(c.b) > 0 {
		c.fail("trailing octets")
	}
	return c.err
}

func checkBody(b []byte, extended bool) error {
	c := &checker{b: b}
	c.body(extended)
	if c.err == nil && len(c.b) > 0 {
		c.fail("trailing octets")
	}
	return c.err
}
