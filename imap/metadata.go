package imap

import (
	"bytes"
	"slices"
	"strings"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// metadataRequest is what GETMETADATA and LIST RETURN (METADATA …) ask for.
type metadataRequest struct {
	entries []string
	depth   int   // -1: infinity
	maxSize int64 // of a value; -1: any
	longest int64 // of the values that were larger
}

// getMetadata is GETMETADATA (RFC 5464 §4.2). The options stand before the mailbox in
// the grammar and behind it in the examples; both are taken.
func (c *conn) getMetadata() error {
	req := metadataRequest{maxSize: -1}
	if err := c.p.SP(); err != nil {
		return err
	}
	if c.p.Peek() == '(' {
		if err := c.metadataOptions(&req); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
	}
	name, err := c.metadataMailbox()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	if b := c.p.Rest(); len(b) > 1 && b[0] == '(' && (b[1]|0x20 == 'm' || b[1]|0x20 == 'd') {
		if err := c.metadataOptions(&req); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
	}
	if err := c.metadataEntries(&req); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	if err := c.printMetadata(name, &req); err != nil {
		return err
	}
	if req.longest > 0 {
		c.setCode(func(o *output) {
			o.str("METADATA LONGENTRIES ")
			o.num64(req.longest)
		})
	}
	return nil
}

// metadataOptions reads MAXSIZE and DEPTH (RFC 5464 §4.2.1, §4.2.2).
func (c *conn) metadataOptions(req *metadataRequest) error {
	return c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		option := string(label)
		if err := c.p.SP(); err != nil {
			return err
		}
		switch option {
		case "MAXSIZE":
			n, err := c.p.Number(1<<32 - 1)
			req.maxSize = int64(n)
			return err
		case "DEPTH":
			value, err := c.p.Label()
			switch {
			case err != nil:
				return err
			case string(value) == "0":
				req.depth = 0
			case string(value) == "1":
				req.depth = 1
			case string(value) == "INFINITY":
				req.depth = -1
			default:
				return syntax("Wrong depth")
			}
			return nil
		}
		return syntax("Unknown option")
	})
}

// metadataMailbox reads a mailbox name, empty for the server.
func (c *conn) metadataMailbox() (string, error) {
	s, err := c.p.AString()
	if err != nil || s == "" {
		return "", err
	}
	if s, err = c.decodeName(s); err != nil {
		return "", err
	}
	if s = canonicalName(s); !c.lim.nameAllowed(s) {
		return "", errName
	}
	return s, nil
}

// metadataEntries reads one entry or a list of them.
func (c *conn) metadataEntries(req *metadataRequest) error {
	item := func() error {
		e, err := c.metadataEntry(1)
		if err == nil && !slices.Contains(req.entries, e) {
			req.entries = append(req.entries, e)
		}
		if len(req.entries) > maxEntries {
			err = syntax("Too many entries")
		}
		return err
	}
	if c.p.Peek() != '(' {
		return item()
	}
	err := c.parenthesised(item)
	if err == nil && len(req.entries) == 0 {
		err = syntax("Expected an entry")
	}
	return err
}

const (
	maxEntry   = 1024 // octets of an entry's name
	maxEntries = 100  // entries in a command
)

// metadataEntry reads the name of an entry and gives it in lower case (RFC 5464
// §3.2): it begins with /private or /shared and has at least so many components,
// below vendor four.
func (c *conn) metadataEntry(components int) (string, error) {
	s, err := c.p.AString()
	if err != nil {
		return "", err
	}
	s = strings.ToLower(s)
	parts := strings.Split(s, "/")
	ok := len(s) <= maxEntry && len(parts) > components && parts[0] == "" && (parts[1] == "private" || parts[1] == "shared")
	for _, p := range parts[1:] {
		ok = ok && p != ""
	}
	ok = ok && (components < 2 || parts[2] != "vendor" || len(parts) > 4)
	if !ok || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f || r == '*' || r == '%' }) {
		return "", syntax("Wrong entry name")
	}
	return s, nil
}

// printMetadata prints the METADATA response with values (RFC 5464 §4.4.1). An entry
// that was named and has no value is NIL (RFC 9590 §4).
func (c *conn) printMetadata(name string, req *metadataRequest) error {
	found, err := c.sess.Metadata(c.ctx, name, req.entries, req.depth)
	if err != nil {
		return err
	}
	has := make(map[string]bool, len(found))
	n := 0
	begin := func(entry string) {
		if n++; n == 1 {
			c.out.str("* METADATA ")
			c.out.mailbox(name)
			c.out.str(" (")
		} else {
			c.out.str(" ")
		}
		c.out.astring(entry)
		c.out.str(" ")
	}
	for _, a := range found {
		has[a.Name] = true
		if size := int64(len(a.Value)); req.maxSize >= 0 && size > req.maxSize {
			req.longest = max(req.longest, size)
			continue
		}
		begin(a.Name)
		c.out.value(a.Value)
	}
	for _, e := range req.entries {
		if !has[e] {
			begin(e)
			c.out.str("NIL")
		}
	}
	if n > 0 {
		c.out.str(")\r\n")
	}
	c.out.flushFull()
	return nil
}

// value prints a value; one with NUL goes as literal8.
func (o *output) value(b []byte) {
	if bytes.IndexByte(b, 0) >= 0 {
		o.str("~{")
		o.num64(int64(len(b)))
		o.str("}\r\n")
		o.buf = append(o.buf, b...)
		return
	}
	o.string(string(b))
}

// setMetadata is SETMETADATA (RFC 5464 §4.3).
func (c *conn) setMetadata() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	name, err := c.metadataMailbox()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	var set []Annotation
	err = c.parenthesised(func() error {
		entry, err := c.metadataEntry(2)
		if err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return err
		}
		value, err := c.metadataValue()
		if err == nil && value != nil && filterEntry(entry) {
			err = c.checkFilter(value)
		}
		set = append(set, Annotation{Name: entry, Value: value})
		if len(set) > maxEntries {
			err = syntax("Too many entries")
		}
		return err
	})
	if err == nil && len(set) == 0 {
		err = syntax("Expected an entry")
	}
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return c.sess.SetMetadata(c.ctx, name, set)
}

// filterEntry tells whether an entry is a filter, whose value is a search (RFC 5466
// §3.1).
func filterEntry(entry string) bool {
	scope, name, ok := strings.Cut(entry[1:], "/filters/values/")
	return ok && name != "" && (scope == "private" || scope == "shared")
}

// metadataValue reads a value, nil for NIL; an empty one is not nil.
func (c *conn) metadataValue() ([]byte, error) {
	if c.p.Peek() == '~' {
		var l wire.Literal
		l, err := c.p.LiteralHeader()
		if err != nil {
			return nil, err
		}
		return c.ReadLiteral(&c.p, l)
	}
	s, isNil, err := c.nstring()
	if err != nil || isNil {
		return nil, err
	}
	return []byte(s), nil
}
