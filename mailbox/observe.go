package mailbox

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/postino-mail/postino/metric"
)

// meters are the instruments of a store.
type meters struct {
	changes, messages, folds, swept, failures *metric.Counter
	indexed, merges, damaged                  *metric.Counter
}

func newMeters(r *metric.Registry) meters {
	return meters{
		changes:  r.Counter("postino_mailbox_changes_total", "Log records written to accounts."),
		messages: r.Counter("postino_mailbox_messages_total", "Messages delivered or appended."),
		folds:    r.Counter("postino_mailbox_folds_total", "Checkpoints made of accounts."),
		swept:    r.Counter("postino_mailbox_swept_total", "Emails removed that no mailbox held."),
		indexed:  r.Counter("postino_mailbox_indexed_total", "Emails added to search indexes."),
		merges:   r.Counter("postino_mailbox_index_merges_total", "Merges of segments of search indexes."),
		damaged:  r.Counter("postino_mailbox_index_damaged_total", "Segments of search indexes that could not be read and are made again."),
		failures: r.Counter("postino_mailbox_failures_total", "Background work that failed and will be tried again."),
	}
}

func account(id AccountID) slog.Attr { return slog.String("account", fmt.Sprintf("%x", uint64(id))) }

// observeFailure tells that a piece of background work failed; it will be
// tried again.
func (s *Store) observeFailure(what string, id AccountID, err error) {
	s.met.failures.Inc()
	s.log.Error("mailbox: "+what, account(id), slog.Any("error", err))
}

// observeFold tells that a checkpoint was made of an account.
func (s *Store) observeFold(id AccountID, f *folding) {
	s.met.folds.Inc()
	s.log.Debug("mailbox: folded", account(id), slog.Uint64("modseq", uint64(f.head.modseq)), slog.Int64("octets", f.tail))
}

// observeSwept tells that emails which no mailbox holds were removed.
func (s *Store) observeSwept(id AccountID, n int) {
	s.met.swept.Add(float64(n))
	s.log.Debug("mailbox: swept", account(id), slog.Int("emails", n))
}

// observeIndexed tells that a segment was added to the index of an account,
// and how many numbers of emails are left to be looked at.
func (s *Store) observeIndexed(id AccountID, h *segmentHead, cut int, left EmailID, took time.Duration) {
	s.met.indexed.Add(float64(h.emails))
	level := slog.LevelDebug
	if h.emails >= segmentEmails {
		level = slog.LevelInfo // a large account is being indexed
	}
	s.log.Log(context.Background(), level, "mailbox: indexed", account(id), slog.Int("emails", int(h.emails)), slog.Int("not whole", cut),
		slog.Int64("octets", int64(h.size)), slog.Uint64("left", uint64(left)), slog.Duration("took", took))
}

// observeDamaged tells that a segment of the index could not be read; searches
// read the emails until it is made again.
func (s *Store) observeDamaged(id AccountID) {
	s.met.damaged.Inc()
	s.log.Warn("mailbox: search index is damaged, will be made again", account(id))
}
