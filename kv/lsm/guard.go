package lsm

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// GuardOptions are the thresholds of free space in octets; zero fields have
// the documented default (requirement QU5). On a small file system of T octets
// the fixed minima shrink with it, so that they never exceed a tenth of it.
type GuardOptions struct {
	// Low is the free space below which only updates marked kv.Deleting are
	// written; default the larger of 1 GiB (at most T/10) and T/20.
	Low int64
	// Critical is the free space below which the ballast is given up; default
	// 512 MiB, at most T/20.
	Critical int64
	// Floor is the free space below which nothing is written, so that Pebble
	// itself never meets a full disk; default 64 MiB, at most T/100.
	Floor int64
	// Ballast is the size of a file that is removed to make room for recovery;
	// default 256 MiB, at most T/40; negative keeps none.
	Ballast int64
	// Interval is the time between two looks; default 1 s.
	Interval time.Duration
}

// inodeShare is the part of the inodes, 1/20, below which Low applies.
const inodeShare = 20

// The levels of free space.
const (
	roomy int32 = iota
	low         // only what frees space
	floor       // nothing
)

// A memtable has a log of its size on the disk, allocated in advance, and up to
// four of them and a spare log are there at once; then they are written as
// tables. All that must find room below Low on a small disk: a memtable is at
// most this part of it, from 64 MiB on 12 GiB down to 1 MiB.
const (
	memTableShare = 192
	minMemTable   = 1 << 20
)

var errFull error = postino.E(postino.Full, "update", "", kv.ErrFull)

// guard watches the free space of a file system. Each level is left only when
// there is a tenth more than its threshold.
type guard struct {
	fs      vfs.FS
	dir     string
	ballast string
	log     *slog.Logger
	opts    GuardOptions
	on      bool

	level atomic.Int32
	// room is how much may be written before the next look comes too late:
	// half of what is above Low, since writes are amplified.
	room atomic.Int64

	mu     sync.Mutex
	has    bool // the ballast is there
	wake   chan struct{}
	quit   chan struct{}
	closed sync.Once
	done   chan struct{}
}

// newGuard looks once and goes on looking in the background. A file system that
// does not tell its room is not guarded.
func newGuard(fsys vfs.FS, dir string, opts *Options) (*guard, error) {
	g := &guard{
		fs: fsys, dir: dir, ballast: fsys.PathJoin(dir, "ballast"), log: opts.Logger, opts: opts.Guard,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	u, err := vfs.GetUsage(fsys, dir)
	if opts.ReadOnly || errors.Is(err, vfs.ErrUnsupported) {
		close(g.done)
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	g.on = true
	g.opts.setDefaults(int64(u.Total))
	opts.MemTableBytes = min(opts.MemTableBytes, max(minMemTable, int64(u.Total)/memTableShare))
	_, err = fsys.Stat(g.ballast)
	g.has = err == nil
	opts.Metrics.GaugeFunc("postino_disk_free_bytes", "Free space of the data directory.", func() float64 {
		u, _ := vfs.GetUsage(fsys, dir)
		return float64(u.Free)
	})
	g.look()
	go g.loop()
	return g, nil
}

func (o *GuardOptions) setDefaults(total int64) {
	if o.Low <= 0 {
		o.Low = max(min(1<<30, total/10), total/20)
	}
	if o.Critical <= 0 {
		o.Critical = min(512<<20, total/20)
	}
	if o.Floor <= 0 {
		o.Floor = min(64<<20, total/100)
	}
	if o.Ballast == 0 {
		o.Ballast = min(256<<20, total/40)
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
}

func (g *guard) loop() {
	defer close(g.done)
	tick := time.NewTicker(g.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-g.wake:
		case <-g.quit:
			return
		}
		g.look()
	}
}

func (g *guard) close() {
	g.closed.Do(func() { close(g.quit) })
	<-g.done
}

// poke asks for a look soon.
func (g *guard) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// above tells whether have is above limit, or a tenth above it for one who was
// below.
func above(have, limit int64, wasBelow bool) bool {
	if wasBelow {
		limit += limit / 10
	}
	return have >= limit
}

// look reads the free space and sets the level; it gives up or makes the
// ballast.
func (g *guard) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, err := vfs.GetUsage(g.fs, g.dir)
	if err != nil {
		g.log.Warn("store: free space unknown", "err", err)
		return
	}
	free, was := int64(u.Free), g.level.Load()
	if free < g.opts.Critical && g.has {
		g.drop()
		if u, err = vfs.GetUsage(g.fs, g.dir); err == nil {
			free = int64(u.Free)
		}
	}
	level := roomy
	switch {
	case !above(free, g.opts.Floor, was == floor):
		level = floor
	case !above(free, g.opts.Low, was >= low),
		u.TotalInodes > 0 && !above(int64(u.FreeInodes), int64(u.TotalInodes/inodeShare), was >= low):
		level = low
	}
	g.room.Store((free - g.opts.Low) / 2)
	if level != was {
		g.level.Store(level)
		g.log.Warn("store: free space", "level", [...]string{"enough", "low", "none"}[level],
			"free", free, "free_inodes", u.FreeInodes)
	}
	if level == roomy && !g.has && g.opts.Ballast > 0 && above(free-g.opts.Ballast, g.opts.Low, true) {
		err := vfs.Allocate(g.fs, g.ballast, g.opts.Ballast)
		if g.has = err == nil; err != nil {
			g.log.Warn("store: no ballast", "err", err)
		}
	}
}

// drop removes the ballast; the caller holds mu.
func (g *guard) drop() {
	if err := g.fs.Remove(g.ballast); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Error("store: ballast stays", "err", err)
		return
	}
	g.has = false
	g.log.Warn("store: ballast given up", "bytes", g.opts.Ballast)
}

// full is called when a write met a full disk, before it is tried again.
func (g *guard) full() {
	if !g.on {
		return
	}
	g.mu.Lock()
	if g.has {
		g.drop()
	}
	g.mu.Unlock()
	g.level.CompareAndSwap(roomy, low)
	g.poke()
}

// check tells whether an update may be written.
func (g *guard) check(deleting bool) error {
	if level := g.level.Load(); level == roomy || level == low && deleting {
		return nil
	}
	return errFull
}

// spend counts n octets written since the last look, and looks at once when
// they may have used up the room.
func (g *guard) spend(n int64) {
	if g.on && g.room.Add(-n) < 0 && g.level.Load() == roomy {
		g.look()
	}
}
