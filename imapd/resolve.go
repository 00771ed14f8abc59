package imapd

import (
	"bytes"
	"context"
	"io"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// OpenURL opens a message or a part of one; nothing gets \Seen (RFC 4469 §3).
func (s *session) OpenURL(ctx context.Context, u *imap.URL) (*imap.URLData, error) {
	if u.User != "" && u.User != s.user {
		return nil, postino.E(postino.NotFound, "open URL", "", nil)
	}
	p, err := s.place(ctx, u.Mailbox)
	if err != nil {
		return nil, err
	}
	e, body, err := p.acct.OpenMessage(ctx, p.name, u.UIDValidity, mailbox.UID(u.UID))
	if err != nil {
		return nil, err
	}
	o := &octets{e: e, all: body, body: body}
	data, err := o.url(&u.Section)
	if err != nil {
		body.Close()
		return nil, err
	}
	data.Close = body.Close
	return data, nil
}

// url gives the octets of a section.
func (o *octets) url(sec *imap.Section) (*imap.URLData, error) {
	span, err := o.e.Section(partPath(sec.Path), sectionOf(sec.Text))
	if err != nil {
		return nil, err
	}
	all, start, size := o.all, span.Start, span.Len()
	if sec.Text == imap.SectionHeaderFields || sec.Text == imap.SectionHeaderFieldsNot {
		chosen, err := o.fields(sec, span)
		if err != nil {
			return nil, err
		}
		all, start, size = bytes.NewReader(chosen), 0, int64(len(chosen))
	}
	off, n := sec.Clip(size)
	return &imap.URLData{Size: n, ReaderAt: io.NewSectionReader(all, start+off, n)}, nil
}

// preview gives what PREVIEW shows of a message, nil when it is not at hand and
// lazy is set (RFC 8970 §4.1).
func (o *octets) preview(lazy bool) ([]byte, error) {
	if lazy && o.e.Body == nil {
		return nil, nil
	}
	ix, err := o.index()
	if err != nil {
		return nil, err
	}
	prefix := int64(len(o.e.Prefix))
	text, err := ix.Preview(io.NewSectionReader(o.all, prefix, o.e.Size-prefix))
	return append([]byte{}, text...), err
}

// partPath turns a path to what message takes.
func partPath(path []uint32) []int {
	out := make([]int, len(path))
	for i, n := range path {
		out[i] = int(n)
	}
	return out
}
