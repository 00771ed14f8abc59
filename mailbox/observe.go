package mailbox

import (
	"fmt"
	"log/slog"

	"github.com/postino-mail/postino/metric"
)

// meters are the instruments of a store.
type meters struct {
	changes, messages, folds, swept, failures *metric.Counter
}

func newMeters(r *metric.Registry) meters {
	return meters{
		changes:  r.Counter("postino_mailbox_changes_total", "Log records written to accounts."),
		messages: r.Counter("postino_mailbox_messages_total", "Messages delivered or appended."),
		folds:    r.Counter("postino_mailbox_folds_total", "Checkpoints made of accounts."),
		swept:    r.Counter("postino_mailbox_swept_total", "Emails removed that no mailbox held."),
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
