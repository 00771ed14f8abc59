package lsm

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/postino-mail/postino/metric"
)

// Options sets a store; zero fields have the documented default.
type Options struct {
	// Logger takes what operators should know; default none.
	Logger *slog.Logger
	// Metrics counts commits, groups and free space; nil counts nothing.
	Metrics *metric.Registry
	// Guard sets the thresholds of free space.
	Guard GuardOptions
	// CacheBytes is the size of the block cache; default 128 MiB. While few
	// memtables are in use it takes up to two times MemTableBytes more.
	CacheBytes int64
	// MemTableBytes is the size at which a memtable is flushed; default 64 MiB.
	// Up to four of them are in memory.
	MemTableBytes int64
	// SeparateValues keeps values from this size in octets in files of their
	// own, away from the keys; 0 keeps all beside their keys.
	SeparateValues int
	// ReadOnly opens without writing anything, as on a full or read-only disk:
	// every Update returns kv.ErrStopped.
	ReadOnly bool
	// Still stops Pebble's look for compactions ten times a second; they begin
	// when a flush or another compaction ends. For tests in fake time, where days
	// pass at once.
	Still bool
}

// cachedMemTables is how many memtables the cache has room for beside CacheBytes.
const cachedMemTables = 3

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 128 << 20
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 64 << 20
	}
}

// pebble returns the options of Pebble. The figures behind them are in
// docs/adr/0001-kv-on-pebble.md.
func (o *Options) pebble() *pebble.Options {
	p := &pebble.Options{
		FormatMajorVersion: pebble.FormatValueSeparation,
		// Pebble takes the memory of memtables out of the cache. In a burst of
		// writes nothing would be left for the blocks that indexes and filters
		// of tables are in, and each Get would read them from the files.
		CacheSize:    o.CacheBytes + cachedMemTables*o.MemTableBytes,
		MemTableSize: uint64(o.MemTableBytes),
		// A burst may fill four memtables before writers wait for a flush, and
		// L0 may grow deep: an ingest peak is worth more than the reads in it.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                4096,
		BytesPerSync:                1 << 20,
		// The machine has few cores: a second compaction only under pressure.
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		ReadOnly:                   o.ReadOnly,
	}
	p.TargetFileSizes[0] = 8 << 20
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = 32 << 10
		l.IndexBlockSize = 256 << 10
		l.FilterPolicy = bloom.FilterPolicy(10)
		l.Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	if n := o.SeparateValues; n > 0 {
		policy := pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: n, MaxBlobReferenceDepth: 10, TargetGarbageRatio: 0.3,
		}
		p.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy { return policy }
	}
	if o.Still {
		p.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	}
	return p
}
