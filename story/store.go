package story

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Options says what a [Store] works with and how much it keeps. A zero limit
// means its default.
type Options struct {
	Logger *slog.Logger
	// IDs orders the events; rooms that make ids of messages share it.
	IDs *postino.IDs
	// MaxAge is how long a story is kept after its message came: 30 days.
	MaxAge time.Duration
	// MaxBytes is about how much room all stories take: 1 GiB.
	MaxBytes int64
	// Pending is how many noted events wait for the background writer at most:
	// 4,096. Further ones are dropped and counted.
	Pending int
	// Every is the pause between two looks for stories to trim: 10 minutes.
	Every time.Duration
}

// Store keeps stories. All methods may be called from any goroutine.
type Store struct {
	db      kv.DB
	opts    Options
	observe observer
	bytes   atomic.Int64 // about what the stories take; measured at start

	mu      sync.Mutex
	pending []*Event
	dropped int

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// New returns a store in db and starts its background writer.
func New(db kv.DB, opts Options) *Store {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.IDs == nil {
		opts.IDs = new(postino.IDs)
	}
	setDefault(&opts.MaxAge, 30*24*time.Hour)
	setDefault(&opts.MaxBytes, 1<<30)
	setDefault(&opts.Pending, 4096)
	setDefault(&opts.Every, 10*time.Minute)
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{db: db, opts: opts, observe: observer{log: opts.Logger},
		wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	if err := s.observeIDs(ctx); err != nil {
		s.observe.failed("read the newest event", err)
	}
	go s.run(ctx)
	return s
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// observeIDs tells the generator of the newest ids in the store, so that none
// is given again after the clock was set back.
func (s *Store) observeIDs(ctx context.Context) error {
	newest := kv.Prefix([]byte{'s', 'e'})
	newest.Reverse, newest.Limit = true, 1
	return s.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(newest, func(key, _ []byte) bool {
			if message, seq, ok := parseKey(key); ok {
				s.opts.IDs.Observe(postino.ID(max(message, seq)))
			}
			return false
		})
	})
}

// Close writes the noted events that are still waiting and ends the background
// writer. It leaves the db open.
func (s *Store) Close() {
	s.stop()
	<-s.done
}

// Event makes an event that happens now, without facts.
func (s *Store) Event(message postino.ID, kind Kind, now time.Time) *Event {
	return newEvent(message, s.opts.IDs.Next(now), kind)
}

// Append writes e and its index rows with tx. It reads nothing and needs no
// scope: nobody else writes these rows.
func (s *Store) Append(tx kv.Tx, e *Event) error {
	var kb [2 + 16]byte
	if err := tx.Set(eventKey(kb[:0], e.Message, e.Seq), e.packed); err != nil {
		return err
	}
	s.bytes.Add(int64(len(kb) + len(e.packed)))
	var err error
	eachHash(e, func(h uint64) bool {
		err = tx.Set(indexKey(kb[:0], h, e.Message), nil)
		s.bytes.Add(int64(len(kb)))
		return err == nil
	})
	return err
}

// Note hands events to the background writer, which writes them within a
// second. A power cut can lose them; when too many wait they are dropped, and
// counted in a later event.
func (s *Store) Note(events ...*Event) {
	if len(events) == 0 {
		return
	}
	s.mu.Lock()
	room := min(len(events), s.opts.Pending-len(s.pending))
	s.pending = append(s.pending, events[:room]...)
	s.dropped += len(events) - room
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes noted events and trims, until Close.
func (s *Store) run(ctx context.Context) {
	defer close(s.done)
	if err := s.measure(ctx); err != nil && ctx.Err() == nil {
		s.observe.failed("measure", err)
	}
	tick := time.NewTicker(s.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return
		case <-s.wake:
			s.flush(ctx)
			pause(ctx, 200*time.Millisecond) // lets the next batch grow
		case <-tick.C:
			if err := s.Trim(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.observe.failed("trim", err)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// batch is how many events one transaction writes or removes at most.
const batch = 512

// flush writes all noted events. What cannot be written is dropped: refusals
// are not worth stopping for.
func (s *Store) flush(ctx context.Context) {
	s.mu.Lock()
	events, dropped := s.pending, s.dropped
	s.pending, s.dropped = nil, 0
	s.mu.Unlock()
	if dropped > 0 {
		now := time.Now()
		events = append(events, s.Event(s.opts.IDs.Next(now), Note, now).
			Text(Reason, "too many refusals at once: some were not written").Int(Count, int64(dropped)))
		s.observe.dropped(dropped)
	}
	for len(events) > 0 {
		part := events[:min(len(events), batch)]
		events = events[len(part):]
		err := s.db.Update(ctx, nil, func(tx kv.Tx) error {
			for _, e := range part {
				if err := s.Append(tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.observe.failed("write", err)
		}
	}
}

// Keys.

func eventKey(dst []byte, message, seq postino.ID) []byte {
	dst = append(dst, 's', 'e')
	dst = binary.BigEndian.AppendUint64(dst, uint64(message))
	return binary.BigEndian.AppendUint64(dst, uint64(seq))
}

func indexKey(dst []byte, hash uint64, message postino.ID) []byte {
	dst = append(dst, 's', 'x')
	dst = binary.BigEndian.AppendUint64(dst, hash)
	return binary.BigEndian.AppendUint64(dst, uint64(message))
}

// parseKey reads what eventKey and indexKey wrote: two numbers.
func parseKey(key []byte) (a, b uint64, ok bool) {
	if len(key) != 18 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(key[2:]), binary.BigEndian.Uint64(key[10:]), true
}

// eachHash calls fn for the index rows of e, until it returns false. The null
// sender has none: half of all reports would be below it.
func eachHash(e *Event, fn func(hash uint64) bool) {
	for p := e.packed[2:]; len(p) > 0; {
		k, v, rest, ok := cut(p)
		if !ok {
			return
		}
		if p = rest; k.indexed() && len(v) > 0 && !fn(hashOf(v)) {
			return
		}
	}
}

// hashOf is FNV-1a over v with ASCII letters folded. It only has to spread:
// a collision costs the reading of one story.
func hashOf(v []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range v {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// has tells whether an indexed fact of e is text.
func (e *Event) has(text string) bool {
	for p := e.packed[2:]; len(p) > 0; {
		k, v, rest, ok := cut(p)
		if !ok {
			return false
		}
		if p = rest; k.indexed() && len(v) == len(text) && strings.EqualFold(string(v), text) {
			return true
		}
	}
	return false
}

// Get returns the events of a message in order. The error is NotFound when
// there are none.
func (s *Store) Get(ctx context.Context, message postino.ID) (events []*Event, err error) {
	err = s.db.View(ctx, nil, func(r kv.Reader) error {
		events, err = read(r, message)
		return err
	})
	if err == nil && len(events) == 0 {
		err = postino.E(postino.NotFound, "find story", message.String(), nil)
	}
	return events, err
}

// read returns the events of a message within a transaction.
func read(r kv.Reader, message postino.ID) (events []*Event, err error) {
	var kb [18]byte
	prefix := bytes.Clone(eventKey(kb[:0], message, 0)[:10])
	scanErr := r.Scan(kv.Prefix(prefix), func(key, value []byte) bool {
		_, seq, ok := parseKey(key)
		if !ok {
			return true
		}
		var e *Event
		if e, err = decode(message, postino.ID(seq), value); err == nil {
			events = append(events, e)
		}
		return err == nil
	})
	if err == nil {
		err = scanErr
	}
	return events, err
}

// Query says which stories [Store.Find] looks for.
type Query struct {
	// Text is an id, a Message-ID (with or without angle brackets), or the
	// address of a sender or recipient.
	Text string
	// Limit bounds the answer; 0 means 100.
	Limit int
}

// Find returns the messages that q names, newest first.
func (s *Store) Find(ctx context.Context, q Query) (found []postino.ID, err error) {
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	text := strings.TrimSpace(q.Text)
	if id, err := postino.ParseID(text); err == nil {
		if events, err := s.Get(ctx, id); err == nil && len(events) > 0 {
			return []postino.ID{id}, nil
		}
	}
	words := []string{text}
	if a, err := postino.ParseAddress(strings.Trim(text, "<>")); err == nil {
		words = append(words, a.String())
	}
	if !strings.HasPrefix(text, "<") {
		words = append(words, "<"+text+">")
	}
	for _, w := range words {
		if found, err = s.lookup(ctx, w, limit); err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, postino.E(postino.NotFound, "find story", postino.Printable(text), nil)
}

// lookup follows the index rows of one word.
func (s *Store) lookup(ctx context.Context, word string, limit int) (found []postino.ID, err error) {
	prefix := indexKey(nil, hashOf([]byte(word)), 0)[:10]
	r := kv.Prefix(prefix)
	r.Reverse = true
	err = s.db.View(ctx, nil, func(tx kv.Reader) error {
		found = nil
		var candidates []postino.ID
		err := tx.Scan(r, func(key, _ []byte) bool {
			if _, id, ok := parseKey(key); ok {
				candidates = append(candidates, postino.ID(id))
			}
			return len(candidates) < limit
		})
		if err != nil {
			return err
		}
		for _, id := range candidates {
			events, err := read(tx, id)
			if err != nil {
				return err
			}
			for _, e := range events {
				if e.has(word) {
					found = append(found, id)
					break
				}
			}
		}
		return nil
	})
	return found, err
}
