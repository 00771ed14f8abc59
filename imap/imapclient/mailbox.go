package imapclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

// Mailbox is a mailbox as LIST shows it.
type Mailbox struct {
	// Name is UTF-8; Raw is how the server wrote it and wants it.
	Name, Raw string
	// Delimiter stands between levels, 0 when there are none.
	Delimiter byte
	// Attrs are the attributes with their backslash, `\Noselect`, `\Sent`.
	Attrs []string
}

// Has tells whether the mailbox has an attribute.
func (m *Mailbox) Has(attr string) bool {
	for _, a := range m.Attrs {
		if strings.EqualFold(a, attr) {
			return true
		}
	}
	return false
}

// Mailboxes lists all mailboxes with their special uses, and tells which names
// are subscribed.
func (c *Client) Mailboxes(ctx context.Context) (boxes []Mailbox, subscribed map[string]bool, err error) {
	subscribed = map[string]bool{}
	command := `LIST "" "*"`
	if c.Has("SPECIAL-USE") && c.Has("LIST-EXTENDED") {
		command = `LIST "" "*" RETURN (SPECIAL-USE)`
	}
	err = c.command(ctx, command, func(_ uint32, name string) error {
		if name != "LIST" {
			return nil
		}
		m, err := c.listed()
		if len(boxes) == c.lim.Mailboxes {
			err = errors.New("too many mailboxes")
		}
		boxes = append(boxes, m)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	err = c.command(ctx, `LSUB "" "*"`, func(_ uint32, name string) error {
		if name != "LSUB" && name != "LIST" {
			return nil
		}
		m, err := c.listed()
		if !m.Has(`\Noselect`) && len(subscribed) < c.lim.Mailboxes {
			subscribed[m.Name] = true
		}
		return err
	})
	var no *Error
	if errors.As(err, &no) { // a server without subscriptions
		err = nil
	}
	return boxes, subscribed, err
}

// Foreign lists the prefixes of names of mailboxes that are not the user's own:
// the other users' and the shared namespace (RFC 2342 §5). Servers that do not tell
// have none.
func (c *Client) Foreign(ctx context.Context) (prefixes []string, err error) {
	if !c.Has("NAMESPACE") && !c.Has("IMAP4rev2") {
		return nil, nil
	}
	err = c.command(ctx, "NAMESPACE", func(_ uint32, name string) error {
		if name != "NAMESPACE" {
			return nil
		}
		for class := range 3 {
			found, err := c.namespaces()
			if err != nil {
				return err
			}
			if class > 0 {
				prefixes = append(prefixes, found...)
			}
		}
		return nil
	})
	return prefixes, err
}

// namespaces reads one class of namespaces: NIL or (("prefix" "delimiter" …) …).
func (c *Client) namespaces() (prefixes []string, err error) {
	if err := c.p.SP(); err != nil || c.nilNext() {
		return nil, err
	}
	if err := c.p.Byte('('); err != nil {
		return nil, err
	}
	for !c.p.Try(')') {
		if err := c.p.Byte('('); err != nil {
			return nil, err
		}
		raw, err := c.p.String()
		if err != nil {
			return nil, err
		}
		prefix, err := wire.DecodeUTF7(raw)
		if err != nil {
			prefix = strings.ToValidUTF8(raw, "?")
		}
		if prefixes = append(prefixes, prefix); len(prefixes) > c.lim.Mailboxes {
			return nil, errors.New("too many namespaces")
		}
		if err := c.rest(); err != nil {
			return nil, err
		}
		c.p.Try(' ')
	}
	return prefixes, nil
}

// rest skips strings, NIL and lists of strings up to the parenthesis that closes the
// present list.
func (c *Client) rest() error {
	for depth := 1; depth > 0; {
		switch {
		case c.p.Try(' '):
		case c.p.Try('('):
			depth++
		case c.p.Try(')'):
			depth--
		case c.nilNext():
		default:
			if _, err := c.p.String(); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed reads what follows LIST or LSUB.
func (c *Client) listed() (m Mailbox, err error) {
	if err = c.p.SP(); err == nil {
		m.Attrs, err = c.words()
	}
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return m, err
	}
	if c.nilNext() {
	} else if s, err := c.p.String(); err != nil || len(s) != 1 {
		return m, errors.New("a delimiter that is not one octet")
	} else {
		m.Delimiter = s[0]
	}
	if err = c.p.SP(); err != nil {
		return m, err
	}
	if m.Raw, err = c.p.AString(); err != nil {
		return m, err
	}
	if m.Name, err = wire.DecodeUTF7(m.Raw); err != nil || !utf8.ValidString(m.Name) {
		m.Name, err = strings.ToValidUTF8(m.Raw, "?"), nil // some servers send what they have
	}
	return m, nil
}

// words reads "(a b \c)".
func (c *Client) words() (list []string, err error) {
	if err := c.p.Byte('('); err != nil {
		return nil, err
	}
	for !c.p.Try(')') {
		prefix := ""
		if c.p.Try('\\') {
			prefix = `\`
		}
		if c.p.Try('*') {
			list = append(list, prefix+"*")
		} else if a, err := c.p.Atom(); err == nil {
			list = append(list, prefix+string(a))
		} else {
			return nil, err
		}
		c.p.Try(' ')
	}
	return list, nil
}

func (c *Client) nilNext() bool {
	b := c.p.Rest()
	if len(b) < 3 || !strings.EqualFold(string(b[:3]), "NIL") {
		return false
	}
	c.p.Advance(3)
	return true
}

// Selected is an opened mailbox.
type Selected struct {
	Messages, UIDValidity, UIDNext uint32
}

// Examine opens a mailbox for reading.
func (c *Client) Examine(ctx context.Context, m *Mailbox) (s Selected, err error) {
	b := wire.AppendString([]byte("EXAMINE "), m.Raw, false)
	if strings.Contains(string(b), "}\r\n") {
		return s, postino.E(postino.Invalid, "examine", postino.Printable(m.Name), errors.New("the name cannot be sent"))
	}
	err = c.command(ctx, string(b), func(n uint32, name string) error {
		switch name {
		case "EXISTS":
			s.Messages = n
		case "OK":
			code, _ := c.code(strings.TrimPrefix(string(c.p.Rest()), " "))
			var n uint32
			if _, err := fmt.Sscanf(strings.ToUpper(code), "UIDVALIDITY %d", &n); err == nil {
				s.UIDValidity = n
			} else if _, err := fmt.Sscanf(strings.ToUpper(code), "UIDNEXT %d", &n); err == nil {
				s.UIDNext = n
			}
		}
		return nil
	})
	return s, err
}

// Message is what Envelopes tells of a message.
type Message struct {
	UID uint32
	// Flags are system flags with their backslash, and keywords.
	Flags []string
	// Date is the internal date, zero when the server told none that can be read.
	Date time.Time
	Size int64
}

// Envelopes tells every message with a UID of at least from. fn may not keep
// Flags.
func (c *Client) Envelopes(ctx context.Context, from uint32, fn func(m *Message) error) error {
	var stop error
	err := c.command(ctx, fmt.Sprintf("UID FETCH %d:* (UID FLAGS INTERNALDATE RFC822.SIZE)", from), func(_ uint32, name string) error {
		if name != "FETCH" || stop != nil {
			return nil
		}
		var m Message
		if err := c.fetched(&m, nil); err != nil {
			return err
		}
		if m.UID >= from { // "*" is the last message even when its UID is smaller
			stop = fn(&m)
		}
		return nil
	})
	if stop != nil {
		return stop
	}
	return err
}

// Sink takes the bodies of messages.
type Sink interface {
	// Open begins a body of size octets. An error makes the client skip it.
	Open(size int64) (io.Writer, error)
	// Done tells whose body it was, once all of it was written; an error ends
	// the reading.
	Done(uid uint32) error
}

// Bodies streams the octets of the messages in set, a sequence-set of UIDs,
// without setting \Seen. Messages that are gone are passed over.
func (c *Client) Bodies(ctx context.Context, set string, sink Sink) error {
	var stop error
	err := c.command(ctx, "UID FETCH "+set+" (UID BODY.PEEK[])", func(_ uint32, name string) error {
		if name != "FETCH" || stop != nil {
			return nil
		}
		var m Message
		body := &body{sink: sink}
		err := c.fetched(&m, body)
		switch {
		case err != nil:
			return err
		case body.err != nil:
			stop = body.err
		case body.whole && m.UID != 0:
			stop = sink.Done(m.UID)
		}
		return nil
	})
	if stop != nil {
		return stop
	}
	return err
}

// body is a body that is being read.
type body struct {
	sink  Sink
	whole bool
	err   error
}

// fetched reads the items of a FETCH response.
func (c *Client) fetched(m *Message, b *body) error {
	if err := c.p.SP(); err != nil {
		return err
	}
	if err := c.p.Byte('('); err != nil {
		return err
	}
	for !c.p.Try(')') {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		name := string(label)
		if name == "BODY" && b != nil && strings.HasPrefix(string(c.p.Rest()), "[] ") {
			c.p.Advance(3)
			if err := c.body(b); err != nil {
				return err
			}
			c.p.Try(' ')
			continue
		}
		if err := c.p.SP(); err != nil {
			return err
		}
		if err := c.item(name, m); err != nil {
			return err
		}
		c.p.Try(' ')
	}
	return nil
}

// item reads the value of an item without body.
func (c *Client) item(name string, m *Message) error {
	switch name {
	case "UID":
		n, err := c.p.Number(1<<32 - 1)
		m.UID = uint32(n)
		return err
	case "RFC822.SIZE":
		n, err := c.p.Number(1<<63 - 1)
		m.Size = int64(n)
		return err
	case "FLAGS":
		flags, err := c.words()
		m.Flags = flags
		return err
	case "INTERNALDATE":
		s, err := c.p.String()
		if err != nil {
			return err
		}
		if t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", strings.TrimSpace(s)); err == nil {
			m.Date = t
		}
		return nil
	case "MODSEQ":
		_, err := c.words()
		return err
	}
	return fmt.Errorf("item %s was not asked for", postino.Printable(name))
}

// body streams a body to its sink.
func (c *Client) body(b *body) error {
	if c.nilNext() {
		return nil // the message is gone
	}
	if c.p.Peek() == '"' {
		s, err := c.p.String()
		if err != nil {
			return err
		}
		w, err := b.sink.Open(int64(len(s)))
		if err == nil {
			_, err = io.WriteString(w, s)
		}
		b.whole, b.err = err == nil, err
		return nil
	}
	l, err := c.p.LiteralHeader()
	if err != nil {
		return err
	}
	if l.Size > c.lim.Body {
		return fmt.Errorf("a message of %d octets", l.Size)
	}
	var to io.Writer = discard{}
	if w, err := b.sink.Open(l.Size); err != nil {
		b.err = err
	} else {
		to = w
	}
	var scratch [16 << 10]byte
	werr, err := c.in.CopyN(to, l.Size, scratch[:])
	if err != nil {
		return err
	}
	if b.err == nil {
		b.err = werr
	}
	b.whole = b.err == nil
	line, err := c.line()
	if err != nil {
		return err
	}
	c.p.Reset(line)
	return nil
}
