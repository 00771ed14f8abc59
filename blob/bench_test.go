package blob

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

func benchHouse(b *testing.B) *house {
	b.Helper()
	dir := b.TempDir()
	db, err := lsm.Open(vfs.OS(), filepath.Join(dir, "kv"), lsm.Options{Guard: lsm.GuardOptions{Ballast: -1}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	s, err := New(db, vfs.OS(), filepath.Join(dir, "blobs"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	return &house{s, db, vfs.OS()}
}

// BenchmarkGetMany reads 1,000 bodies of 5 KB that came one after the other, in
// one View.
func BenchmarkGetMany(b *testing.B) {
	h := benchHouse(b)
	var ids []postino.BlobID
	for range 30 {
		var writers []*Writer
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error {
			for range 100 {
				w, st := h.stage(b, random(5000, uint64(len(ids))), time.Now())
				writers = append(writers, w)
				ids = append(ids, st.ID)
				if err := h.Put(tx, &st, Ref("m1")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		for _, w := range writers {
			w.Abort()
		}
	}
	ids = ids[1000:2000]
	for _, where := range []string{"many", "single"} {
		b.Run(where, func(b *testing.B) {
			n := 0
			for b.Loop() {
				err := h.db.View(ctx, nil, func(r kv.Reader) error {
					if where == "many" {
						return h.GetMany(r, ids, func(_ int, body []byte) error { n += min(1, len(body)); return nil })
					}
					buf := make([]byte, 0, 8192)
					for _, id := range ids {
						_, ok, err := h.Get(r, id, buf[:0])
						if !ok || err != nil {
							return fmt.Errorf("%v %w", ok, err)
						}
						n++
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "bodies/s")
		})
	}
}

// BenchmarkWrite receives, commits and gives up one body.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{5 << 10, 60 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := benchHouse(b)
			body := random(size, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h.put(b, body, "q1", time.Now())
			}
		})
	}
}

// BenchmarkReadFile streams a large body.
func BenchmarkReadFile(b *testing.B) {
	h := benchHouse(b)
	id := h.put(b, random(8<<20, 1), "q1", time.Now())
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		r, err := h.Open(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}
