package directory

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"

	"github.com/postino-mail/postino"
)

// ErrBusy is wrapped by the Transient error of a login that found the queue
// for password hashing full.
var ErrBusy = errors.New("too many logins at once, try again later")

// hasher runs argon2id, which takes much memory and time by design, for a
// bounded number of logins at once (AU1).
type hasher struct {
	cost  Argon2
	slots chan struct{}
	users atomic.Int64 // running and waiting
	most  int64
	// dummy takes as long as a real hash and matches nothing (AU2).
	dummy algorithm.Digest
}

const saltSize, tagSize = 16, 32 // octets, RFC 9106 §4

func newHasher(cost Argon2, atOnce, waiting int) *hasher {
	if cost.MemoryKiB <= 0 {
		cost.MemoryKiB = 19456
	}
	if cost.Time <= 0 {
		cost.Time = 2
	}
	if cost.Threads <= 0 {
		cost.Threads = 1
	}
	// The library rounds the memory so; a password would look outdated for ever.
	cost.MemoryKiB = max(8*cost.Threads, cost.MemoryKiB/(4*cost.Threads)*(4*cost.Threads))
	h := &hasher{cost: cost, slots: make(chan struct{}, atOnce), most: int64(atOnce + waiting)}
	var random [saltSize + tagSize]byte
	rand.Read(random[:])
	b64 := base64.RawStdEncoding
	dummy, err := argon2.Decode(fmt.Sprintf("%s%s$%s", cost.prefix(),
		b64.EncodeToString(random[:saltSize]), b64.EncodeToString(random[saltSize:])))
	if err != nil {
		panic(fmt.Sprintf("argon2id parameters %+v: %v", cost, err))
	}
	h.dummy = dummy
	return h
}

// prefix is what the PHC string of a hash of this cost begins with.
func (c Argon2) prefix() string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$", c.MemoryKiB, c.Time, c.Threads)
}

// run waits for a slot; Transient when too many wait already or ctx ends.
func (h *hasher) run(ctx context.Context, fn func()) error {
	defer h.users.Add(-1)
	if h.users.Add(1) > h.most {
		return postino.E(postino.Transient, "hash password", "", ErrBusy)
	}
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return postino.E(postino.Transient, "hash password", "", ctx.Err())
	}
	defer func() { <-h.slots }()
	fn()
	return nil
}

// hash makes the PHC string of a password in canonical form.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	algo, err := argon2.New(argon2.WithVariantID(), argon2.WithM(uint32(h.cost.MemoryKiB)), argon2.WithT(h.cost.Time),
		argon2.WithP(h.cost.Threads), argon2.WithS(saltSize), argon2.WithK(tagSize))
	if err != nil {
		return "", postino.E(postino.Internal, "hash password", "", err)
	}
	var digest algorithm.Digest
	if busy := h.run(ctx, func() { digest, err = algo.Hash(password) }); busy != nil {
		return "", busy
	}
	if err != nil {
		return "", postino.E(postino.Internal, "hash password", "", err)
	}
	return digest.Encode(), nil
}

// match compares a password with a PHC string; with none it takes its time and
// says no.
func (h *hasher) match(ctx context.Context, phc, password string) (ok bool, err error) {
	digest := h.dummy
	if phc != "" {
		if digest, err = argon2.Decode(phc); err != nil {
			return false, postino.E(postino.Corrupt, "check password", "", err)
		}
	}
	err = h.run(ctx, func() { ok = digest.Match(password) })
	return ok && phc != "", err
}
