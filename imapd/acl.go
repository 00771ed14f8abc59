package imapd

import (
	"context"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// owner is the identifier of who owns a mailbox.
const owner = "owner"

var (
	errIdentifier = &imap.Error{Code: "CANNOT", Text: "No user of this name here"}
	errOwner      = &imap.Error{Code: "CANNOT", Text: "The owner has all rights always"}
)

// ownerOf returns the address that owns an account.
func (s *session) ownerOf(ctx context.Context, acct *mailbox.Account) (postino.Address, error) {
	u, err := s.desk.opts.Directory.UserByID(ctx, uint64(acct.ID()))
	return u.Address, err
}

// subject finds whom an identifier means in the mailboxes of an account; isOwner
// tells that it is their owner, who is in no list.
func (s *session) subject(ctx context.Context, acct *mailbox.Account, id string) (who mailbox.Subject, negative, isOwner bool, err error) {
	own, err := s.ownerOf(ctx, acct)
	if err != nil {
		return who, false, false, err
	}
	id, negative = strings.CutPrefix(id, "-")
	if strings.EqualFold(id, owner) {
		return who, negative, true, nil
	}
	account, domain, err := s.desk.opts.Directory.ACLSubject(ctx, own.Domain, id)
	if postino.Is(err, postino.NotFound) {
		err = errIdentifier
	}
	who = mailbox.Subject{Account: mailbox.AccountID(account), Domain: domain}
	return who, negative, err == nil && who.Account == acct.ID(), err
}

// ACL lists the owner with all rights, then who has an entry. Accounts that are
// no more have no name and are left out.
func (s *session) ACL(ctx context.Context, name string) ([]imap.ACLEntry, error) {
	p, info, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, err := p.acct.ACL(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	own, err := s.ownerOf(ctx, p.acct)
	if err != nil {
		return nil, err
	}
	out := []imap.ACLEntry{{Identifier: own.String(), Rights: imap.Rights(mailbox.AllRights.String())}}
	for _, e := range entries {
		id, err := s.desk.opts.Directory.ACLName(ctx, own.Domain, uint64(e.Subject.Account), e.Subject.Domain)
		if postino.Is(err, postino.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if e.Negative {
			id = "-" + id
		}
		out = append(out, imap.ACLEntry{Identifier: id, Rights: imap.Rights(e.Rights.String())})
	}
	return out, nil
}

// MyRights tells what the user may do in a mailbox.
func (s *session) MyRights(ctx context.Context, name string) (imap.Rights, error) {
	p, info, err := s.find(ctx, name)
	if err != nil {
		return "", err
	}
	return imap.Rights(p.acct.Rights(info.ID).String()), nil
}

// ListRights: every right can be given alone; the owner has all of them. It needs
// the right to administer, like SETACL (RFC 4314 §4).
func (s *session) ListRights(ctx context.Context, name, id string) (*imap.ListRightsData, error) {
	p, info, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if p.acct.Rights(info.ID)&mailbox.RightAdmin == 0 {
		return nil, postino.E(postino.Denied, "list rights", name, nil)
	}
	_, _, isOwner, err := s.subject(ctx, p.acct, id)
	if err != nil {
		return nil, err
	}
	all := mailbox.AllRights.String()
	if isOwner {
		return &imap.ListRightsData{Required: imap.Rights(all)}, nil
	}
	d := &imap.ListRightsData{}
	for _, r := range all {
		d.Optional = append(d.Optional, imap.Rights(r))
	}
	return d, nil
}

// SetACL changes an entry.
func (s *session) SetACL(ctx context.Context, name, id string, op imap.StoreOp, rights imap.Rights) error {
	p, info, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if p.acct.Rights(info.ID)&mailbox.RightAdmin == 0 { // before it shows who is here
		return postino.E(postino.Denied, "set rights", name, nil)
	}
	who, negative, isOwner, err := s.subject(ctx, p.acct, id)
	if err != nil {
		return err
	}
	if isOwner {
		return errOwner
	}
	r, _ := mailbox.ParseRights(string(rights)) // the engine gives known letters
	return p.acct.SetACL(ctx, info.ID, who, negative, storeOps[op], r)
}
