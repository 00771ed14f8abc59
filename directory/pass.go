package directory

import (
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino"
)

// Pass is what a login stands on: the user, and what he proved to be that user
// with. The zero Pass never holds.
type Pass struct {
	user    string // canonical address
	account uint64
	by      proof
	id      uint64 // revision of the password, or id of the app password or grant
}

// proof says what a Pass stands on beside the user.
type proof uint8

const (
	byOther    proof = iota // what is not kept here: a certificate, the word of a peer
	byPassword              // his own
	byApp                   // an app password
	byGrant                 // a session or a token, and what that stands on
)

// Vouched is a user for whom a trusted peer speaks, as one who has logged in.
func Vouched(u User) User {
	u.Pass = Pass{user: u.Address.String(), account: u.ID}
	return u
}

// maxStanding is how many grants a login stands on at most: a token that was asked
// for in a session, and that.
const maxStanding = 2

// holds tells whether what the pass stands on is still there.
func (p Pass) holds(l *login) bool {
	switch {
	case l.user == nil, l.denied, l.user.ID != p.account:
		return false
	case p.by == byGrant:
		return false
	case p.by == byPassword:
		return l.user.Revision == p.id
	case p.by == byApp:
		return slices.ContainsFunc(l.user.Apps, func(a appPassword) bool { return a.ID == p.id })
	}
	return true
}

// Stays tells whether a login may go on: whether the user is still there, neither
// he nor his domain is disabled, and the password that he logged in with is still
// his (AU8). The answer is cached until the directory changes. With AcceptAny
// everybody may.
func (d *Directory) Stays(ctx context.Context, p Pass) (bool, error) {
	if d.opts.AcceptAny != nil {
		return true, nil
	}
	l, err := d.login(ctx, p.user)
	if err != nil {
		return false, postino.E(postino.Transient, "look for", postino.Printable(p.user), err)
	}
	for steps := 0; p.by == byGrant && steps < maxStanding; steps++ {
		if p, err = d.standing(ctx, p, time.Now()); err != nil {
			return false, postino.E(postino.Transient, "look for", postino.Printable(l.account), err)
		}
	}
	return p.holds(l), nil
}
