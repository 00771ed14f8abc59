package directory

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
)

// Keys, all below 'd':
//
//	d g                        mark that every change moves; caches watch it
//	d i                        last account id given
//	d D domain                 domain
//	d a domain NUL local       address entry: user id or alias; local is folded,
//	                           empty for the alias of the whole domain
//	d u id                     user with credentials
//	d r id                     administrators, in order of id
//	d t id app                 last use of an app password, outside the mark
//	d l domain NUL local       listed recipient of a relay domain; local is folded
//	d o name                   route
//	d p domain NUL sender      name of the route with these patterns
//	d w                        mark that every change of a route moves
//	d x domain NUL selector    DKIM key with its private part
//	d e owner delegate         who may send as the owner
//	d f delegate owner         the same, the other way round
//	d v kind name              who is trusted with mail of others
//	d h sum                    grant: session or token, under the sum of its secret
//	d y user id                sum of the secret of a grant
//	d n user network           when a user last logged in from there, outside the mark
//	d s id                     what the user sent lately, outside the mark
//	d k                        the secret that salts come from, outside the mark
//
// Values begin with a version octet. Ids are eight octets, big endian. Version 2
// of the records knows relay domains and targets elsewhere, version 3 what SCRAM
// and its elders keep of a password, version 4 keys of DKIM and domains that seal;
// numbers and the secret are as in 1.
const (
	version       = 4
	numberVersion = 1
)

const scope = kv.Scope("d")

const cacheEntries = 65536

// Directory is an open directory. All methods may be called from any goroutine.
type Directory struct {
	db   kv.DB
	opts Options
	obs  observer

	resolved *cache[postino.Address, resolved]
	logins   *cache[string, *login]
	verdicts *cache[[32]byte, verdict]
	touched  *cache[appKey, time.Time]
	people   *cache[uint64, person]
	rights   *cache[right, bool]
	signers  *cache[string, []mailauth.SignKey]
	parsed   *cache[[32]byte, crypto.Signer] // private keys ready to sign, for as long as there is room
	routes   routeCache
	trust    *cache[struct{}, *TrustTable]
	sends    *sends
	hasher   *hasher
	guard    *guard
	secret   [32]byte // keys the verdicts, so that memory holds no password hash worth stealing
	salts    salts

	quit chan struct{}
	done sync.WaitGroup
}

// New opens the directory kept in db. [Directory.Close] ends it.
func New(db kv.DB, opts Options) *Directory {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Hashes <= 0 {
		opts.Hashes = runtime.GOMAXPROCS(0)
	}
	if opts.HashQueue <= 0 {
		opts.HashQueue = 64
	}
	d := &Directory{
		db: db, opts: opts,
		obs:      newObserver(opts),
		resolved: newCache[postino.Address, resolved](cacheEntries),
		logins:   newCache[string, *login](cacheEntries),
		verdicts: newCache[[32]byte, verdict](cacheEntries),
		touched:  newCache[appKey, time.Time](cacheEntries),
		people:   newCache[uint64, person](cacheEntries),
		rights:   newCache[right, bool](cacheEntries),
		signers:  newCache[string, []mailauth.SignKey](cacheEntries),
		parsed:   newCache[[32]byte, crypto.Signer](parsedKeys),
		routes:   routeCache{current: newCache[struct{}, *routeTable](2)},
		trust:    newCache[struct{}, *TrustTable](2),
		sends:    newSends(db, cacheEntries),
		hasher:   newHasher(opts.Argon2, opts.Hashes, opts.HashQueue),
		guard:    newGuard(opts.Failures),
		quit:     make(chan struct{}),
	}
	d.opts.Sends = d.opts.Sends.or(SendLimits{Hour: 500, Day: 2000})
	rand.Read(d.secret[:])
	changed, stop := db.Watch(key('g'))
	d.done.Go(func() {
		defer stop()
		for {
			select {
			case <-d.quit:
				return
			case <-changed:
				d.forget()
			}
		}
	})
	d.done.Go(d.saveSends)
	return d
}

// Close ends the directory's watch on the store and saves what was counted; the
// store stays open.
func (d *Directory) Close() {
	close(d.quit)
	d.done.Wait()
}

// forget drops the answers that a change may have made wrong.
func (d *Directory) forget() {
	d.resolved.clear()
	d.logins.clear()
	d.people.clear()
	d.rights.clear()
	d.signers.clear()
	d.routes.current.clear()
	d.trust.clear()
}

// view reads a state that holds every change that was acknowledged before.
func (d *Directory) view(ctx context.Context, fn func(kv.Reader) error) error {
	return d.db.View(ctx, []kv.Scope{scope}, fn)
}

// update runs a change of the directory and moves the mark.
func (d *Directory) update(ctx context.Context, more []kv.Scope, fn func(kv.Tx) error) error {
	err := d.db.Update(ctx, append([]kv.Scope{scope}, more...), func(tx kv.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		n, err := getNumber(tx, key('g'))
		if err != nil {
			return err
		}
		return setNumber(tx, key('g'), n+1)
	})
	if err == nil {
		d.forget() // the caller's next question must not wait for the watch
	}
	return err
}

// fold returns the form of a local part under which it is looked up. Only the
// host of a domain may do this (RFC 5321 §2.4), and this is it.
func fold(local string) string {
	for i := range len(local) {
		if c := local[i]; c >= utf8.RuneSelf {
			return norm.NFC.String(strings.ToLower(norm.NFC.String(local)))
		} else if 'A' <= c && c <= 'Z' {
			return fold(strings.Map(lowerASCII, local))
		}
	}
	return local
}

func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

func folded(a postino.Address) postino.Address {
	return postino.Address{Local: fold(a.Local), Domain: a.Domain}
}

func key(kind byte) []byte { return []byte{'d', kind} }

func domainKey(name string) []byte { return append(key('D'), name...) }

// entryKey takes a folded local part.
func entryKey(domain, local string) []byte {
	k := append(key('a'), domain...)
	return append(append(k, 0), local...)
}

func idKey(kind byte, id uint64) []byte { return binary.BigEndian.AppendUint64(key(kind), id) }

// appKey names an app password.
type appKey struct{ user, app uint64 }

func touchKey(k appKey) []byte {
	return binary.BigEndian.AppendUint64(idKey('t', k.user), k.app)
}

// getNumber returns 0 when there is none.
func getNumber(r kv.Reader, k []byte) (uint64, error) {
	v, ok, err := r.Get(k)
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 9 || v[0] != numberVersion {
		return 0, corrupt(k, nil)
	}
	return binary.BigEndian.Uint64(v[1:]), nil
}

func setNumber(tx kv.Tx, k []byte, n uint64) error {
	return tx.Set(k, binary.BigEndian.AppendUint64([]byte{numberVersion}, n))
}

// getRecord reads the record at k into v and tells whether there is one.
func getRecord(r kv.Reader, k []byte, v any) (bool, error) {
	b, ok, err := r.Get(k)
	if err != nil || !ok {
		return false, err
	}
	return true, decode(k, b, v)
}

// decode reads a version octet and the JSON after it.
func decode(k, b []byte, v any) error {
	if len(b) == 0 {
		return corrupt(k, nil)
	}
	if b[0] > version {
		return postino.E(postino.Invalid, "read directory record", printableKey(k),
			errors.New("written by a newer version of the program"))
	}
	if b[0] == 0 {
		return corrupt(k, nil)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return corrupt(k, err)
	}
	return nil
}

func setRecord(tx kv.Tx, k []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return postino.E(postino.Internal, "write directory record", printableKey(k), err)
	}
	return tx.Set(k, append([]byte{version}, b...))
}

// scan decodes every record below prefix until fn returns false or an error.
func scan[T any](r kv.Reader, prefix []byte, fn func(k []byte, v T) (bool, error)) error {
	return scanRange(r, kv.Prefix(prefix), fn)
}

func scanRange[T any](r kv.Reader, rng kv.Range, fn func(k []byte, v T) (bool, error)) error {
	var failed error
	err := r.Scan(rng, func(k, b []byte) bool {
		var v T
		if failed = decode(k, b, &v); failed != nil {
			return false
		}
		var more bool
		more, failed = fn(k, v)
		return more && failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

func corrupt(k []byte, cause error) error {
	return postino.E(postino.Corrupt, "read directory record", printableKey(k), cause)
}

func printableKey(k []byte) string { return postino.Printable(string(k)) }
