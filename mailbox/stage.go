package mailbox

import (
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/message"
)

// Staging takes the octets of one message: they go to the blob store and are
// indexed in the same pass, so that a message of any size is never held. It is for
// one goroutine.
type Staging struct {
	body  *blob.Writer
	index *message.Indexer
}

// Stage begins a message that arrives at the moment now. The caller ends it with
// Abort, after the transaction in which the message is stored.
func (s *Store) Stage(now time.Time) *Staging {
	return &Staging{s.blobs.Create(now), message.NewIndexer(message.Limits{})}
}

// Write adds octets; Full when memory or disk are used up.
func (s *Staging) Write(p []byte) (int, error) {
	n, err := s.body.Write(p)
	if err == nil {
		_, err = s.index.Write(p)
	}
	return n, err
}

// Size returns how many octets were written.
func (s *Staging) Size() int64 { return s.body.Size() }

// Finish returns what is kept of the message. Its octets are stored by the
// transaction that it is given to.
func (s *Staging) Finish() (*Message, error) {
	ix := s.index.Finish()
	s.index = nil
	staged, err := s.body.Finish()
	if err != nil {
		return nil, err
	}
	m := NewMessage(staged.ID, ix, ix.Header())
	m.Staged = &staged
	return m, nil
}

// Abort gives back what was staged; after the transaction it only frees memory.
func (s *Staging) Abort() {
	if s.index != nil {
		s.index.Release()
		s.index = nil
	}
	s.body.Abort()
}
