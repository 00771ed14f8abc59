package mailbox

import (
	"fmt"
	"log/slog"
)

// observeFailure tells that a piece of background work failed; it will be
// tried again.
func (s *Store) observeFailure(what string, id AccountID, err error) {
	s.log.Error("mailbox: "+what, slog.String("account", fmt.Sprintf("%x", uint64(id))), slog.Any("error", err))
}

// observeSwept tells that emails which no mailbox holds were removed.
func (s *Store) observeSwept(id AccountID, n int) {
	s.log.Debug("mailbox: swept", slog.String("account", fmt.Sprintf("%x", uint64(id))), slog.Int("emails", n))
}
