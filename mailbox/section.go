package mailbox

import (
	"context"
	"errors"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

var errNoPart = errors.New("the message has no such part")

// Section returns where the octets of a section stand in e, counted from the
// beginning of its prefix; e was read with WantIndex. NotFound when there is no
// such part.
func (e *Email) Section(path []int, what message.Section) (message.Span, error) {
	if len(path) == 0 && what == message.SectionBody {
		return message.Span{End: e.Size}, nil
	}
	ix, err := message.DecodeIndex(e.Index)
	if err != nil {
		return message.Span{}, err
	}
	span, ok := e.SectionOf(ix, path, what)
	if !ok {
		return span, postino.E(postino.NotFound, "find section", "", errNoPart)
	}
	return span, nil
}

// SectionOf is Section with the index of e decoded already.
func (e *Email) SectionOf(ix *message.Index, path []int, what message.Section) (message.Span, bool) {
	span, ok := ix.Section(path, what)
	prefix := int64(len(e.Prefix))
	if len(path) > 0 || what == message.SectionText {
		span.Start += prefix // else it begins with the header, which begins with the prefix
	}
	span.End += prefix
	return span, ok
}

// OpenMessage opens the message that a mailbox, its UIDVALIDITY (0: any) and a UID
// name, as URLs do. The email has its index; it stays valid. The caller closes the
// body. NotFound when there is none.
func (a *Account) OpenMessage(ctx context.Context, box string, validity uint32, uid UID) (*Email, *Body, error) {
	info, err := a.Mailbox(box)
	if err != nil {
		return nil, nil, err
	}
	view, err := a.Open(ctx, info.ID)
	if err != nil {
		return nil, nil, err
	}
	snap := view.Snapshot()
	i, ok := snap.Find(uid)
	if !ok || validity != 0 && validity != info.UIDValidity {
		return nil, nil, postino.E(postino.NotFound, "open message", box, nil)
	}
	var found *Email
	err = a.Emails(ctx, []EmailID{snap.Email(i)}, WantRow|WantIndex, func(_ int, e *Email) bool {
		found = e.clone()
		return false
	})
	if err == nil && found == nil {
		err = postino.E(postino.NotFound, "open message", box, nil) // swept meanwhile
	}
	if err != nil {
		return nil, nil, err
	}
	body, err := a.OpenBody(ctx, found)
	return found, body, err
}

// clone returns an email that stays valid, of what its row and index hold.
func (e *Email) clone() *Email {
	c := *e
	c.Prefix, c.Index = slices.Clone(e.Prefix), slices.Clone(e.Index)
	c.Envelope, c.BodyStructure = slices.Clone(e.Envelope), slices.Clone(e.BodyStructure)
	return &c
}
