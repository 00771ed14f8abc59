package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// appPassword is an AppPassword as stored. The secret is random and long, so
// one SHA-256 of it is safe to keep.
type appPassword struct {
	ID       uint64
	Name     string
	Services Services
	Created  time.Time
	Sum      []byte
	Keys     scramKeys `json:",omitzero"`
}

// secretAlphabet has 32 letters and digits that are not mistaken for each other.
const secretAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"

const secretLength = 28 // times 5 bits: 140

// newSecret returns seven groups of four characters.
func newSecret() string {
	var random [secretLength]byte
	rand.Read(random[:])
	for i, r := range random {
		random[i] = secretAlphabet[r%32]
	}
	return grouped(string(random[:]))
}

// grouped writes a secret as it is shown, which is the form that SCRAM knows.
func grouped(plain string) string {
	var b strings.Builder
	for i := range len(plain) {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(plain[i])
	}
	return b.String()
}

// plainSecret undoes how people copy a secret: in groups, in capitals.
func plainSecret(s string) string {
	if len(s) > 4*secretLength {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return lowerASCII(r)
	}, s)
}

// AddAppPassword makes an app password and returns its secret, which is not
// kept. Full: the user has MaxAppPasswords; Invalid: no service, or a name
// that is empty or not printable.
func (d *Directory) AddAppPassword(ctx context.Context, addr postino.Address, label string, services Services) (secret string, p AppPassword, err error) {
	const op = "add app password"
	if services == 0 || services&^AllServices != 0 {
		return "", p, postino.E(postino.Invalid, op, name(addr), errors.New("it needs at least one known service"))
	}
	if label == "" || len(label) > maxText || !utf8.ValidString(label) || postino.Printable(label) != label {
		return "", p, postino.E(postino.Invalid, op, name(addr), errors.New("its name is empty, too long or not printable"))
	}
	secret = newSecret()
	sum := sha256.Sum256([]byte(plainSecret(secret)))
	keys, err := d.scramKeys(ctx, addr, secret)
	if err != nil {
		return "", p, err
	}
	p = AppPassword{Name: label, Services: services, Created: time.Now().UTC().Truncate(time.Second)}
	var who User
	err = d.onUser(ctx, op, addr, func(_ kv.Tx, u *record) error {
		who = u.User
		if len(u.Apps) >= MaxAppPasswords {
			return postino.E(postino.Full, op, name(addr), fmt.Errorf("%d app passwords are the most", MaxAppPasswords))
		}
		u.LastApp++
		p.ID = u.LastApp
		u.Apps = append(u.Apps, appPassword{p.ID, p.Name, p.Services, p.Created, sum[:], keys})
		return nil
	})
	if err != nil {
		return "", AppPassword{}, err
	}
	d.notify(ctx, AppPasswordAdded, who, label)
	return secret, p, nil
}

// RemoveAppPassword ends an app password at once. NotFound: the user has none
// of this id.
func (d *Directory) RemoveAppPassword(ctx context.Context, addr postino.Address, id uint64) error {
	const op = "remove app password"
	var who User
	var label string
	err := d.onUser(kv.Deleting(ctx), op, addr, func(tx kv.Tx, u *record) error {
		for i, a := range u.Apps {
			if a.ID == id {
				who, label = u.User, a.Name
				u.Apps = append(u.Apps[:i:i], u.Apps[i+1:]...)
				return tx.Delete(touchKey(appKey{u.ID, id}))
			}
		}
		return postino.E(postino.NotFound, op, name(addr), fmt.Errorf("no app password %d", id))
	})
	if err == nil {
		d.notify(ctx, AppPasswordRemoved, who, label)
	}
	return err
}

// AppPasswords lists the app passwords of a user, oldest first.
func (d *Directory) AppPasswords(ctx context.Context, addr postino.Address) (list []AppPassword, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		u, err := userAt(r, "list app passwords", addr)
		if err != nil {
			return err
		}
		for _, a := range u.Apps {
			used, err := lastUse(r, appKey{u.ID, a.ID})
			if err != nil {
				return err
			}
			list = append(list, AppPassword{ID: a.ID, Name: a.Name, Services: a.Services, Created: a.Created, LastUse: used})
		}
		return nil
	})
	return list, err
}
