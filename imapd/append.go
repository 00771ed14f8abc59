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
	p, box, err := s.find(ctx, req.Mailbox)
	if err != nil {
		return nil, err
	}
	a := &appender{s: s, acct: p.acct, box: box.ID, now: time.Now()}
	if req.Replace != nil {
		err = a.replaces(*req.Replace)
	}
	return a, err
}

// replaces notes the message that goes when the new one comes (RFC 8508 §3.4); its
// place in the quota is counted as free.
func (a *appender) replaces(set imap.NumSet) error {
	spans, err := a.s.spans(set)
	if err != nil {
		return err
	}
	if len(spans) != 1 || spans[0].hi-spans[0].lo != 1 {
		return errNoMessage
	}
	const removing = mailbox.RightRead | mailbox.RightDeleted | mailbox.RightExpunge
	sel := a.s.sel
	if sel.acct.Rights(sel.view.Mailbox())&removing != removing { // before anything is stored
		return postino.E(postino.Denied, "replace", "", nil)
	}
	r := sel.snap.Row(spans[0].lo)
	a.replaced, a.freed = r.UID, r.Size
	return nil
}

var errNoMessage = &imap.Error{Code: "NONEXISTENT", Text: "No such message"}

// appender stages the messages of one APPEND and stores them in one commit.
// While a message arrives the one before is hashed and rendered by a worker.
type appender struct {
	s     *session
	acct  *mailbox.Account
	box   mailbox.MailboxID
	now   time.Time
	total int64
	// The message of the selected mailbox that is replaced, 0 none, and its octets.
	replaced mailbox.UID
	freed    int64
	writers  []*blob.Writer // of all messages, with the one being written
	cur      arrived        // the message being written
	queue    chan arrived   // to the worker, once there is a second message
	ended    chan struct{}  // closed when the worker ended
	// What follows is the worker's while it runs.
	done     []mailbox.AppendMessage
	err      error
	panicked any
}

// arrived is a message of which all octets, or all so far, are written.
type arrived struct {
	imap.AppendMessage
	body  *blob.Writer
	index *message.Indexer
}

// queued is how many messages may wait for the worker.
const queued = 64

// Message hands the message before to the worker and begins one. What would not
// fit the quota is refused before it is sent.
func (a *appender) Message(ctx context.Context, m imap.AppendMessage) (io.Writer, error) {
	a.total += max(m.Size, 0)
	use := a.acct.Usage()
	full := use.Limit.Messages > 0 && a.replaced == 0 && use.Used.Messages+int64(len(a.writers)) >= use.Limit.Messages
	if full || !a.fits(0) {
		return nil, postino.E(postino.Full, "append", "", postino.ErrQuota)
	}
	if a.cur.index != nil {
		if a.queue == nil {
			a.queue, a.ended = make(chan arrived, queued), make(chan struct{})
			go a.work()
		}
		a.queue <- a.cur
	}
	w := a.s.desk.opts.Blobs.Create(a.now)
	a.writers = append(a.writers, w)
	a.cur = arrived{m, w, message.NewIndexer(message.Limits{})}
	if m.Size < 0 {
		return &counted{a: a, tee: tee{w, a.cur.index}}, nil
	}
	return tee{w, a.cur.index}, nil
}

// fits tells whether the quota has room for all messages so far and n octets.
func (a *appender) fits(n int64) bool {
	use := a.acct.Usage()
	return use.Limit.Bytes <= 0 || use.Used.Bytes-a.freed+a.total+n <= use.Limit.Bytes
}

// counted writes a message whose size was not known before (RFC 4469) as long as it
// fits.
type counted struct {
	a *appender
	tee
}

// Write refuses what does not fit the quota.
func (c *counted) Write(p []byte) (int, error) {
	if !c.a.fits(int64(len(p))) {
		return 0, postino.E(postino.Full, "append", "", postino.ErrQuota)
	}
	c.a.total += int64(len(p))
	return c.tee.Write(p)
}

// work finishes messages in their order until the queue is closed. A panic is
// for the connection's goroutine to end on.
func (a *appender) work() {
	defer close(a.ended)
	defer func() {
		if a.panicked = recover(); a.panicked != nil {
			for range a.queue { // the sender must not wait
			}
		}
	}()
	for m := range a.queue {
		a.finish(m)
	}
}

// join ends the worker.
func (a *appender) join() {
	if a.queue == nil {
		return
	}
	close(a.queue)
	<-a.ended
	a.queue = nil
	if a.panicked != nil {
		panic(a.panicked)
	}
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

// finish stages a message; after the first failure it only frees memory.
func (a *appender) finish(m arrived) {
	if a.err != nil {
		m.index.Release()
		return
	}
	ix := m.index.Finish()
	staged, err := m.body.Finish()
	if err != nil {
		a.err = err
		return
	}
	msg := mailbox.NewMessage(staged.ID, ix, ix.Header())
	msg.Staged = &staged
	date := m.Date
	if date.IsZero() {
		date = a.now
	}
	a.done = append(a.done, mailbox.AppendMessage{Message: msg, Flags: fromWire(m.Flags), Keywords: m.Keywords, Date: date})
}

// Commit stores all messages.
func (a *appender) Commit(ctx context.Context) (*imap.AppendData, error) {
	a.join()
	last := a.cur
	a.cur.index = nil // finish gives it back
	a.finish(last)
	if a.err != nil {
		return nil, a.err
	}
	var res mailbox.AppendResult
	var err error
	if a.replaced == 0 {
		res, err = a.acct.Append(ctx, a.box, a.done)
	} else {
		res, err = a.replace(ctx)
	}
	if err != nil {
		return nil, err
	}
	a.s.toldAppended(a.acct, a.box, res.UIDs.Lo, res.UIDs.Hi)
	if res.UIDs.Lo == 0 { // the user may not know
		return &imap.AppendData{}, nil
	}
	return &imap.AppendData{
		UIDValidity: res.UIDValidity,
		UIDs:        []imap.Range{{Start: uint32(res.UIDs.Lo), Stop: uint32(res.UIDs.Hi)}},
	}, nil
}

// replace stores the message and expunges the one before in one commit, in another
// account first the one and then the other (RFC 8508 §3.4).
func (a *appender) replace(ctx context.Context) (res mailbox.AppendResult, err error) {
	sel := a.s.sel
	if a.acct == sel.acct {
		res, _, err = a.acct.Replace(ctx, sel.view.Mailbox(), a.replaced, a.box, a.done[0])
	} else {
		var now *mailbox.Snapshot
		if now, err = sel.view.Sync(ctx); err != nil {
			return res, err
		}
		if _, there := now.Find(a.replaced); !there { // others expunged it, and there is nothing to replace
			return res, errNoMessage
		}
		if res, err = a.acct.Append(ctx, a.box, a.done); err == nil {
			_, err = sel.acct.Destroy(ctx, sel.view.Mailbox(), mailbox.RangesOf([]mailbox.UID{a.replaced}))
		}
	}
	if postino.Is(err, postino.NotFound) {
		err = errNoMessage
	}
	return res, err
}

// Abort gives back what was staged; after Commit it only frees memory.
func (a *appender) Abort() {
	defer a.release()
	a.join()
}

func (a *appender) release() {
	if a.cur.index != nil {
		a.cur.index.Release()
		a.cur.index = nil
	}
	for _, w := range a.writers {
		w.Abort()
	}
	a.writers = nil
}
