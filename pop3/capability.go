package pop3

import (
	"bytes"
	"time"
)

// capa is CAPA (RFC 2449 §5). What is announced in both states is so by its
// definition; STLS and the ways to log in depend on TLS.
func (c *conn) capa(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	c.ok(textCapabilities)
	o := &c.out
	o.str("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\nLANG\r\n")
	if c.mayLogin() {
		o.str("USER\r\n")
		if list := c.sess.Mechanisms(); len(list) > 0 {
			o.str("SASL")
			for _, m := range list {
				o.str(" " + m)
			}
			o.str("\r\n")
		}
	}
	if c.state == authorization && c.srv.tls != nil && !c.secure.Load() && !c.utf8Mode {
		o.str("STLS\r\n")
	}
	if d := c.srv.opts.LoginDelay; d > 0 {
		o.str("LOGIN-DELAY ")
		o.num(int64((d + time.Second - 1) / time.Second))
		o.str("\r\n")
	}
	o.str("EXPIRE ")
	if days := c.srv.opts.Expire; days > 0 {
		o.num(int64(days))
	} else {
		o.str("NEVER")
	}
	o.str("\r\nIMPLEMENTATION Postino\r\n")
	return c.end()
}

// utf8 is UTF8 (RFC 6856 §2.1): from here on messages with UTF-8 in their header
// are sent as they are.
func (c *conn) utf8(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	c.utf8Mode = true
	return c.ok(textUTF8)
}

// lang is LANG (RFC 6856 §3).
func (c *conn) lang(args []byte) error {
	tag := string(bytes.TrimRight(args, " "))
	if tag == "" {
		c.ok(textLanguages)
		for _, t := range tongues {
			c.out.str(t.tag + " " + t.name + "\r\n")
		}
		return c.end()
	}
	l, ok := findLanguage(tag)
	if tag == "*" {
		// Before login everybody prefers the same (RFC 6856 §7).
		if l, ok = english, true; c.drop != nil {
			l, _ = findLanguage(c.drop.Language())
		}
	}
	if !ok {
		return errLanguage
	}
	c.language = l
	c.out.room()
	c.out.str("+OK " + tongues[l].tag + " " + c.say(textLanguage) + "\r\n")
	return nil
}
