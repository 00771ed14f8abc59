package lsm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

func benchDB(b *testing.B, opts Options) *DB {
	b.Helper()
	opts.Guard.Ballast = -1
	db, err := Open(vfs.OS(), filepath.Join(b.TempDir(), "data"), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// mailish fills b with octets that compress about as mail does, to a half.
func mailish(b []byte, rng *rand.Rand) {
	const letters = "etaoin shrdlu0123ETAOIN\r\n"
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
}

// mail is one acceptance: five small rows and a body.
func mail(tx kv.Tx, n uint64, body []byte) error {
	var key [24]byte
	for i := range 5 {
		k := append(key[:0], "a0"...)
		k = binary.BigEndian.AppendUint64(k, n%100)
		k = append(k, byte(i))
		k = binary.BigEndian.AppendUint64(k, n)
		if err := tx.Set(k, body[:30]); err != nil {
			return err
		}
	}
	return tx.Set(binary.BigEndian.AppendUint64(append(key[:0], "bd"...), n), body)
}

func BenchmarkUpdate(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("mail4K/%d", workers), func(b *testing.B) { benchUpdate(b, Options{}, workers, 4096, false) })
	}
	b.Run("oneScope/16", func(b *testing.B) { benchUpdate(b, Options{}, 16, 4096, true) })
}

func benchUpdate(b *testing.B, opts Options, workers, size int, oneScope bool) {
	db := benchDB(b, opts)
	var n atomic.Uint64
	b.SetParallelism((workers + 1) / 2)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, n.Load()))
		body := make([]byte, size)
		mailish(body, rng)
		for pb.Next() {
			i := n.Add(1)
			scope := kv.Scope(fmt.Sprint("a/", i%100))
			if oneScope {
				scope = "a/1"
			}
			if err := db.Update(context.Background(), []kv.Scope{scope}, func(tx kv.Tx) error { return mail(tx, i, body) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkIngest takes mail of 1 to 32 KiB by 16 senders and tells what it
// costs when all compactions are done: octets written for each octet given,
// processor time, and how fast bodies and rows are read again.
func BenchmarkIngest(b *testing.B) {
	for _, separate := range []int{0, 1024, 4096} {
		b.Run(fmt.Sprintf("separate=%d", separate), func(b *testing.B) { benchIngest(b, Options{SeparateValues: separate}) })
	}
}

func benchIngest(b *testing.B, opts Options) {
	db := benchDB(b, opts)
	var n, given atomic.Int64
	cpu := cpuTime()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, uint64(n.Add(1))))
		text := make([]byte, 256<<10)
		mailish(text, rng)
		for pb.Next() {
			i := uint64(n.Add(1))
			size := 1024 << rng.IntN(6)
			at := rng.IntN(len(text) - size)
			given.Add(int64(size) + 5*40)
			err := db.Update(context.Background(), []kv.Scope{kv.Scope(fmt.Sprint("a/", i%100))}, func(tx kv.Tx) error {
				return mail(tx, i, text[at:at+size])
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.StopTimer()
	if err := db.peb.Flush(); err != nil {
		b.Fatal(err)
	}
	for quiet := 0; quiet < 5; quiet++ {
		time.Sleep(50 * time.Millisecond)
		if db.Metrics().Compact.NumInProgress > 0 {
			quiet = 0
		}
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1e3, "cpu-us/op")
	m := db.Metrics()
	total := m.Total()
	wrote := m.WAL.BytesWritten + total.TableBytesFlushed + total.TableBytesCompacted + total.BlobBytesFlushed + total.BlobBytesCompacted
	b.ReportMetric(float64(wrote)/float64(given.Load()), "writeamp")
	b.ReportMetric(float64(m.DiskSpaceUsage())/float64(given.Load()), "space")
	rate := func(prefix, unit string, per func(v []byte) int) {
		start, sum := time.Now(), 0
		err := db.View(context.Background(), nil, func(r kv.Reader) error {
			return r.Scan(kv.Prefix([]byte(prefix)), func(_, v []byte) bool { sum += per(v); return true })
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(sum)/time.Since(start).Seconds()/1e6, unit)
	}
	rate("bd", "bodyMB/s", func(v []byte) int { return len(v) })
	rate("a0", "Mrows/s", func([]byte) int { return 1 })
}

// cpuTime is the processor time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
