package directory

import (
	"context"
	"errors"
	"strings"

	"github.com/postino-mail/postino"
)

// Anyone is the identifier of an ACL that means everybody of the domain of the
// mailbox's owner (RFC 4314 §2: the universal identity, within one domain so
// that tenants do not see one another).
const Anyone = "anyone"

// ACLSubject reads the identifier of an ACL (RFC 4314 §2) on a mailbox whose owner
// is of the domain: the account of a user's address, of which the domain may be
// left out when it is the owner's, or the domain for [Anyone]. NotFound: there is no such user.
func (d *Directory) ACLSubject(ctx context.Context, ownerDomain, identifier string) (account uint64, domain string, err error) {
	if strings.EqualFold(identifier, Anyone) {
		return 0, ownerDomain, nil
	}
	if !strings.Contains(identifier, "@") {
		identifier += "@" + ownerDomain
	}
	addr, err := postino.ParseAddress(identifier)
	if err != nil {
		return 0, "", postino.E(postino.NotFound, "find user", postino.Printable(identifier), errors.New("rights are given to addresses of users and to anyone"))
	}
	u, err := d.User(ctx, addr)
	return u.ID, "", err
}

// ACLName is the reverse of ACLSubject; NotFound when the user is gone.
func (d *Directory) ACLName(ctx context.Context, ownerDomain string, account uint64, domain string) (string, error) {
	if account == 0 {
		if domain != ownerDomain {
			return "", postino.E(postino.NotFound, "find domain", domain, nil)
		}
		return Anyone, nil
	}
	u, err := d.UserByID(ctx, account)
	return u.Address.String(), err
}
