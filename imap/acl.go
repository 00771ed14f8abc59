package imap

import (
	"strings"
	"unicode"
)

// allRights are the letters of RFC 4314 §2.1 in their order.
const allRights = "lrswipkxtea"

// createRights and deleteRights are what "c" and "d" of RFC 2086 stand for (RFC 4314
// §2.1.1, the first of its two readings).
const (
	createRights = "kx"
	deleteRights = "te"
)

// parseRights reads rights in letters; "c" and "d" become their members. What is
// unknown makes the command wrong (RFC 4314 §3.1).
func parseRights(s string) (Rights, error) {
	s = strings.NewReplacer("c", createRights, "d", deleteRights).Replace(s)
	if strings.Trim(s, allRights) != "" {
		return "", syntax("Unknown right")
	}
	var out strings.Builder
	for _, r := range allRights {
		if strings.ContainsRune(s, r) {
			out.WriteRune(r)
		}
	}
	return Rights(out.String()), nil
}

// withObsolete adds "c" and "d" where one of their members is there.
func withObsolete(r Rights) string {
	s := string(r)
	if strings.ContainsAny(s, createRights) {
		s += "c"
	}
	if strings.ContainsAny(s, deleteRights) {
		s += "d"
	}
	return s
}

// optionalRights adds "c" and "d" to the groups that LISTRIGHTS shows: into the
// group that ties a member to another right, else as a group of their own.
func optionalRights(groups []Rights) []string {
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = string(g)
	}
	for _, v := range []struct{ letter, members string }{{"c", createRights}, {"d", deleteRights}} {
		at, some := -1, false
		for i, g := range groups {
			if strings.ContainsAny(string(g), v.members) {
				some = true
				if strings.Trim(string(g), v.members) != "" {
					at = i
				}
			}
		}
		switch {
		case at >= 0:
			out[at] += v.letter
		case some:
			out = append(out, v.letter)
		}
	}
	return out
}

// identifier reads a space and an identifier. RFC 4314 §3 refuses what cannot be
// prepared; what it names is the session's to find out.
func (c *conn) identifier() (string, error) {
	if err := c.p.SP(); err != nil {
		return "", err
	}
	s, err := c.p.AString()
	if err == nil && (strings.TrimPrefix(s, "-") == "" || len(s) > maxIdentifier || strings.ContainsFunc(s, unicode.IsControl)) {
		err = syntax("Wrong identifier")
	}
	return s, err
}

// maxIdentifier bounds an identifier in octets: "-" and an address.
const maxIdentifier = 1 + 64 + 1 + 255

// getACL is GETACL (RFC 4314 §3.3).
func (c *conn) getACL() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	entries, err := c.sess.ACL(c.ctx, name)
	if err != nil {
		return err
	}
	c.out.str("* ACL ")
	c.out.mailbox(name)
	for _, e := range entries {
		c.out.str(" ")
		c.out.astring(e.Identifier)
		c.out.str(" ")
		c.out.astring(withObsolete(e.Rights))
	}
	c.out.str("\r\n")
	return nil
}

// setACL is SETACL (RFC 4314 §3.1).
func (c *conn) setACL() error {
	name, _, err := c.spMailbox()
	if err != nil {
		return err
	}
	id, err := c.identifier()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	text, err := c.p.AString()
	if err != nil {
		return err
	}
	op := StoreReplace
	switch {
	case strings.HasPrefix(text, "+"):
		op, text = StoreAdd, text[1:]
	case strings.HasPrefix(text, "-"):
		op, text = StoreRemove, text[1:]
	}
	rights, err := parseRights(text)
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return c.sess.SetACL(c.ctx, name, id, op, rights)
}

// deleteACL is DELETEACL (RFC 4314 §3.2).
func (c *conn) deleteACL() error {
	name, id, err := c.mailboxIdentifier()
	if err != nil {
		return err
	}
	return c.sess.SetACL(c.ctx, name, id, StoreReplace, "")
}

// listRights is LISTRIGHTS (RFC 4314 §3.4).
func (c *conn) listRights() error {
	name, id, err := c.mailboxIdentifier()
	if err != nil {
		return err
	}
	data, err := c.sess.ListRights(c.ctx, name, id)
	if err != nil {
		return err
	}
	c.out.str("* LISTRIGHTS ")
	c.out.mailbox(name)
	c.out.str(" ")
	c.out.astring(id)
	c.out.str(" ")
	c.out.astring(withObsolete(data.Required))
	for _, g := range optionalRights(data.Optional) {
		c.out.str(" ")
		c.out.astring(g)
	}
	c.out.str("\r\n")
	return nil
}

func (c *conn) mailboxIdentifier() (name, id string, err error) {
	if name, _, err = c.spMailbox(); err != nil {
		return "", "", err
	}
	if id, err = c.identifier(); err == nil {
		err = c.end()
	}
	return name, id, err
}

// myRights is MYRIGHTS (RFC 4314 §3.5).
func (c *conn) myRights() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	return c.printMyRights(name)
}

func (c *conn) printMyRights(name string) error {
	r, err := c.sess.MyRights(c.ctx, name)
	if err != nil {
		return err
	}
	c.out.str("* MYRIGHTS ")
	c.out.mailbox(name)
	c.out.str(" ")
	c.out.astring(withObsolete(r))
	c.out.str("\r\n")
	c.out.flushFull()
	return nil
}
