package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// right names the question whether a user may send as an address.
type right struct {
	user uint64
	addr postino.Address
}

// MaySendAs tells whether a user may send as an address (SS22, RFC 6409 §6.1):
// when all mail to the address leads to this user alone, be it the user's own
// address, a sub-address, an alias, the alias of a whole domain or a catch-all;
// when it is a list whose members may send as it (Alias.MembersSend); or when
// the one user that it leads to made this user a delegate. What a user
// administers gives no right. Nobody may send as the zero Address: the caller
// decides about the null sender. With AcceptAny everybody may.
func (d *Directory) MaySendAs(ctx context.Context, user uint64, a postino.Address) (bool, error) {
	if d.opts.AcceptAny != nil {
		return true, nil
	}
	if a.IsNull() || user == 0 {
		return false, nil
	}
	may, generation, ok := d.rights.get(right{user, a})
	if ok {
		return may, nil
	}
	a = postino.Address{Local: strings.Clone(a.Local), Domain: strings.Clone(a.Domain)}
	err := d.view(ctx, func(r kv.Reader) (err error) {
		may, err = maySendAs(r, user, a)
		return err
	})
	if err != nil {
		return false, err
	}
	d.rights.put(generation, right{user, a}, may)
	return may, nil
}

func maySendAs(r kv.Reader, user uint64, a postino.Address) (bool, error) {
	x := expansion{r: r, senders: true}
	err := x.add(a, postino.Address{})
	switch postino.KindOf(err) {
	case postino.NotFound, postino.Denied, postino.Full:
		return false, nil
	}
	if errors.Is(err, errForeign) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for i := range x.out {
		if x.out[i].Account == user {
			return true, nil
		}
	}
	if len(x.out) != 1 || len(x.forwards) > 0 {
		return false, nil
	}
	_, ok, err := r.Get(delegateKey('e', x.out[0].Account, user))
	return ok, err
}

func delegateKey(kind byte, a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(kind, a), b)
}

// SetDelegate lets a user send as the owner, or no longer. NotFound: one of
// them is no user; Invalid: they are the same.
func (d *Directory) SetDelegate(ctx context.Context, owner, delegate postino.Address, can bool) error {
	const op = "set delegate"
	return d.update(ctx, nil, func(tx kv.Tx) error {
		o, err := userAt(tx, op, owner)
		if err != nil {
			return err
		}
		u, err := userAt(tx, op, delegate)
		if err != nil {
			return err
		}
		if o.ID == u.ID {
			return postino.E(postino.Invalid, op, name(owner), errors.New("a user is no delegate of himself"))
		}
		forth, back := delegateKey('e', o.ID, u.ID), delegateKey('f', u.ID, o.ID)
		if !can {
			return errors.Join(tx.Delete(forth), tx.Delete(back))
		}
		return errors.Join(setRecord(tx, forth, u.ID), setRecord(tx, back, o.ID))
	})
}

// Delegates lists who may send as the owner, in order of account. NotFound: the
// owner is no user.
func (d *Directory) Delegates(ctx context.Context, owner postino.Address) (list []postino.Address, err error) {
	const op = "list delegates"
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		o, err := userAt(r, op, owner)
		if err != nil {
			return err
		}
		return scan(r, idKey('e', o.ID), func(_ []byte, id uint64) (bool, error) {
			u, err := needUser(r, op, id)
			list = append(list, u.Address)
			return true, err
		})
	})
	return list, err
}

// removeDelegations forgets what a user may and who may for him.
func removeDelegations(tx kv.Tx, id uint64) error {
	for _, kinds := range [][2]byte{{'e', 'f'}, {'f', 'e'}} {
		var others []uint64
		err := scan(tx, idKey(kinds[0], id), func(_ []byte, other uint64) (bool, error) {
			others = append(others, other)
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, other := range others {
			if err := errors.Join(tx.Delete(delegateKey(kinds[0], id, other)), tx.Delete(delegateKey(kinds[1], other, id))); err != nil {
				return err
			}
		}
	}
	return nil
}

// person is a user with the folded address.
type person struct {
	User
	folded postino.Address
}

// person returns the user of an account, cached. NotFound: there is none.
func (d *Directory) person(ctx context.Context, id uint64) (person, error) {
	p, generation, ok := d.people.get(id)
	if ok {
		return p, nil
	}
	u, err := d.UserByID(ctx, id)
	if err != nil {
		return person{}, err
	}
	p = person{u, folded(u.Address)}
	d.people.put(generation, id, p)
	return p, nil
}
