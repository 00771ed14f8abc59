package imapd

import (
	"context"
	"io"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// Append begins an APPEND; the mailbox must exist before octets are asked for.
func (s *session) Append(ctx context.Context, req imap.AppendRequest) (imap.Appender, error) {
	box, err := s.acct.Mailbox(req.Mailbox)
	if err != nil {
		return nil, err
	}
	return &appender{s: s, box: box.ID, now: time.Now()}, nil
}

// appender stages the messages of one APPEND and stores them in one commit.
type appender struct {
	s       *session
	box     mailbox.MailboxID
	now     time.Time
	total   int64
	done    []mailbox.AppendMessage
	writers []*blob.Writer // of done and of the message being written
	index   *message.Indexer
	cur     imap.AppendMessage
}

// Message finishes the message before and begins one. What would not fit the
// quota is refused before it is sent.
func (a *appender) Message(ctx context.Context, m imap.AppendMessage) (io.Writer, error) {
	if err := a.finish(); err != nil {
		return nil, err
	}
	a.total += m.Size
	use := a.s.acct.Usage()
	if use.Limit.Bytes > 0 && use.Used.Bytes+a.total > use.Limit.Bytes ||
		use.Limit.Messages > 0 && use.Used.Messages+int64(len(a.done)) >= use.Limit.Messages {
		return nil, postino.E(postino.Full, "append", "", nil)
	}
	w := a.s.desk.opts.Blobs.Create(a.now)
	a.writers = append(a.writers, w)
	a.index = message.NewIndexer(message.Limits{})
	a.cur = m
	return tee{w, a.index}, nil
}

// tee writes to the blob and to the index.
type tee struct {
	body  *blob.Writer
	index *message.Indexer
}

// Write stores p and indexes it.
func (t tee) Write(p []byte) (int, error) {
	n, err := t.body.Write(p)
	if err == nil {
		_, err = t.index.Write(p)
	}
	return n, err
}

// finish stages the message being written, if there is one.
func (a *appender) finish() error {
	if a.index == nil {
		return nil
	}
	ix := a.index.Finish()
	a.index.Release()
	a.index = nil
	staged, err := a.writers[len(a.writers)-1].Finish()
	if err != nil {
		return err
	}
	msg := mailbox.NewMessage(staged.ID, ix, ix.Header())
	msg.Staged = &staged
	date := a.cur.Date
	if date.IsZero() {
		date = a.now
	}
	a.done = append(a.done, mailbox.AppendMessage{Message: msg, Flags: fromWire(a.cur.Flags), Keywords: a.cur.Keywords, Date: date})
	return nil
}

// Commit stores all messages.
func (a *appender) Commit(ctx context.Context) (*imap.AppendData, error) {
	if err := a.finish(); err != nil {
		return nil, err
	}
	res, err := a.s.acct.Append(ctx, a.box, a.done)
	if err != nil {
		return nil, err
	}
	data := &imap.AppendData{UIDValidity: res.UIDValidity}
	if len(a.done) > 0 {
		data.UIDs = []imap.Range{{Start: uint32(res.UIDs.Lo), Stop: uint32(res.UIDs.Hi)}}
	}
	return data, nil
}

// Abort gives back what was staged; after Commit it only frees memory.
func (a *appender) Abort() {
	if a.index != nil {
		a.index.Release()
		a.index = nil
	}
	for _, w := range a.writers {
		w.Abort()
	}
	a.writers = nil
}
