package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// sweepBatch is how many bodies one transaction of the sweep removes.
const sweepBatch = 64

// sweepScope serialises sweeps; references need no scope of ours.
var sweepScope = []kv.Scope{"b"}

// Sweep removes bodies that have had no reference for the grace time, and
// files of that age that have no record. It may be interrupted anywhere.
func (s *Store) Sweep(ctx context.Context) error {
	ctx = kv.Deleting(ctx)
	limit := time.Now().Add(-s.opts.Grace)
	if err := s.sweepRows(ctx, limit); err != nil {
		return postino.E(postino.Internal, "sweep bodies", "", err)
	}
	if err := s.sweepFiles(ctx, limit); err != nil {
		return postino.E(postino.Internal, "sweep files", s.dir, err)
	}
	return nil
}

// sweepRows looks at the bodies that lost their last reference before limit.
func (s *Store) sweepRows(ctx context.Context, limit time.Time) error {
	rng := kv.Prefix([]byte{'b', idleRow})
	for {
		var due []postino.BlobID
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			return r.Scan(rng, func(key, value []byte) bool {
				if len(key) == rowSize && idleSince(value).Before(limit) {
					due = append(due, idOf(key))
				}
				rng.Start = append(append([]byte(nil), key...), 0)
				return len(due) < sweepBatch
			})
		})
		if err != nil {
			return err
		}
		if len(due) == 0 {
			return nil
		}
		if err := s.removeIdle(ctx, due); err != nil {
			return err
		}
	}
}

// idleSince reads the value of an idle row; an unreadable one is of now.
func idleSince(value []byte) time.Time {
	if len(value) != 9 || value[0] != version {
		return time.Now()
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(value[1:])))
}

// removeIdle removes what has no reference still; files go after the commit.
func (s *Store) removeIdle(ctx context.Context, ids []postino.BlobID) error {
	var files []postino.BlobID
	err := s.db.Update(ctx, sweepScope, func(tx kv.Tx) error {
		files = files[:0]
		for _, id := range ids {
			if err := tx.Delete(appendKey(nil, idleRow, id)); err != nil {
				return err
			}
			if found, err := referenced(tx, id); err != nil {
				return err
			} else if found {
				continue
			}
			_, large, err := tx.Get(appendKey(nil, fileRow, id))
			if err != nil {
				return err
			}
			row := byte(bodyRow)
			if large {
				row = fileRow
				files = append(files, id)
			}
			if err := tx.Delete(appendKey(nil, row, id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range files {
		if err := s.remove(s.path(id)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file that may be gone already.
func (s *Store) remove(path string) error {
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepFiles walks the directories.
func (s *Store) sweepFiles(ctx context.Context, limit time.Time) error {
	outer, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, o := range outer {
		dir := s.fs.PathJoin(s.dir, o)
		inner, err := s.list(dir)
		if err != nil {
			return err
		}
		for _, i := range inner {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.sweepShard(ctx, s.fs.PathJoin(dir, i), limit); err != nil {
				return err
			}
		}
	}
	return nil
}

// list names the entries of a directory; of what is none, nothing.
func (s *Store) list(dir string) ([]string, error) {
	info, err := s.fs.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, nil
	}
	return s.fs.List(dir)
}

func (s *Store) sweepShard(ctx context.Context, dir string, limit time.Time) error {
	names, err := s.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		stamp, id, ok := stampOf(name)
		if !ok || !stamp.Time().Before(limit) || s.held(name) {
			continue
		}
		if !id.IsZero() {
			if orphan, err := s.orphan(ctx, id); err != nil {
				return err
			} else if !orphan {
				continue
			}
		}
		if err := s.remove(s.fs.PathJoin(dir, name)); err != nil {
			return err
		}
		s.opts.Logger.Info("blob: orphan file removed", "file", name)
	}
	return nil
}

// orphan tells whether a file has no record. What a View says is asked again in
// an Update, which sees also what is being committed.
func (s *Store) orphan(ctx context.Context, id postino.BlobID) (bool, error) {
	var found bool
	look := func(r kv.Reader) (err error) {
		_, found, err = r.Get(appendKey(nil, fileRow, id))
		return err
	}
	err := s.db.View(ctx, nil, look)
	if err == nil && !found {
		err = s.db.Update(ctx, sweepScope, func(tx kv.Tx) error { return look(tx) })
	}
	return err == nil && !found, err
}
