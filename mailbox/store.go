package mailbox

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
)

// Limits bound what an account can hold; zero fields mean the default.
type Limits struct {
	Mailboxes     int // 10,000 in an account
	Subscriptions int // 20,000 in an account
	ACLEntries    int // 1,000 for a mailbox
	Metadata      int // 100 entries of a mailbox that are shared, or private to one viewer
	MetadataValue int // 64 KiB in an entry
	MetadataBytes int // 16 MiB in all entries of an account, with their names
	NameLevel     int // 255 octets in one level of a name (IM10)
	NameLevels    int // 20 levels in a name (IM10)
	Prefix        int // 64 KiB of header lines put before a body
	QueryDepth    int // 50 levels of a search (IM3)
	QueryNodes    int // 10,000 keys of a search
	IndexTerms    int // 50,000 different terms of an email; one with more is always searched by reading it
	IndexText     int // 16 MiB of decoded text of an email; likewise
}

// Options of a [Store]; zero fields mean the default.
type Options struct {
	Logger  *slog.Logger     // discards
	Metrics *metric.Registry // nil counts nothing
	Limits  Limits
	// FoldRecords and FoldBytes are the length of the log's tail that makes a
	// checkpoint due: 512 records, 256 KiB.
	FoldRecords int
	FoldBytes   int64
	// LogAge and LogBytes are how long and how much of an account's log is kept
	// after it is folded, for clients that were away: 60 days, 16 MiB.
	LogAge   time.Duration
	LogBytes int64
	// Resident is about how many octets of columns of accounts that nobody uses
	// stay in memory: 256 MiB.
	Resident int64
	// SortCache is about how many octets of columns stay in memory for the next
	// SORT or THREAD, of all accounts: 64 MiB.
	SortCache int64
	// Grace is how long an expunged email can still be read by sessions that
	// have not yet heard of it, before it is swept: 10 minutes.
	Grace time.Duration
	// IndexCache is about how many octets of the search index stay in memory: 64 MiB.
	IndexCache int64
	// IndexEmails is how many new emails of an account are indexed at once, when no
	// more have come for some seconds, or they are two hundred times as many: 500.
	// An eighth of it is enough when none has come for IndexDelay, 5 minutes.
	// Searches read the emails that are not indexed yet.
	IndexEmails int
	IndexDelay  time.Duration
	// IndexShare is how many percent of one core indexing takes: 25.
	IndexShare int
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	orDefault(&o.Limits.Mailboxes, 10_000)
	orDefault(&o.Limits.Subscriptions, 20_000)
	orDefault(&o.Limits.ACLEntries, 1000)
	orDefault(&o.Limits.Metadata, 100)
	orDefault(&o.Limits.MetadataValue, 64<<10)
	orDefault(&o.Limits.MetadataBytes, 16<<20)
	orDefault(&o.Limits.NameLevel, 255)
	orDefault(&o.Limits.NameLevels, 20)
	orDefault(&o.Limits.Prefix, 64<<10)
	orDefault(&o.Limits.QueryDepth, 50)
	orDefault(&o.Limits.QueryNodes, 10_000)
	orDefault(&o.Limits.IndexTerms, 50_000)
	orDefault(&o.Limits.IndexText, 16<<20)
	orDefault(&o.IndexCache, 64<<20)
	orDefault(&o.IndexEmails, 500)
	orDefault(&o.IndexDelay, 5*time.Minute)
	orDefault(&o.IndexShare, 25)
	orDefault(&o.FoldRecords, 512)
	orDefault(&o.FoldBytes, 256<<10)
	orDefault(&o.LogAge, 60*24*time.Hour)
	orDefault(&o.LogBytes, 16<<20)
	orDefault(&o.Resident, 256<<20)
	orDefault(&o.SortCache, 64<<20)
	orDefault(&o.Grace, 10*time.Minute)
	return o
}

// Store keeps the accounts. All methods may be called from any goroutine.
type Store struct {
	db      kv.DB
	blobs   *blob.Store
	columns *columnCache
	opts    Options
	limits  Limits
	log     *slog.Logger
	met     meters
	foldTx  int
	index   *indexCache
	// indexWorth is as the constant says, but in tests.
	indexWorth int
	indexing   chan struct{} // size 1: held by who builds an index
	indexWake  chan struct{} // size 1: an account has many new emails

	mu       sync.Mutex
	accounts map[AccountID]*shared   // in memory, used or not
	idle     []*shared               // those that nobody uses, oldest first
	idleSize int64                   // octets of their columns
	hints    map[AccountID]hint      // changed by transactions of others
	due      map[AccountID]bool      // to be folded
	doomed   map[AccountID]*sentence // to be swept
	fresh    map[AccountID]*freshness
	wake     chan struct{} // size 1: due has grown
	behind   chan struct{} // size 1: a hint came after its commit
}

// New returns a store over db, with message bodies in blobs.
func New(db kv.DB, blobs *blob.Store, opts Options) *Store {
	opts = opts.withDefaults()
	return &Store{
		db: db, blobs: blobs, opts: opts, limits: opts.Limits, log: opts.Logger, met: newMeters(opts.Metrics), foldTx: foldTx,
		columns:  newColumnCache(opts.SortCache),
		accounts: map[AccountID]*shared{},
		hints:    map[AccountID]hint{},
		due:      map[AccountID]bool{},
		doomed:   map[AccountID]*sentence{},
		fresh:    map[AccountID]*freshness{},
		index:    newIndexCache(opts.IndexCache), indexWorth: indexWorth,
		indexing: make(chan struct{}, 1), indexWake: make(chan struct{}, 1),
		wake:   make(chan struct{}, 1),
		behind: make(chan struct{}, 1),
	}
}

// Scope returns the scope of all updates of an account.
func (s *Store) Scope(id AccountID) kv.Scope {
	return kv.Scope("a/" + strconv.FormatUint(uint64(id), 16))
}

// Quota is how much an account may hold, or holds; 0 as a limit means
// unlimited. Copies of a message in several mailboxes count each.
type Quota struct{ Bytes, Messages, Mailboxes int64 }

// valid tells whether q can be a limit.
func (q Quota) valid() bool { return q.Bytes >= 0 && q.Messages >= 0 && q.Mailboxes >= 0 }

// Usage is a quota and what is used of it.
type Usage struct {
	Limit, Used Quota
}

// firstBoxes are the mailboxes of a new account.
var firstBoxes = [...]struct {
	name string
	use  SpecialUse
}{
	{"INBOX", UseNone}, {"Archive", UseArchive}, {"Drafts", UseDrafts},
	{junkName, UseJunk}, {"Sent", UseSent}, {"Trash", UseTrash},
}

// junkName is the name of the mailbox for junk, until its owner renames it.
const junkName = "Junk"

// inbox is the number of INBOX in every account.
const inbox MailboxID = 1

// Create makes an account with INBOX and its special-use mailboxes, all
// subscribed. The caller's Update has the account's scope. Conflict when the
// account exists or is still being removed.
func (s *Store) Create(tx kv.Tx, id AccountID, q Quota, now time.Time) error {
	if id == 0 || !q.valid() {
		return postino.E(postino.Invalid, "create account", strconv.FormatUint(uint64(id), 16), nil)
	}
	for _, kind := range []byte{keyHead, keyGone} {
		if _, ok, err := tx.Get(accountKey(nil, id, kind)); ok || err != nil {
			return postino.E(postino.Conflict, "create account", strconv.FormatUint(uint64(id), 16), err)
		}
	}
	w := newWriter(s, tx, id, head{nextEmail: 1, nextMailbox: inbox, quota: q}, now)
	for _, b := range firstBoxes {
		if _, err := w.createBox(b.name, b.use); err != nil {
			return err
		}
		if err := w.subscribe(b.name); err != nil {
			return err
		}
	}
	return w.flush()
}

// Remove takes an account away: it is gone with the caller's Update; its rows
// and bodies are swept later by [Store.Run] or [Store.Sweep].
func (s *Store) Remove(tx kv.Tx, id AccountID) error {
	h, err := readHead(tx, id)
	if err != nil {
		return err
	}
	if err := tx.Set(accountKey(nil, id, keyGone), h.append(nil)); err != nil {
		return err
	}
	if err := tx.Delete(accountKey(nil, id, keyHead)); err != nil {
		return err
	}
	s.noticed(id, h.modseq)
	s.weigh(id, &h)
	return nil
}

// SetQuota changes the limits of an account.
func (s *Store) SetQuota(tx kv.Tx, id AccountID, q Quota) error {
	if !q.valid() {
		return postino.E(postino.Invalid, "set quota", "", nil)
	}
	h, err := readHead(tx, id)
	if err != nil {
		return err
	}
	h.quota = q
	w := newWriter(s, tx, id, h, time.Time{})
	return w.writeHead()
}

// Usage returns the quota of an account and what is used of it.
func (s *Store) Usage(r kv.Reader, id AccountID) (Usage, error) {
	h, err := readHead(r, id)
	return h.usage(), err
}

// Lookup finds a mailbox by its name, or by a special use such as `\Junk`;
// NotFound when there is none.
func (s *Store) Lookup(r kv.Reader, id AccountID, name string) (MailboxID, error) {
	use, byUse := ParseSpecialUse(name)
	if !byUse {
		var err error
		if name, err = s.CanonicalName(name); err != nil {
			return 0, err
		}
	}
	if name == "INBOX" {
		return inbox, nil
	}
	var found MailboxID
	var fail error
	err := r.Scan(kv.Prefix(accountKey(nil, id, keyBox)), func(k, v []byte) bool {
		row, err := decodeBox(MailboxID(keyNumber(k)), v)
		if err != nil {
			fail = err
			return false
		}
		if byUse && row.use&use != 0 || !byUse && row.name == name {
			found = row.id
		}
		return found == 0
	})
	if err == nil {
		err = fail
	}
	if err == nil && found == 0 {
		err = postino.E(postino.NotFound, "find mailbox", name, nil)
	}
	return found, err
}

// Ensure finds a mailbox by name and makes it, with its parents, when there is
// none; what it makes is subscribed. The caller's Update has the account's scope.
func (s *Store) Ensure(tx kv.Tx, id AccountID, name string, now time.Time) (MailboxID, error) {
	box, err := s.Lookup(tx, id, name)
	if !postino.Is(err, postino.NotFound) || strings.HasPrefix(name, `\`) {
		return box, err
	}
	if name, err = s.CanonicalName(name); err != nil {
		return 0, err
	}
	h, err := readHead(tx, id)
	if err != nil {
		return 0, err
	}
	st, err := loadState(tx, id, h)
	if err != nil {
		return 0, err
	}
	w := newWriter(s, tx, id, h, now)
	w.st = st
	made, err := w.createPath(name, UseNone)
	if err != nil {
		return 0, err
	}
	for _, m := range made {
		if err := w.subscribe(m.name); err != nil {
			return 0, err
		}
		box = m.id
	}
	s.noticed(id, w.head.modseq)
	return box, w.flush()
}

// view runs fn over the durable state of an account.
func (s *Store) view(ctx context.Context, id AccountID, fn func(kv.Reader) error) error {
	return s.db.View(ctx, []kv.Scope{s.Scope(id)}, fn)
}
