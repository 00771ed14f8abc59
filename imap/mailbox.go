package imap

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// delimiter stands between the levels of mailbox names.
const delimiter = "/"

var errName = &Error{Code: "CANNOT", Text: "Mailbox name not allowed"}

// spMailbox reads a space and a mailbox name and gives its canonical form: UTF-8
// from whatever the client speaks, NFC, INBOX in capitals (RFC 9051 §5.1). given is
// the name before normalising.
func (c *conn) spMailbox() (name, given string, err error) {
	if err := c.p.SP(); err != nil {
		return "", "", err
	}
	return c.mailboxName()
}

// mailboxName is spMailbox without the space.
func (c *conn) mailboxName() (name, given string, err error) {
	s, err := c.p.AString()
	if err != nil {
		return "", "", err
	}
	if given, err = c.decodeName(s); err != nil {
		return "", "", err
	}
	name = canonicalName(given)
	if !c.lim.nameAllowed(name) {
		return "", "", errName
	}
	return name, given, nil
}

// decodeName takes a name or pattern from the wire: UTF-8 of clients that enabled
// IMAP4rev2 or UTF8=ACCEPT, modified UTF-7 of others (RFC 3501 §5.1.3). What cannot be modified UTF-7
// is taken for UTF-8: some clients send that as soon as IMAP4rev2 is announced.
func (c *conn) decodeName(s string) (string, error) {
	if c.out.unicode() || strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if !utf8.ValidString(s) {
			return "", syntax("Mailbox name is not UTF-8")
		}
		return s, nil
	}
	return wire.DecodeUTF7(s)
}

// canonicalName is the one form of a name that sessions see. A "/" at the end,
// which tells that names below are to come (RFC 9051 §6.3.4), is dropped.
func canonicalName(s string) string {
	s = strings.TrimSuffix(norm.NFC.String(s), delimiter)
	first, rest, below := strings.Cut(s, delimiter)
	if len(first) != 5 || !strings.EqualFold(first, "INBOX") {
		return s
	}
	if !below {
		return "INBOX"
	}
	return "INBOX" + delimiter + rest
}

// nameAllowed checks a canonical name (IM10). RFC 9051 §5.1: no controls, no line
// and paragraph separators.
func (l *Limits) nameAllowed(name string) bool {
	levels := 0
	for level := range strings.SplitSeq(name, delimiter) {
		if levels++; levels > l.NameLevels || level == "" || level == "." || level == ".." || len(level) > l.NameLevel {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

// newName tells whether a mailbox of this name may be made: not one that LIST would
// take for a pattern.
func newName(name string) bool { return !strings.ContainsAny(name, "%*") }

// create is CREATE (RFC 9051 §6.3.4) with special uses (RFC 6154 §3).
func (c *conn) create() error {
	name, given, err := c.spMailbox()
	if err != nil {
		return err
	}
	req := CreateRequest{Mailbox: name}
	if c.p.Try(' ') {
		if req.SpecialUse, err = c.createParameters(); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	if !newName(name) {
		return errName
	}
	if name == "INBOX" {
		return &Error{Code: "ALREADYEXISTS", Text: "INBOX exists always"}
	}
	data, err := c.sess.Create(c.ctx, req)
	if err != nil {
		return exists(err)
	}
	if data.MailboxID != "" {
		c.setCode(func(o *output) {
			o.str("MAILBOXID (")
			o.str(data.MailboxID)
			o.str(")")
		})
	}
	c.oldName(name, given, strings.TrimSuffix(given, delimiter) != name)
	return nil
}

// createParameters reads "(USE (\Sent …))".
func (c *conn) createParameters() (use MailboxAttr, err error) {
	err = c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil || string(label) != "USE" {
			return syntax("Unknown parameter")
		}
		if err := c.p.SP(); err != nil {
			return err
		}
		return c.parenthesised(func() error {
			if err := c.p.Byte('\\'); err != nil {
				return err
			}
			a, err := c.p.Atom()
			if err != nil {
				return err
			}
			for _, n := range attrNames {
				if n.attr&specialUse != 0 && equalFold(a, n.name[1:]) {
					use |= n.attr
					return nil
				}
			}
			return &Error{Code: "USEATTR", Text: "Unknown special use"}
		})
	})
	return use, err
}

// oldName tells a client of IMAP4rev2 that a name became another by normalising
// (RFC 9051 §6.3.9.7).
func (c *conn) oldName(name, old string, differs bool) {
	if !differs || !c.out.rev2 {
		return
	}
	c.out.str(`* LIST () "/" `)
	c.out.mailbox(name)
	c.out.str(` ("OLDNAME" (`)
	c.out.mailbox(old)
	c.out.str("))\r\n")
}

// delete is DELETE (RFC 9051 §6.3.5).
func (c *conn) delete() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	if name == "INBOX" {
		return &Error{Code: "CANNOT", Text: "INBOX cannot be deleted"}
	}
	open := c.state == selected && c.isSelected(name)
	if err := c.sess.Delete(c.ctx, name); err != nil || !open {
		return err
	}
	return c.leaveMailbox() // nothing is left of it
}

// isSelected tells whether a name is that of the selected mailbox, which may have got
// another one since.
func (c *conn) isSelected(name string) bool {
	if c.mailboxID == "" {
		return name == c.mailbox
	}
	st, err := c.sess.Status(c.ctx, name, StatusMailboxID)
	return err == nil && st.MailboxID == c.mailboxID
}

// rename is RENAME (RFC 9051 §6.3.6).
func (c *conn) rename() error {
	from, fromGiven, err := c.spMailbox()
	if err != nil {
		return err
	}
	to, toGiven, err := c.spMailbox()
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	switch {
	case !newName(to):
		return errName
	case to == "INBOX" || to == from:
		return &Error{Code: "ALREADYEXISTS", Text: "The mailbox exists"}
	case from != "INBOX" && strings.HasPrefix(to, from+delimiter):
		return &Error{Code: "CANNOT", Text: "A mailbox cannot move below itself"}
	}
	if err := c.sess.Rename(c.ctx, from, to); err != nil {
		return exists(err)
	}
	if rest, below := strings.CutPrefix(c.mailbox+delimiter, from+delimiter); below && from != "INBOX" {
		c.mailbox = strings.TrimSuffix(to+delimiter+rest, delimiter) // the selected one is called so now
	}
	c.oldName(to, fromGiven, from != fromGiven && from != "INBOX" || to != toGiven)
	return nil
}

// subscribe is SUBSCRIBE (RFC 9051 §6.3.7).
func (c *conn) subscribe() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	return c.sess.Subscribe(c.ctx, name)
}

// unsubscribe is UNSUBSCRIBE (RFC 9051 §6.3.8).
func (c *conn) unsubscribe() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	return c.sess.Unsubscribe(c.ctx, name)
}

// oneMailbox reads the arguments of commands that take one name.
func (c *conn) oneMailbox() (string, error) {
	name, _, err := c.spMailbox()
	if err == nil {
		err = c.end()
	}
	return name, err
}

// namespace is NAMESPACE (RFC 9051 §6.3.10).
func (c *conn) namespace() error {
	if err := c.end(); err != nil {
		return err
	}
	return c.printNamespaces()
}

func (c *conn) printNamespaces() error {
	ns, err := c.sess.Namespaces(c.ctx)
	if err != nil {
		return err
	}
	c.out.str("* NAMESPACE")
	for _, class := range [][]Namespace{ns.Personal, ns.Other, ns.Shared} {
		if len(class) == 0 {
			c.out.str(" NIL")
			continue
		}
		c.out.str(" (")
		for _, n := range class {
			c.out.str("(")
			c.out.mailbox(n.Prefix)
			c.out.str(` "/"`)
			c.out.translation(n.Prefix)
			c.out.str(")")
		}
		c.out.str(")")
	}
	c.out.str("\r\n")
	return nil
}
