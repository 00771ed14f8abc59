package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/smtp"
)

// facts is what must be known of a content before MAIL.
type facts struct {
	eight bool // it has octets above 127
	utf8  bool // its header has (RFC 6532)
}

// errKnown ends a scan whose result is certain.
var errKnown = errors.New("known")

// scanner finds the facts in what is written to it.
type scanner struct {
	facts
	body  bool   // the header is over
	tail  uint32 // the last octets, to find the empty line
	whole bool   // 8-bit octets in the body matter
}

// Write implements io.Writer; it fails with errKnown when the rest cannot matter.
func (s *scanner) Write(p []byte) (int, error) {
	n := len(p)
	if !s.body {
		end := s.headerEnd(p)
		if high(p[:end]) {
			s.eight, s.utf8 = true, true
		}
		p = p[end:]
	}
	if s.body && (s.eight || !s.whole) {
		return n, errKnown
	}
	s.eight = s.eight || high(p)
	return n, nil
}

// headerEnd returns how much of p belongs to the header.
func (s *scanner) headerEnd(p []byte) int {
	for i, c := range p {
		s.tail = s.tail<<8 | uint32(c)
		if s.tail == '\r'<<24|'\n'<<16|'\r'<<8|'\n' || s.tail&0xffff == '\n'<<8|'\n' {
			s.body = true
			return i + 1
		}
	}
	return len(p)
}

// high tells whether there is an octet above 127.
func high(p []byte) bool {
	const mask = 0x8080808080808080
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&mask != 0 {
			return true
		}
	}
	for _, c := range p {
		if c > 127 {
			return true
		}
	}
	return false
}

// scan finds the facts about the item's content, once for an attempt. What the
// sender declared is believed as far as it costs nothing: mail that may be 8-bit
// is sent as such, and the header is looked at only where SMTPUTF8 was used.
func (a *attempt) scan(ctx context.Context) (facts, error) {
	if a.facts != nil {
		return *a.facts, nil
	}
	declared := a.it.Body == postino.Body8BitMIME || a.it.Body == postino.BodyBinaryMIME
	s := scanner{whole: !declared}
	s.eight = declared
	if !declared || a.it.SMTPUTF8 {
		if err := a.write(ctx, &s); err != nil && !errors.Is(err, errKnown) {
			return facts{}, err
		}
	}
	a.facts = &s.facts
	return s.facts, nil
}

// write writes the content: the lines that were put before it, and the body.
func (a *attempt) write(ctx context.Context, w io.Writer) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	if _, err := w.Write(a.it.Prefix); err != nil {
		return err
	}
	_, err := a.body.WriteTo(w)
	return err
}

// open opens the body, once for all transactions of the attempt.
func (a *attempt) open(ctx context.Context) (err error) {
	if a.body == nil {
		a.body, err = a.r.opts.Blobs.Open(ctx, a.it.Blob)
	}
	return err
}

// close gives the body back.
func (a *attempt) close() {
	if a.body != nil {
		a.body.Close()
	}
}

// mail is the transaction for some recipients.
func (l *leg) mail(ctx context.Context, s *session, rcpts []int) (*smtp.Mail, error) {
	f, err := l.scan(ctx)
	if err != nil {
		return nil, err
	}
	e := envelope(l.it, rcpts)
	if s.local {
		e.RequireTLS = false
	}
	return &smtp.Mail{
		Envelope: e, Size: int64(len(l.it.Prefix)) + l.it.Size,
		Has8Bit: f.eight, HasUTF8Header: f.utf8 && e.SMTPUTF8, Allow8Bit: true, // as everybody does, and DKIM wants
		Content: func(w io.Writer) error { return l.write(ctx, w) },
	}, nil
}
