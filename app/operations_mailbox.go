package app

import (
	"context"
	"errors"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
)

// Quota are the limits of an account and what it uses. 0 is no limit.
type Quota struct {
	Address string
	// Bytes, Messages and Mailboxes are to change; absent ones stay. In a reply
	// they are what holds.
	Bytes, Messages, Mailboxes *int64 `json:",omitempty"`
	// What is used.
	UsedBytes, UsedMessages, UsedMailboxes int64
}

// quota shows the quota of a user, after the change.
func (s *Stores) quota(ctx context.Context, in Quota) (Quota, error) {
	u, err := s.userAt(ctx, in.Address)
	if err == nil && (in.Bytes != nil || in.Messages != nil || in.Mailboxes != nil) {
		u, err = s.Directory.UpdateUser(ctx, u.Address, func(u *directory.User) {
			for _, c := range []struct {
				to   *int64
				from *int64
			}{{&u.Quota, in.Bytes}, {&u.MaxMessages, in.Messages}, {&u.MaxMailboxes, in.Mailboxes}} {
				if c.from != nil {
					*c.to = *c.from
				}
			}
		})
	}
	if err != nil {
		return Quota{}, err
	}
	use, err := s.usage(ctx, u.ID)
	return Quota{
		Address: u.Address.String(), Bytes: &use.Limit.Bytes, Messages: &use.Limit.Messages, Mailboxes: &use.Limit.Mailboxes,
		UsedBytes: use.Used.Bytes, UsedMessages: use.Used.Messages, UsedMailboxes: use.Used.Mailboxes,
	}, err
}

// Access is the rights of one identifier on a mailbox (RFC 4314).
type Access struct {
	// Owner is the address of the account, Mailbox the name there.
	Owner, Mailbox string
	// Who is an address, "anyone" for everybody of the owner's domain, or either
	// with "-" before it, which takes rights away.
	Who string `json:",omitempty"`
	// Rights are letters of "lrswipkxtea"; none removes the entry.
	Rights string `json:",omitempty"`
}

// account opens the account of an address, with all rights.
func (s *Stores) account(ctx context.Context, address string) (*mailbox.Account, directory.User, error) {
	u, err := s.userAt(ctx, address)
	if err != nil {
		return nil, u, err
	}
	a, err := s.Mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	return a, u, err
}

// listAccess lists who has rights on a mailbox, or on all of an account.
func (s *Stores) listAccess(ctx context.Context, in Access) ([]Access, error) {
	a, owner, err := s.account(ctx, in.Owner)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	boxes := a.Mailboxes()
	if in.Mailbox != "" {
		info, err := a.Mailbox(in.Mailbox)
		if err != nil {
			return nil, err
		}
		boxes = []mailbox.Info{info}
	}
	out := []Access{}
	for _, b := range boxes {
		entries, err := a.ACL(ctx, b.ID)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			who, err := s.Directory.ACLName(ctx, owner.Address.Domain, uint64(e.Account), e.Domain)
			if err != nil {
				return nil, err
			}
			if e.Negative {
				who = "-" + who
			}
			out = append(out, Access{Owner: owner.Address.String(), Mailbox: b.Name, Who: who, Rights: e.Rights.String()})
		}
	}
	return out, nil
}

// setAccess gives an identifier exactly these rights.
func (s *Stores) setAccess(ctx context.Context, in Access) (None, error) {
	rights, ok := mailbox.ParseRights(in.Rights)
	if !ok {
		return None{}, postino.E(postino.Invalid, "set rights", postino.Printable(in.Rights), errors.New("rights are letters of lrswipkxtea"))
	}
	a, owner, err := s.account(ctx, in.Owner)
	if err != nil {
		return None{}, err
	}
	defer a.Close()
	info, err := a.Mailbox(in.Mailbox)
	if err != nil {
		return None{}, err
	}
	who, negative := strings.CutPrefix(in.Who, "-")
	id, domain, err := s.Directory.ACLSubject(ctx, owner.Address.Domain, who)
	if err != nil {
		return None{}, err
	}
	return None{}, a.SetACL(ctx, info.ID, mailbox.Subject{Account: mailbox.AccountID(id), Domain: domain}, negative, mailbox.ReplaceFlags, rights)
}
