package directory

import (
	"context"
	"net/netip"
	"time"

	"github.com/postino-mail/postino/kv"
)

const (
	// familiarLife is how long a network stays known to which nobody came back,
	// and familiarStep how exact that is kept.
	familiarLife = 90 * 24 * time.Hour
	familiarStep = 7 * 24 * time.Hour
	// maxFamiliar is how many networks of a user are kept; one more drops the one
	// that was used longest ago.
	maxFamiliar = 64
)

func familiarKey(user uint64, net netip.Prefix) []byte {
	return append(idKey('n', user), net.Addr().AsSlice()...)
}

// keepNetwork writes that a user logged in from a network, so that a restart does
// not make his devices strangers while somebody guesses at his password (AU3).
func (d *Directory) keepNetwork(ctx context.Context, user uint64, net netip.Prefix, now time.Time) {
	if !net.IsValid() {
		return
	}
	k := familiarKey(user, net)
	fresh := false
	look := func(r kv.Reader) error {
		n, err := getNumber(r, k)
		fresh = n != 0 && now.Sub(time.Unix(int64(n), 0)) < familiarStep
		return err
	}
	err := d.db.View(ctx, nil, look)
	if err == nil && !fresh {
		err = d.db.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error {
			if _, ok, err := tx.Get(idKey('u', user)); err != nil || !ok {
				return err
			}
			if err := makeFamiliarRoom(tx, user, now); err != nil {
				return err
			}
			return setNumber(tx, k, uint64(now.Unix()))
		})
	}
	if err != nil { // a login must not fail for it
		d.obs.networkNotKept(user, err)
	}
}

// knowsNetwork tells whether the user of a login came from a network before. What
// cannot be read is not known.
func (d *Directory) knowsNetwork(ctx context.Context, l *login, net netip.Prefix, now time.Time) (known bool) {
	if l.user == nil || !net.IsValid() {
		return false
	}
	err := d.db.View(ctx, nil, func(r kv.Reader) error {
		n, err := getNumber(r, familiarKey(l.user.ID, net))
		known = n != 0 && now.Sub(time.Unix(int64(n), 0)) < familiarLife
		return err
	})
	return err == nil && known
}

// makeFamiliarRoom drops the networks of a user that are forgotten, and the oldest
// when there are too many.
func makeFamiliarRoom(tx kv.Tx, user uint64, now time.Time) error {
	var oldest []byte
	var when uint64
	var drop [][]byte
	kept := 0
	err := scanFamiliar(tx, user, func(k []byte, n uint64) {
		if now.Sub(time.Unix(int64(n), 0)) >= familiarLife {
			drop = append(drop, k)
			return
		}
		if kept++; oldest == nil || n < when {
			oldest, when = k, n
		}
	})
	if err != nil {
		return err
	}
	if kept >= maxFamiliar {
		drop = append(drop, oldest)
	}
	for _, k := range drop {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func scanFamiliar(r kv.Reader, user uint64, fn func(k []byte, n uint64)) error {
	var keys [][]byte
	err := r.Scan(kv.Prefix(idKey('n', user)), func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return true
	})
	for _, k := range keys {
		if err != nil {
			break
		}
		var n uint64
		if n, err = getNumber(r, k); err == nil {
			fn(k, n)
		}
	}
	return err
}

// removeFamiliar drops all that is known of where a user logs in from.
func removeFamiliar(tx kv.Tx, user uint64) error {
	var keys [][]byte
	if err := scanFamiliar(tx, user, func(k []byte, _ uint64) { keys = append(keys, k) }); err != nil {
		return err
	}
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
