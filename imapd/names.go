package imapd

import (
	"context"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// Namespaces tells the personal, the other users' and the shared namespace.
func (s *session) Namespaces(context.Context) (*imap.Namespaces, error) {
	return &imap.Namespaces{
		Personal: []imap.Namespace{{Prefix: ""}},
		Other:    []imap.Namespace{{Prefix: mailbox.OtherUsers}},
		Shared:   []imap.Namespace{{Prefix: mailbox.SharedUsers}},
	}, nil
}

// place is where a name leads to: an account, as this user may see it, and the
// name there.
type place struct {
	acct *mailbox.Account
	name string
	root string // what stands before the name, ends in "/"; empty in the own account
}

// place finds the account of a name. A mailbox of an account that does not exist,
// or shows the user nothing, does not exist (AU8).
func (s *session) place(ctx context.Context, name string) (place, error) {
	root, address, rest, ok := mailbox.Outside(name)
	if !ok {
		return place{acct: s.acct, name: name}, nil
	}
	missing := postino.E(postino.NotFound, "find mailbox", name, nil)
	addr, err := postino.ParseAddress(address)
	if err != nil || rest == "" {
		return place{}, missing
	}
	u, err := s.desk.opts.Directory.User(ctx, addr)
	if postino.Is(err, postino.NotFound) || err == nil && rootOf(&u) != root {
		return place{}, missing
	}
	if err != nil {
		return place{}, err
	}
	acct, err := s.account(ctx, mailbox.AccountID(u.ID))
	if postino.Is(err, postino.NotFound) {
		return place{}, missing
	}
	return place{acct: acct, name: inboxed(rest), root: root}, err
}

// inboxed gives a name below the root of another account its one form: INBOX in
// capitals, as the engine does for the user's own.
func inboxed(name string) string {
	first, rest, below := strings.Cut(name, "/")
	if !strings.EqualFold(first, "INBOX") {
		return name
	}
	if !below {
		return "INBOX"
	}
	return "INBOX/" + rest
}

// rootOf is what stands before the names of an account's mailboxes for others.
func rootOf(u *directory.User) string {
	if u.Shared {
		return mailbox.SharedUsers + u.Address.String() + "/"
	}
	return mailbox.OtherUsers + u.Address.String() + "/"
}

// account opens an account as this user may see it and keeps it until the session
// ends.
func (s *session) account(ctx context.Context, id mailbox.AccountID) (*mailbox.Account, error) {
	if id == s.acct.ID() {
		return s.acct, nil
	}
	if a := s.others[id]; a != nil {
		if len(a.Mailboxes()) == 0 { // nothing is shared any more: as if it had never been (AU8)
			return nil, postino.E(postino.NotFound, "open account", "", nil)
		}
		return a, nil
	}
	a, err := s.desk.opts.Mailboxes.AccountFor(ctx, id, s.viewer)
	if err != nil {
		return nil, err
	}
	if s.others == nil {
		s.others = map[mailbox.AccountID]*mailbox.Account{}
	}
	s.others[id] = a
	return a, nil
}

// find finds a mailbox by the name that the client uses.
func (s *session) find(ctx context.Context, name string) (place, mailbox.Info, error) {
	p, err := s.place(ctx, name)
	if err != nil {
		return p, mailbox.Info{}, err
	}
	info, err := p.acct.Mailbox(p.name)
	return p, info, err
}

// opened is an account with what stands before its names.
type opened struct {
	acct *mailbox.Account
	root string
}

// accounts are the user's own account and all that share something with him.
func (s *session) accounts(ctx context.Context) ([]opened, error) {
	list := []opened{{acct: s.acct}}
	ids, err := s.desk.opts.Mailboxes.SharedWith(ctx, s.viewer)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		u, err := s.desk.opts.Directory.UserByID(ctx, uint64(id))
		if postino.Is(err, postino.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		acct, err := s.account(ctx, id)
		if postino.Is(err, postino.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, opened{acct, rootOf(&u)})
	}
	return list, nil
}
