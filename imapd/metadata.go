package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// maxAnnotation is the largest value of an annotation in octets.
const maxAnnotation = 64 << 10

// annotated finds what an annotation belongs to: a mailbox, or with an empty name
// the server, number 0 (RFC 5464 §4.2).
func (s *session) annotated(ctx context.Context, name string) (*mailbox.Account, mailbox.MailboxID, error) {
	if name == "" {
		return s.acct, 0, nil
	}
	p, info, err := s.find(ctx, name)
	return p.acct, info.ID, err
}

// Metadata reads the entries named and what is so many levels below them.
func (s *session) Metadata(ctx context.Context, name string, entries []string, depth int) ([]imap.Annotation, error) {
	acct, box, err := s.annotated(ctx, name)
	if err != nil {
		return nil, err
	}
	found, err := acct.Metadata(ctx, box, func(entry string) bool { return within(entry, entries, depth) })
	if err != nil {
		return nil, err
	}
	out := make([]imap.Annotation, len(found))
	for i, a := range found {
		out[i] = imap.Annotation(a)
	}
	return out, nil
}

// within tells whether an entry is one of those named or up to depth levels below,
// -1 for any number (RFC 5464 §4.2.2).
func within(entry string, entries []string, depth int) bool {
	for _, e := range entries {
		below, ok := strings.CutPrefix(entry, e)
		if ok && (below == "" || below[0] == '/' && (depth < 0 || strings.Count(below, "/") <= depth)) {
			return true
		}
	}
	return false
}

// SetMetadata changes entries, all or none.
func (s *session) SetMetadata(ctx context.Context, name string, entries []imap.Annotation) error {
	acct, box, err := s.annotated(ctx, name)
	if err != nil {
		return err
	}
	set := make([]mailbox.Annotation, len(entries))
	for i, a := range entries {
		if len(a.Value) > maxAnnotation {
			return &imap.Error{Code: fmt.Sprintf("METADATA MAXSIZE %d", maxAnnotation), Text: "Value too large"}
		}
		set[i] = mailbox.Annotation(a)
	}
	err = acct.SetMetadata(ctx, box, set)
	if postino.Is(err, postino.Full) && !errors.Is(err, postino.ErrNoSpace) {
		err = &imap.Error{Code: "METADATA TOOMANY", Text: "Too many annotations", Err: err}
	}
	if a := s.notified.account(acct); a != nil && err == nil {
		names := make([]string, len(entries))
		for i := range entries {
			names[i] = entries[i].Name
		}
		a.own = append(a.own, ownNotes{box, names})
	}
	return err
}
