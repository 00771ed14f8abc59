package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailbox"
)

// Folder is a mailbox elsewhere.
type Folder struct {
	// Name is in UTF-8 with "/" between its levels; Key names it in the journal.
	Name, Key string
	// Use is its special use, empty when nothing tells.
	Use        string
	Subscribed bool
	// Skip tells why it is not imported, or is empty.
	Skip string
	// UIDValidity and UIDNext are known after [Source.Open]; 0: there are none.
	UIDValidity, UIDNext uint32
	// Messages is about how many there are, -1 when that is not known before.
	Messages int

	at any // of the source
}

// Message is a message elsewhere.
type Message struct {
	Item  string // names it in its folder
	UID   uint32
	UIDL  string
	Flags []string
	Date  time.Time
	Size  int64
	// Mailbox is where it goes if that is not where its folder goes.
	Mailbox string

	at any // of the source
}

// Sink takes the octets of messages.
type Sink interface {
	// Begin gives the writer of a message; octets go into the journal as they are.
	Begin() (io.Writer, error)
	// Done ends the message, which is m.
	Done(m *Message) error
	// Drop forgets the octets since Begin: m cannot be had, and why.
	Drop(m *Message, why error) error
}

// Source is where mail comes from. It is used by one goroutine.
type Source interface {
	// Folders lists the mailboxes, parents before children.
	Folders(ctx context.Context) ([]Folder, error)
	// Open begins with a folder and fills in what is known only then.
	Open(ctx context.Context, f *Folder) error
	// Messages tells the messages of the folder that is open, by UID where there are
	// UIDs. note takes what cannot be read.
	Messages(ctx context.Context, f *Folder, fn func(*Message) error, note func(string)) error
	// Bodies gives the octets of some messages, in any order.
	Bodies(ctx context.Context, f *Folder, list []*Message, to Sink) error
	// Recover is asked after an error of the source whether to try again, and waits
	// as long as is proper; an error ends the import.
	Recover(ctx context.Context, err error) error
	Close() error
}

// Import moves mail in.
type Import struct {
	Source  Source
	Store   Store
	Account string // an address
	// Into is the mailbox below which all goes; empty: the names stay.
	Into string
	// Wanted chooses mailboxes; nil takes all.
	Wanted func(name string) bool
	// Again forgets what came before; SyncFlags brings flags of that up to date.
	Again, SyncFlags bool
	// FreshUIDs gives all messages new UIDs.
	FreshUIDs bool
	OverQuota bool
	// Try changes nothing and tells what would be done.
	Try bool
	// Batch bounds a commit.
	Batch Batch
	// Progress is told how far it has come; nil: nobody wants to know.
	Progress func(Progress)

	report Report
}

// Batch bounds what is stored in one commit; zero fields mean the default.
type Batch struct {
	Messages int   // 256, at most 1,024
	Octets   int64 // 16 MiB; a larger message goes alone
}

// Progress is how far an import has come.
type Progress struct {
	Mailbox       string
	Done, Folders int   // mailboxes
	Messages      int64 // stored, or there before, of this mailbox
	Total         int64 // of this mailbox, -1 when not known
	Octets        int64 // stored of all
}

// Report is what an import did.
type Report struct {
	Mailboxes int
	Imported  int64 // messages
	Octets    int64
	Before    int64 // messages that had come before
	Synced    int64 // messages whose flags were brought up to date
	Failed    int64 // messages that could not be read
	// Notes tell what was changed or left out, at most 1,000.
	Notes []string
}

const maxNotes = 1000

func (im *Import) note(format string, args ...any) {
	s := postino.Printable(fmt.Sprintf(format, args...))
	if len(im.report.Notes) < maxNotes && !slices.Contains(im.report.Notes, s) {
		im.report.Notes = append(im.report.Notes, s)
	}
}

// Run moves everything. After an error, what the report counts as imported is
// stored; the same import goes on from there.
func (im *Import) Run(ctx context.Context) (Report, error) {
	im.report = Report{}
	if im.Batch.Messages <= 0 {
		im.Batch.Messages = 256
	}
	im.Batch.Messages = min(im.Batch.Messages, maxBatch)
	if im.Batch.Octets <= 0 {
		im.Batch.Octets = 16 << 20
	}
	folders, err := im.folders(ctx)
	if err != nil {
		return im.report, err
	}
	var failed error
	for i := range folders {
		f := &folders[i]
		p := Progress{Mailbox: f.Name, Done: i, Folders: len(folders), Total: -1}
		err := im.folder(ctx, f, p)
		if err == nil {
			im.report.Mailboxes++
			continue
		}
		err = postino.E(postino.Internal, "import", postino.Printable(f.Name), err)
		if !ofFolder(ctx, err) {
			return im.report, err
		}
		im.note("%v", err)
		failed = cmp.Or(failed, error(err))
	}
	return im.report, failed
}

// ofFolder tells whether an error is that of one mailbox, so that the others can be
// moved.
func ofFolder(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	kind := postino.KindOf(err)
	if errors.As(err, new(storeError)) {
		return kind == postino.Conflict
	}
	return kind != postino.Transient && kind != postino.Denied
}

// folders lists what is wanted.
func (im *Import) folders(ctx context.Context) ([]Folder, error) {
	var all []Folder
	err := im.retry(ctx, func() (err error) {
		all, err = im.Source.Folders(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var list []Folder
	uses := map[string]bool{}
	for _, f := range all {
		if im.Wanted != nil && !im.Wanted(f.Name) {
			continue
		}
		if f.Skip != "" {
			im.note("%s: not imported: %s", f.Name, f.Skip)
			continue
		}
		list = append(list, f)
		uses[f.Use] = true
	}
	for i := range list {
		f := &list[i]
		if f.Use == "" && f.Name != "INBOX" {
			// A name counts where no mailbox says that it is the one.
			if u := useByName(f.Name); u != mailbox.UseNone && !uses[u.String()] {
				f.Use = u.String()
				uses[f.Use] = true
			}
		}
	}
	return list, nil
}

// retry repeats what the source could not do for now.
func (im *Import) retry(ctx context.Context, do func() error) error {
	for {
		err := do()
		var src sourceError
		if err == nil || ctx.Err() != nil || errors.As(err, new(storeError)) {
			return err
		}
		if errors.As(err, &src) {
			err = src.error
		}
		if !postino.Is(err, postino.Transient) {
			return err
		}
		if err := im.Source.Recover(ctx, err); err != nil {
			return err
		}
	}
}

// sourceError and storeError tell on which side something went wrong.
type (
	sourceError struct{ error }
	storeError  struct{ error }
)

func (e sourceError) Unwrap() error { return e.error }
func (e storeError) Unwrap() error  { return e.error }

func ofStore(err error) error {
	if err == nil {
		return nil
	}
	return storeError{err}
}

// folder moves one mailbox.
func (im *Import) folder(ctx context.Context, f *Folder, p Progress) error {
	again := im.Again
	before := im.report
	return im.retry(ctx, func() error {
		// What the journal has now counts as imported by this run.
		stored := im.report.Imported - before.Imported
		im.report.Before, im.report.Failed = before.Before-stored, before.Failed
		if err := im.Source.Open(ctx, f); err != nil {
			return err
		}
		m := mover{im: im, f: f, p: p, targets: map[string]mailbox.MailboxID{}, keep: !im.FreshUIDs && f.UIDValidity != 0}
		if f.Messages >= 0 {
			m.p.Total = int64(f.Messages)
		}
		if err := m.prepare(ctx, again); err != nil {
			return err
		}
		again = false
		return m.run(ctx)
	})
}

// mover moves the messages of one mailbox.
type mover struct {
	im      *Import
	f       *Folder
	p       Progress
	req     Prepare // what makes the mailbox
	main    mailbox.MailboxID
	strewn  bool                         // messages went elsewhere
	targets map[string]mailbox.MailboxID // of messages that go elsewhere, by name
	keep    bool                         // UIDs
	page    []*Message                   // of which the journal is asked next
	batch   []*Message
	octets  int64
}

func (im *Import) target(name string) string {
	if im.Into == "" {
		return name
	}
	if name == "INBOX" {
		return im.Into
	}
	return im.Into + "/" + name
}

func (m *mover) prepare(ctx context.Context, again bool) error {
	im := m.im
	req := Prepare{
		Account: im.Account, Source: m.f.Key, Validity: m.f.UIDValidity, Name: im.target(m.f.Name), Use: m.f.Use,
		Subscribe: m.f.Subscribed, Again: again, Try: im.Try, Lazy: true,
	}
	if im.Into != "" {
		req.Use = ""
	}
	got, err := im.Store.Prepare(ctx, req)
	if err != nil {
		return ofStore(err)
	}
	m.req = req
	m.req.Again, m.req.Lazy, m.req.Source = false, false, ""
	if got.Name != req.Name {
		im.note("%s becomes %s", m.f.Name, got.Name)
	}
	if got.Known && got.Validity != m.f.UIDValidity {
		return ofStore(postino.E(postino.Conflict, "", "", fmt.Errorf("the UIDVALIDITY of the source was %d when messages came from it and is %d now: "+
			"which of them came before cannot be known; --again imports all of them anew", got.Validity, m.f.UIDValidity)))
	}
	return nil
}

// pageSize is for how many messages the journal is asked at once.
const pageSize = 1000

func (m *mover) run(ctx context.Context) error {
	m.tell()
	err := m.im.Source.Messages(ctx, m.f, func(msg *Message) error {
		m.page = append(m.page, msg)
		if len(m.page) < pageSize {
			return nil
		}
		return m.ask(ctx)
	}, func(what string) {
		m.im.report.Failed++
		m.im.note("%s: %s", m.f.Name, what)
	})
	if err == nil {
		err = m.ask(ctx)
	}
	if err == nil {
		err = m.flush(ctx)
	}
	if err == nil && !m.strewn && !m.im.Try {
		_, err = m.own(ctx) // an empty mailbox is one too
	}
	return err
}

// own makes the mailbox.
func (m *mover) own(ctx context.Context) (mailbox.MailboxID, error) {
	if m.main != 0 {
		return m.main, nil
	}
	got, err := m.im.Store.Prepare(ctx, m.req)
	m.main = got.ID
	return got.ID, ofStore(err)
}

func (m *mover) tell() {
	if m.im.Progress != nil {
		m.im.Progress(m.p)
	}
}

// ask asks the journal and puts what is new into batches.
func (m *mover) ask(ctx context.Context) error {
	if len(m.page) == 0 {
		return nil
	}
	q := KnownQuery{Account: m.im.Account, Source: m.f.Key, Try: m.im.Try}
	for _, msg := range m.page {
		q.Items = append(q.Items, msg.Item)
		if m.im.SyncFlags {
			q.Flags = append(q.Flags, msg.Flags)
		}
	}
	got := Known{Have: make([]bool, len(q.Items))}
	if !(m.im.Try && m.im.Again) {
		var err error
		if got, err = m.im.Store.Known(ctx, q); err != nil {
			return ofStore(err)
		}
	}
	if len(got.Have) != len(q.Items) {
		return ofStore(postino.E(postino.Internal, "compare messages", "", errors.New("the server is of another version")))
	}
	m.im.report.Synced += int64(got.Synced)
	page := m.page
	m.page = nil
	for i, msg := range page {
		if got.Have[i] {
			m.im.report.Before++
			m.p.Messages++
			continue
		}
		if len(m.batch) > 0 && m.octets+msg.Size > m.im.Batch.Octets || len(m.batch) == m.im.Batch.Messages {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
		m.batch = append(m.batch, msg)
		m.octets += msg.Size
	}
	m.tell()
	return nil
}

// where finds the mailbox of a message.
func (m *mover) where(ctx context.Context, msg *Message) (mailbox.MailboxID, error) {
	if msg.Mailbox == "" {
		return m.own(ctx)
	}
	m.strewn = true
	if id := m.targets[msg.Mailbox]; id != 0 {
		return id, nil
	}
	req := Prepare{Account: m.im.Account, Name: m.im.target(msg.Mailbox), Subscribe: true}
	if m.im.Into == "" {
		if u := useByName(msg.Mailbox); u != mailbox.UseNone {
			req.Use = u.String()
		}
	}
	got, err := m.im.Store.Prepare(ctx, req)
	if err != nil {
		return 0, ofStore(err)
	}
	m.targets[msg.Mailbox] = got.ID
	return got.ID, nil
}

// flush moves the batch. When the source fails in the middle, what was whole until
// then is stored.
func (m *mover) flush(ctx context.Context) error {
	if len(m.batch) == 0 {
		return nil
	}
	im := m.im
	list := m.batch
	m.batch, m.octets = nil, 0
	if im.Try {
		for _, msg := range list {
			im.report.Imported++
			im.report.Octets += msg.Size
		}
		m.p.Messages += int64(len(list))
		m.p.Octets = im.report.Octets
		m.tell()
		return nil
	}
	up := &upload{boxes: map[*Message]mailbox.MailboxID{}, ctx: ctx, m: m}
	for _, msg := range list {
		id, err := m.where(ctx, msg)
		if err != nil {
			return err
		}
		up.boxes[msg] = id
	}
	r, w := io.Pipe()
	up.w = newFrameWriter(w)
	failed := make(chan error, 1)
	go func() {
		err := im.Source.Bodies(ctx, m.f, list, up)
		if up.broken == nil {
			up.broken = errors.Join(up.w.drop(), up.w.end())
		}
		w.CloseWithError(up.broken)
		failed <- err
	}()
	got, err := im.Store.Put(ctx, Put{Account: im.Account, Source: m.f.Key, Validity: m.f.UIDValidity, KeepUIDs: m.keep, OverQuota: im.OverQuota}, r)
	r.CloseWithError(errStopped)
	srcErr := <-failed
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ofStore(err)
	}
	im.report.Imported += int64(got.Stored)
	im.report.Before += int64(got.Again)
	im.report.Failed += up.dropped
	im.report.Octets += up.octets
	if got.Fresh != "" {
		m.keep = false
		im.note("%s: UIDs are new: %s", m.f.Name, got.Fresh)
	}
	for _, k := range got.Dropped {
		im.note("%s: keyword %s cannot be kept", m.f.Name, k)
	}
	m.p.Messages += int64(got.Stored + got.Again)
	m.p.Octets = im.report.Octets
	m.tell()
	if srcErr != nil {
		return sourceError{srcErr}
	}
	return nil
}

var errStopped = errors.New("the batch is not wanted any more")

// upload turns messages into frames. It is used by one goroutine, and read after
// that has ended.
type upload struct {
	ctx     context.Context
	m       *mover
	w       *frameWriter
	boxes   map[*Message]mailbox.MailboxID
	size    int64
	octets  int64
	dropped int64
	broken  error // nobody reads any more
}

// Begin implements [Sink].
func (u *upload) Begin() (io.Writer, error) {
	if u.broken == nil {
		u.broken = u.w.drop()
	}
	u.size = 0
	return (*uploadBody)(u), u.broken
}

type uploadBody upload

func (u *uploadBody) Write(p []byte) (int, error) {
	n, err := u.w.Write(p)
	u.size += int64(n)
	if err != nil {
		u.broken = err
	}
	return n, err
}

// Done implements [Sink].
func (u *upload) Done(m *Message) error {
	meta := PutMeta{Mailbox: u.boxes[m], Item: m.Item, UIDL: m.UIDL, Flags: m.Flags}
	if m.Mailbox == "" {
		meta.UID = m.UID
	}
	if !m.Date.IsZero() {
		meta.Date = m.Date.Unix()
	}
	u.octets += u.size
	err := u.w.meta(meta)
	if err != nil {
		u.broken = err
	}
	return err
}

// Drop implements [Sink].
func (u *upload) Drop(m *Message, why error) error {
	u.dropped++
	u.m.im.note("%s: message %s: %v", u.m.f.Name, m.Item, why)
	if u.broken == nil {
		u.broken = u.w.drop()
	}
	return u.broken
}
