package imapd

import (
	"context"
	"math"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// A quota root is an account; its name is the address of the user (RFC 9208 §3.2).
// "" is the user's own.

// QuotaRoots names the root of the user's mailboxes. What others share counts
// against their quota, which is theirs to know.
func (s *session) QuotaRoots(ctx context.Context, name string) ([]string, error) {
	p, err := s.place(ctx, name) // it need not exist (§4.1.2)
	if err != nil || p.acct.ID() != s.acct.ID() {
		return nil, err
	}
	return []string{s.user}, nil
}

// quotaUser finds the user whose root is named: for administrators anyone.
func (s *session) quotaUser(ctx context.Context, root string) (u directory.User, admin bool, err error) {
	me, err := s.desk.opts.Directory.UserByID(ctx, uint64(s.acct.ID()))
	admin = me.Role == directory.RoleAdmin
	if err != nil || root == "" || strings.EqualFold(root, s.user) {
		return me, admin, err
	}
	missing := &imap.Error{Code: "NONEXISTENT", Text: "No such quota root"}
	addr, err := postino.ParseAddress(root)
	if err != nil || !admin {
		return u, admin, missing
	}
	if u, err = s.desk.opts.Directory.User(ctx, addr); postino.Is(err, postino.NotFound) {
		err = missing
	}
	return u, admin, err
}

// Quota lists the resources that are limited (RFC 9208 §4.2.1).
func (s *session) Quota(ctx context.Context, root string) ([]imap.QuotaResource, error) {
	u, _, err := s.quotaUser(ctx, root)
	if err != nil {
		return nil, err
	}
	acct, err := s.desk.opts.Mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	if err != nil {
		return nil, err
	}
	defer acct.Close()
	if err := acct.Sync(ctx); err != nil {
		return nil, err
	}
	use := acct.Usage()
	var out []imap.QuotaResource
	for _, r := range []imap.QuotaResource{
		{Name: "STORAGE", Usage: kibi(use.Used.Bytes), Limit: kibi(use.Limit.Bytes)},
		{Name: "MESSAGE", Usage: use.Used.Messages, Limit: use.Limit.Messages},
		{Name: "MAILBOX", Usage: use.Used.Mailboxes, Limit: use.Limit.Mailboxes},
	} {
		if r.Limit > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// kibi rounds octets up to units of STORAGE (RFC 9208 §5.1).
func kibi(n int64) int64 { return n/1024 + min(n%1024, 1) }

// SetQuota changes the limits of a user, which administrators may.
func (s *session) SetQuota(ctx context.Context, root string, limits []imap.QuotaResource) error {
	u, admin, err := s.quotaUser(ctx, root)
	if err != nil {
		return err
	}
	if !admin {
		return postino.E(postino.Denied, "set quota", root, nil)
	}
	var storage, messages, mailboxes int64
	for _, r := range limits {
		if r.Limit == 0 {
			return &imap.Error{Code: "CANNOT", Text: "A limit cannot be 0"}
		}
		switch r.Name {
		case "STORAGE":
			storage = min(r.Limit, math.MaxInt64/1024) * 1024
		case "MESSAGE":
			messages = r.Limit
		case "MAILBOX":
			mailboxes = r.Limit
		default:
			return &imap.Error{Code: "CANNOT", Text: "No such resource"}
		}
	}
	_, err = s.desk.opts.Directory.UpdateUser(ctx, u.Address, func(u *directory.User) {
		u.Quota, u.MaxMessages, u.MaxMailboxes = storage, messages, mailboxes
	})
	return err
}
