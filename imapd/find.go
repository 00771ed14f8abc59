package imapd

import (
	"context"

	"github.com/postino-mail/postino/mailbox"
)

// place is where a name leads to: an account, as this user may see it, and the
// name there.
type place struct {
	acct *mailbox.Account
	name string
}

// place finds the account of a name.
func (s *session) place(_ context.Context, name string) (place, error) {
	return place{s.acct, name}, nil
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
