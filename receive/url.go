package receive

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// imapURL is a message or a part of one in a mailbox (RFC 5092 §6).
type imapURL struct {
	user, host, mailbox string
	validity, uid       uint32 // validity 0: not said
	path                []int
	section             message.Section
}

var errURL = errors.New("no URL of a message")

// parseURL reads an IMAP URL of a message: imap://user@host/mailbox;UIDVALIDITY=n/;UID=n
// and optionally /;SECTION=s. Such with URLAUTH are not made by this server and
// not understood.
func parseURL(s string) (u imapURL, err error) {
	const scheme = "imap://"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return u, errURL
	}
	parts := strings.Split(s[len(scheme):], "/")
	if len(parts) < 3 {
		return u, errURL
	}
	u.host = parts[0]
	if i := strings.LastIndexByte(parts[0], '@'); i >= 0 {
		name, _, _ := strings.Cut(parts[0][:i], ";") // ;AUTH= is how to log in: we are
		u.host = parts[0][i+1:]
		if u.user, err = url.PathUnescape(name); err != nil {
			return u, errURL
		}
	}
	if host, _, ok := strings.Cut(u.host, ":"); ok {
		u.host = host
	}
	last := len(parts) - 1
	if text, ok := parameter(parts[last], "section"); ok {
		if u.path, u.section, ok = parseSection(text); !ok {
			return u, errURL
		}
		last--
	}
	uid, ok := parameter(parts[last], "uid")
	if !ok || last < 2 {
		return u, errURL
	}
	box := strings.Join(parts[1:last], "/")
	if i := strings.IndexByte(box, ';'); i >= 0 {
		text, ok := parameter(box[i:], "uidvalidity")
		if !ok || !number(text, &u.validity) {
			return u, errURL
		}
		box = box[:i]
	}
	if u.mailbox, err = url.PathUnescape(box); err != nil || u.mailbox == "" || !number(uid, &u.uid) {
		return u, errURL
	}
	return u, nil
}

// parameter reads ";name=value".
func parameter(s, name string) (string, bool) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || !strings.EqualFold(key, ";"+name) || strings.ContainsRune(value, ';') {
		return "", false
	}
	value, err := url.PathUnescape(value)
	return value, err == nil
}

// number reads an nz-number.
func number(s string, n *uint32) bool {
	v, err := strconv.ParseUint(s, 10, 32)
	*n = uint32(v)
	return err == nil && v > 0
}

// maxPath bounds the depth of a section.
const maxPath = 50

// parseSection reads "1.2", "1.2.MIME", "HEADER" or "TEXT".
func parseSection(s string) (path []int, what message.Section, ok bool) {
	words := strings.Split(s, ".")
	for i, w := range words {
		if n, err := strconv.ParseUint(w, 10, 16); err == nil && n > 0 && len(path) < maxPath {
			path = append(path, int(n))
			continue
		}
		if i < len(words)-1 {
			return nil, 0, false
		}
		switch strings.ToUpper(w) {
		case "HEADER":
			what = message.SectionHeader
		case "TEXT":
			what = message.SectionText
		case "MIME":
			what, ok = message.SectionMIME, true
			return path, what, len(path) > 0
		default:
			return nil, 0, false
		}
	}
	return path, what, true
}

// URL implements smtp.Session: BURL takes a message, or a part of one, out of
// the user's own mailboxes (RFC 4468 §3.3, a regular IMAP URL).
func (s *session) URL(ctx context.Context, text string) (io.ReadCloser, int64, error) {
	refuse := func(kind postino.Kind, err error) (io.ReadCloser, int64, error) {
		return nil, 0, postino.E(kind, "resolve URL", "", err)
	}
	u, err := parseURL(text)
	if err != nil {
		return refuse(postino.NotFound, err)
	}
	if s.user.ID == 0 || !strings.EqualFold(u.host, s.b.opts.Hostname) || u.user != "" && !strings.EqualFold(u.user, s.user.Address.String()) {
		return refuse(postino.Denied, errors.New("not a mailbox of the user's"))
	}
	a, err := s.b.opts.Mailboxes.Account(ctx, mailbox.AccountID(s.user.ID))
	if err != nil {
		return nil, 0, err
	}
	found, err := find(ctx, a, &u)
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
func find(ctx context.Context, a *mailbox.Account, u *imapURL) (f *found, err error) {
	info, err := a.Mailbox(u.mailbox)
	if err != nil {
		return nil, err
	}
	gone := postino.E(postino.NotFound, "resolve URL", "", errURL)
	if u.validity != 0 && u.validity != uint32(info.UIDValidity) {
		return nil, gone
	}
	view, err := a.Open(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	snap := view.Snapshot()
	i, ok := snap.Find(mailbox.UID(u.uid))
	if !ok {
		return nil, gone
	}
	rerr := a.Emails(ctx, []mailbox.EmailID{snap.Email(i)}, mailbox.WantRow|mailbox.WantIndex, func(_ int, e *mailbox.Email) bool {
		var span message.Span
		if span, err = u.span(e); err != nil {
			return false
		}
		e.Prefix = slices.Clone(e.Prefix) // the body reads it after this call
		f = &found{a: a}
		if f.body, err = a.OpenBody(ctx, e); err == nil {
			f.SectionReader = io.NewSectionReader(f.body, span.Start, span.Len())
		}
		return false
	})
	if err = errors.Join(rerr, err); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, gone
	}
	return f, nil
}

// span is the part of the message that the URL names.
func (u *imapURL) span(e *mailbox.Email) (message.Span, error) {
	if len(u.path) == 0 && u.section == message.SectionBody {
		return message.Span{End: e.Size}, nil
	}
	ix, err := message.DecodeIndex(e.Index)
	if err != nil {
		return message.Span{}, err
	}
	span, ok := ix.Section(u.path, u.section)
	if !ok {
		return span, postino.E(postino.NotFound, "resolve URL", "", errURL)
	}
	prefix := int64(len(e.Prefix))
	if len(u.path) > 0 || u.section == message.SectionText { // the message's own header begins with the prefix
		span.Start += prefix
	}
	span.End += prefix
	return span, nil
}
