package blob

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Progress is how far a scrub has come. Err tells what is wrong with the body
// ID, or is nil.
type Progress struct {
	ID                   postino.BlobID
	Err                  error
	Bodies, Octets, Bads int64
}

// Scrub reads every body and compares it with its SHA-256, and looks whether
// every reference has its body. A bad one is reported and does not end the
// scrub; at the end the error is of kind Corrupt when there were any. A body
// without reference is given to the sweep. Progress may be nil.
func (s *Store) Scrub(ctx context.Context, progress func(Progress)) error {
	c := &scrub{s: s, report: progress}
	for _, row := range []struct {
		kind  byte
		check func(context.Context, postino.BlobID) (int64, error)
	}{{bodyRow, c.body}, {fileRow, c.body}, {refRow, c.ref}} {
		if err := c.walk(ctx, row.kind, row.check); err != nil {
			return postino.E(postino.Internal, "scrub bodies", "", err)
		}
	}
	if c.p.Bads > 0 {
		return postino.E(postino.Corrupt, "scrub bodies", "", fmt.Errorf("%d of %d bodies are bad", c.p.Bads, c.p.Bodies))
	}
	return nil
}

type scrub struct {
	s      *Store
	p      Progress
	report func(Progress)
}

// walk calls check for each id that has rows of the kind. It reads some keys at
// a time, since no View should stay open for long.
func (c *scrub) walk(ctx context.Context, kind byte, check func(context.Context, postino.BlobID) (int64, error)) error {
	rng := kv.Prefix([]byte{'b', kind})
	for {
		var ids []postino.BlobID
		err := c.s.db.View(ctx, nil, func(r kv.Reader) error {
			return r.Scan(rng, func(key, _ []byte) bool {
				if len(key) >= rowSize {
					if id := idOf(key); len(ids) == 0 || ids[len(ids)-1] != id {
						ids = append(ids, id)
					}
				}
				return len(ids) < sweepBatch
			})
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		rng.Start = kv.PrefixEnd(appendKey(nil, kind, ids[len(ids)-1]))
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := check(ctx, id)
			if kind != refRow {
				c.p.Bodies++
			}
			c.p.ID, c.p.Err, c.p.Octets = id, err, c.p.Octets+n
			if err != nil {
				c.p.Bads++
				c.s.opts.Logger.Error("blob: bad body", "id", id.String(), "err", err)
			}
			if c.report != nil {
				c.report(c.p)
			}
		}
	}
}

// body verifies one body, and notes one that nobody holds.
func (c *scrub) body(ctx context.Context, id postino.BlobID) (int64, error) {
	r, err := c.s.Open(ctx, id)
	if postino.Is(err, postino.NotFound) {
		return 0, nil // swept meanwhile
	}
	if err != nil {
		return 0, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := r.WriteTo(h)
	if err != nil {
		return n, err
	}
	if [sha256.Size]byte(h.Sum(nil)) != id.Sum() {
		return n, corrupt("scrub body", id, "SHA-256 does not match")
	}
	return n, c.adopt(ctx, id)
}

// adopt gives a body without reference to the sweep.
func (c *scrub) adopt(ctx context.Context, id postino.BlobID) error {
	var held bool
	err := c.s.db.View(ctx, nil, func(r kv.Reader) (err error) {
		if held, err = referenced(r, id); err == nil && !held {
			_, held, err = r.Get(appendKey(nil, idleRow, id))
		}
		return err
	})
	if err != nil || held {
		return err
	}
	return c.s.db.Update(kv.Deleting(ctx), sweepScope, func(tx kv.Tx) error { return setIdle(tx, id) })
}

// ref looks whether what is referenced is there.
func (c *scrub) ref(ctx context.Context, id postino.BlobID) (int64, error) {
	var held, found bool
	err := c.s.db.View(ctx, nil, func(r kv.Reader) (err error) {
		if held, err = referenced(r, id); err != nil || !held {
			return err
		}
		if _, found, err = r.Get(appendKey(nil, bodyRow, id)); err == nil && !found {
			_, found, err = r.Get(appendKey(nil, fileRow, id))
		}
		return err
	})
	if err == nil && held && !found {
		err = postino.E(postino.Corrupt, "scrub body", id.String(), fmt.Errorf("referenced, but not there"))
	}
	return 0, err
}
