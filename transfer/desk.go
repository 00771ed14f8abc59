package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/mailbox"
)

// Store is where mail is moved to: a [Desk], or one behind a control socket.
type Store interface {
	Prepare(ctx context.Context, p Prepare) (Prepared, error)
	Known(ctx context.Context, q KnownQuery) (Known, error)
	Put(ctx context.Context, p Put, frames io.Reader) (PutResult, error)
}

// Desk is the side of the store. Its methods may be called from any goroutine.
type Desk struct {
	Mailboxes *mailbox.Store
	Blobs     *blob.Store
	// Account finds the account that has an address.
	Account func(ctx context.Context, address string) (mailbox.AccountID, error)
}

var _ Store = (*Desk)(nil)

// with runs fn on an account.
func (d *Desk) with(ctx context.Context, address string, fn func(*mailbox.Account) error) error {
	id, err := d.Account(ctx, address)
	if err != nil {
		return err
	}
	a, err := d.Mailboxes.Account(ctx, id)
	if err != nil {
		return err
	}
	defer a.Close()
	return fn(a)
}

// Prepare asks for the mailbox that a mailbox elsewhere becomes.
type Prepare struct {
	Account string
	// Source names the mailbox elsewhere in the journal; Validity is its UIDVALIDITY.
	Source   string
	Validity uint32
	// Name is what it is called, in UTF-8 with "/" between levels; Use is its special
	// use, `\Sent`, or empty.
	Name, Use string
	Subscribe bool
	// Again forgets what the journal has of the source.
	Again bool
	// Lazy makes no mailbox; Try changes nothing at all.
	Lazy, Try bool
}

// Prepared tells the mailbox; ID is 0 when it is yet to be made.
type Prepared struct {
	ID   mailbox.MailboxID
	Name string
	// Known tells that something came from this source before, when it had the
	// UIDVALIDITY Validity.
	Known    bool
	Validity uint32
}

// Prepare finds or makes a mailbox. One with a special use becomes ours with the same.
func (d *Desk) Prepare(ctx context.Context, p Prepare) (out Prepared, err error) {
	err = d.with(ctx, p.Account, func(a *mailbox.Account) error {
		if p.Source != "" {
			if p.Again && !p.Try {
				if err := a.ForgetImport(ctx, p.Source); err != nil {
					return err
				}
			}
			if out.Validity, out.Known, err = a.ImportedFrom(ctx, p.Source); err != nil {
				return err
			}
			if p.Again {
				out.Known = false
			}
		}
		use, _ := mailbox.ParseSpecialUse(p.Use)
		if err := a.Sync(ctx); err != nil {
			return err
		}
		out.Name = possibleName(p.Name)
		if use != mailbox.UseNone {
			for _, b := range a.Mailboxes() {
				if b.SpecialUse&use != 0 {
					out.Name = b.Name
				}
			}
		}
		if p.Try || p.Lazy {
			box, err := a.Mailbox(out.Name)
			if postino.Is(err, postino.NotFound) {
				return nil
			}
			out.ID = box.ID
			return err
		}
		box, err := a.Newborn(ctx, out.Name, use)
		if err != nil {
			return err
		}
		out.ID = box.ID
		if p.Subscribe && !box.Subscribed {
			err = a.Subscribe(ctx, out.Name)
		}
		return err
	})
	return out, err
}

// KnownQuery asks which messages of a source came before.
type KnownQuery struct {
	Account, Source string
	Items           []string
	// Flags, when not nil, are those of each item: messages that came before get them.
	Flags [][]string
	// Try changes nothing.
	Try bool
}

// Known answers.
type Known struct {
	Have []bool // for each item
	// Synced is how many messages have other flags now.
	Synced int
}

// Known tells which messages came before, and brings their flags up to date.
func (d *Desk) Known(ctx context.Context, q KnownQuery) (out Known, err error) {
	if q.Flags != nil && len(q.Flags) != len(q.Items) {
		return out, postino.E(postino.Invalid, "compare messages", "", errors.New("flags and items differ in number"))
	}
	err = d.with(ctx, q.Account, func(a *mailbox.Account) error {
		done, err := a.Imports(ctx, q.Source, q.Items)
		if err != nil {
			return err
		}
		out.Have = make([]bool, len(done))
		for i := range done {
			out.Have[i] = done[i].Again
		}
		if q.Flags == nil || q.Try {
			return nil
		}
		out.Synced, err = syncFlags(ctx, a, done, q.Flags)
		return err
	})
	return out, err
}

// syncFlags gives messages the flags they have elsewhere, those with the same ones
// in one change.
func syncFlags(ctx context.Context, a *mailbox.Account, done []mailbox.Imported, flags [][]string) (changed int, err error) {
	type group struct {
		box  mailbox.MailboxID
		text string
	}
	uids := map[group][]mailbox.UID{}
	for i := range done {
		if done[i].Again {
			sorted := slices.Clone(flags[i])
			slices.Sort(sorted)
			g := group{done[i].Mailbox, strings.Join(sorted, " ")}
			uids[g] = append(uids[g], done[i].UID)
		}
	}
	for g, list := range uids {
		fl, kw := flagsOf(strings.Fields(g.text))
		kw = slices.DeleteFunc(kw, func(k string) bool { return !mailbox.ValidKeyword(k) })
		res, err := a.Store(ctx, g.box, mailbox.StoreRequest{UIDs: mailbox.RangesOf(list), Op: mailbox.ReplaceFlags, Flags: fl, Keywords: kw})
		if postino.Is(err, postino.NotFound) { // the mailbox was deleted meanwhile
			continue
		}
		if err != nil {
			return changed, err
		}
		changed += int(res.Changed.Count())
	}
	return changed, nil
}

// Put stores a batch.
type Put struct {
	Account, Source string
	// Validity is the UIDVALIDITY of the source.
	Validity uint32
	// KeepUIDs keeps UIDs and Validity, if that can be.
	KeepUIDs  bool
	OverQuota bool
}

// PutMeta tells of a message what its octets do not.
type PutMeta struct {
	Mailbox mailbox.MailboxID
	Item    string   `json:",omitempty"`
	UID     uint32   `json:",omitempty"`
	UIDL    string   `json:",omitempty"`
	Flags   []string `json:",omitempty"`
	Date    int64    `json:",omitempty"` // Unix seconds, 0 now
}

// PutResult tells what was stored.
type PutResult struct {
	Stored int // new messages
	Again  int // messages that were there
	// Fresh tells why UIDs could not be kept, or is empty.
	Fresh string
	// Dropped are keywords that could not be kept.
	Dropped []string
}

// maxBatch is how many messages a batch may have.
const maxBatch = 1024

// Put reads frames up to the end of a batch and stores its messages in one commit.
func (d *Desk) Put(ctx context.Context, p Put, frames io.Reader) (out PutResult, err error) {
	err = d.with(ctx, p.Account, func(a *mailbox.Account) error {
		b := batch{d: d, now: time.Now()}
		defer b.close()
		if err := b.read(ctx, newFrameReader(frames)); err != nil {
			return err
		}
		if len(b.msgs) == 0 {
			return nil
		}
		req := mailbox.ImportRequest{
			Source: p.Source, SourceValidity: p.Validity, UIDValidity: p.Validity, OverQuota: p.OverQuota, Messages: b.msgs,
		}
		keep := p.KeepUIDs && p.Validity != 0
		if !keep {
			b.freshUIDs()
		}
		done, err := a.Import(ctx, req)
		if keep && postino.Is(err, postino.Conflict) {
			out.Fresh = err.Error()
			b.freshUIDs()
			done, err = a.Import(ctx, req)
		}
		if err != nil {
			return err
		}
		for i := range done {
			if done[i].Again {
				out.Again++
			} else {
				out.Stored++
			}
			for _, k := range done[i].Dropped {
				if !slices.Contains(out.Dropped, k) && len(out.Dropped) < 100 {
					out.Dropped = append(out.Dropped, k)
				}
			}
		}
		return nil
	})
	return out, err
}

// batch is a batch that is being read.
type batch struct {
	d      *Desk
	now    time.Time
	staged []*mailbox.Staging
	msgs   []mailbox.ImportMessage
	cur    *mailbox.Staging
}

func (b *batch) freshUIDs() {
	for i := range b.msgs {
		b.msgs[i].UID = 0
	}
}

func (b *batch) close() {
	for _, s := range b.staged {
		s.Abort()
	}
}

// begin makes sure that there is a message to write to.
func (b *batch) begin() *mailbox.Staging {
	if b.cur == nil {
		b.cur = b.d.Mailboxes.Stage(b.now)
		b.staged = append(b.staged, b.cur)
	}
	return b.cur
}

func (b *batch) read(ctx context.Context, r *frameReader) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, p, err := r.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameData:
			if _, err := b.begin().Write(p); err != nil {
				return err
			}
		case frameDrop:
			b.cur = nil // Abort comes with the others
		case frameEnd:
			return nil
		case frameMeta:
			if len(b.msgs) == maxBatch {
				return postino.E(postino.Invalid, "read messages", "", errors.New("too many messages in a batch"))
			}
			if err := b.add(p); err != nil {
				return err
			}
		}
	}
}

func (b *batch) add(p []byte) error {
	var meta PutMeta
	if err := json.Unmarshal(p, &meta); err != nil {
		return postino.E(postino.Invalid, "read messages", "", err)
	}
	m, err := b.begin().Finish()
	b.cur = nil
	if err != nil {
		return err
	}
	msg := mailbox.ImportMessage{Mailbox: meta.Mailbox, UID: mailbox.UID(meta.UID), UIDL: meta.UIDL, Item: meta.Item}
	msg.Message = m
	msg.Flags, msg.Keywords = flagsOf(meta.Flags)
	if msg.Date = b.now; meta.Date != 0 {
		msg.Date = time.Unix(meta.Date, 0)
	}
	b.msgs = append(b.msgs, msg)
	return nil
}
