package lsm

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// errStopped is kv.ErrStopped with the kind that makes clients try again.
var errStopped error = postino.E(postino.Transient, "update", "", kv.ErrStopped)

// failure is the end of writing.
type failure struct {
	log     *slog.Logger
	once    sync.Once
	stopped chan struct{}
	told    chan error
	// hung is closed when a goroutine of Pebble stands still for ever, or ended
	// in a panic, with locks held: the store cannot be closed in good order.
	hung     chan struct{}
	hungOnce sync.Once
}

func newFailure(log *slog.Logger) *failure {
	return &failure{log: log, stopped: make(chan struct{}), told: make(chan error, 1), hung: make(chan struct{})}
}

// stop ends writing; a nil err is the good end by Close.
func (f *failure) stop(err error) {
	f.once.Do(func() {
		close(f.stopped)
		if err != nil {
			f.log.Error("store stopped writing", "err", err)
			f.told <- err
		}
		close(f.told)
	})
}

func (f *failure) isStopped() bool {
	select {
	case <-f.stopped:
		return true
	default:
		return false
	}
}

// hang stops writing for good.
func (f *failure) hang(err error) {
	f.hungOnce.Do(func() { close(f.hung) })
	f.stop(err)
}

// park stops writing and never returns.
func (f *failure) park(err error) {
	f.hang(err)
	select {}
}

// logger is what Pebble logs to. Its Fatalf must neither return, because Pebble
// goes on as if nothing had happened and may write after a failed sync, nor end
// the process, because that is for the one who watches Failed to decide.
type logger struct {
	log  *slog.Logger
	fail *failure
}

// Infof drops Pebble's account of flushes and compactions.
func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Warn("store: " + clean(format, args))
}

func (l logger) Fatalf(format string, args ...any) {
	text := clean(format, args)
	l.fail.park(errors.New(text))
}

// clean formats on one line.
func clean(format string, args []any) string {
	return strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
}

// listener handles Pebble's events that are about failures.
func (db *DB) listener() *pebble.EventListener {
	return &pebble.EventListener{
		// A flush or compaction failed. It wrote new files from data that we
		// still have, so Pebble tries again, at once and for ever. That is right
		// for a full disk, which the guard is about to see, and wrong for a
		// failing one. The callback runs under Pebble's lock.
		BackgroundError: func(err error) {
			switch {
			case errors.Is(err, pebble.ErrCancelledCompaction):
			case vfs.IsFull(err): // Pebble tries again; the guard refuses updates
				db.warn("store: disk full in background", err)
				db.guard.poke()
			case pebble.IsCorruptionError(err):
				db.warn("store: corrupt file in background", err)
			default:
				db.fail.park(fmt.Errorf("background: %w", err))
			}
		},
		// A block does not verify: its reader gets an error, all else is served.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			db.met.corrupt.Inc()
			db.log.Error("store: corrupt file", "path", info.Path, "err", info.Details)
		},
	}
}
