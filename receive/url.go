package receive

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// URL implements smtp.Session: BURL takes a message, or a part of one, out of
// the user's own mailboxes (RFC 4468 §3.3, a regular IMAP URL).
func (s *session) URL(ctx context.Context, text string) (io.ReadCloser, int64, error) {
	refuse := func(kind postino.Kind, err error) (io.ReadCloser, int64, error) {
		return nil, 0, postino.E(kind, "resolve URL", "", err)
	}
	u, err := imap.ParseURL(text, imap.Limits{})
	if err != nil {
		return refuse(postino.NotFound, err)
	}
	if s.user.ID == 0 || !strings.EqualFold(u.Host, s.b.opts.Hostname) || u.User != "" && !strings.EqualFold(u.User, s.user.Address.String()) {
		return refuse(postino.Denied, errors.New("not a mailbox of the user's"))
	}
	a, err := s.b.opts.Mailboxes.Account(ctx, mailbox.AccountID(s.user.ID))
	if err != nil {
		return nil, 0, err
	}
	found, err := find(ctx, a, u)
	if err != nil {
		a.Close()
		return nil, 0, err
	}
	return found, found.Size(), nil
}

// found is what a URL names, with what is to be closed after it.
type found struct {
	*io.SectionReader
	body *mailbox.Body
	a    *mailbox.Account
}

func (f *found) Close() error {
	f.a.Close()
	return f.body.Close()
}

// find opens the octets that a URL names.
func find(ctx context.Context, a *mailbox.Account, u *imap.URL) (*found, error) {
	what, ok := sections[u.Section.Text]
	if !ok { // HEADER.FIELDS makes no octets of a message
		return nil, postino.E(postino.NotFound, "resolve URL", "", nil)
	}
	e, body, err := a.OpenMessage(ctx, u.Mailbox, u.UIDValidity, mailbox.UID(u.UID))
	if err != nil {
		return nil, err
	}
	path := make([]int, len(u.Section.Path))
	for i, n := range u.Section.Path {
		path[i] = int(n)
	}
	span, err := e.Section(path, what)
	if err != nil {
		body.Close()
		return nil, err
	}
	off, n := u.Section.Clip(span.Len())
	return &found{io.NewSectionReader(body, span.Start+off, n), body, a}, nil
}

var sections = map[imap.SectionText]message.Section{
	imap.SectionAll: message.SectionBody, imap.SectionHeader: message.SectionHeader,
	imap.SectionBodyText: message.SectionText, imap.SectionMIME: message.SectionMIME,
}
