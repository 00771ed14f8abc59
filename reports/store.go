package reports

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// StoreOptions bounds what is kept of the reports that others send. A zero number
// means its default.
type StoreOptions struct {
	// MaxAge is how long a report is kept after the time that it tells of: 400 days.
	MaxAge time.Duration
	// MaxBytes is about how much room all take: 256 MiB. One day has a twentieth of
	// it, of which a quarter for reports that are not proven to be their sender's.
	MaxBytes int64
}

// Store keeps the reports that others send us. Its methods may be called from any
// goroutine.
type Store struct {
	db kv.DB
	o  StoreOptions
}

// NewStore returns the store in db.
func NewStore(db kv.DB, o StoreOptions) *Store {
	o.MaxAge, o.MaxBytes = cmp.Or(o.MaxAge, 400*24*time.Hour), cmp.Or(o.MaxBytes, 256<<20)
	return &Store{db: db, o: o}
}

// Received is a report that came, with how it came.
type Received struct {
	// By is the domain that sent it, Verified that it proved to be that domain
	// (DMARC). A file has neither.
	By       string    `json:"by,omitempty"`
	Verified bool      `json:"verified,omitempty"`
	Time     time.Time `json:"time"`
	// One of these.
	DMARC    *Aggregate `json:"dmarc,omitempty"`
	TLS      *TLSReport `json:"tls,omitempty"`
	Feedback *Feedback  `json:"feedback,omitempty"`
}

// arfKind is the third kind beside those of keys.go.
const arfKind = 'a'

// parts of a report that its key is made of.
func (r *Received) parts() (kind byte, domain string, begin time.Time, identity []string) {
	switch {
	case r.DMARC != nil:
		a := r.DMARC
		return dmarcKind, a.Policy.Domain, a.Begin, []string{a.Org, a.Email, a.ID}
	case r.TLS != nil:
		t := r.TLS
		return tlsKind, t.Domain(), t.Begin, []string{t.Org, t.Contact, t.ID}
	}
	f := r.Feedback
	b, _ := json.Marshal(f) // there is no id: the same words are the same report
	return arfKind, f.About(), r.Time, []string{string(b)}
}

// inDay is how much is kept of a day.
type inDay struct {
	Bytes    int64 `json:"bytes"`
	Unproven int64 `json:"unproven"` // of these, octets of reports that nobody proved
}

// Scopes are what Add depends on.
func (s *Store) Scopes() []kv.Scope { return []kv.Scope{scope} }

// Add keeps a report with tx. known tells that it was there before; a report that
// is proven takes the place of one that is not. The error is of kind Invalid when
// the report is of no time that is kept, Full when the day has too many.
func (s *Store) Add(tx kv.Tx, r *Received) (known bool, err error) {
	const op = "keep report"
	kind, domain, begin, identity := r.parts()
	if !plainDomain(domain) {
		return false, postino.E(postino.Invalid, op, "", errors.New("it is about no domain"))
	}
	if begin.After(r.Time.Add(48*time.Hour)) || r.Time.Sub(begin) > s.o.MaxAge {
		return false, postino.E(postino.Invalid, op, domain, fmt.Errorf("it is about %s", begin.Format(time.DateOnly)))
	}
	if err := own(tx, r, identity); err != nil {
		return false, err
	}
	key := domainKey(nil, inRow, kind, dayOf(begin), domain)
	sum := sha256.New()
	for _, part := range identity {
		sum.Write(append([]byte(part), 0))
	}
	key = append(key, sum.Sum(nil)[:16]...)
	old, known, err := s.get(tx, key)
	if err != nil || known && (old.Verified || !r.Verified) {
		return known, err
	}
	value, err := r.encode()
	if err != nil {
		return false, err
	}
	if err := s.reserve(tx, dayOf(begin), int64(len(key)+len(value)), r.Verified); err != nil {
		return false, err
	}
	return known, tx.Set(key, value)
}

// own marks a report that we sent ourselves about a domain of ours: nobody judged
// the mail that brought it.
func own(tx kv.Reader, r *Received, identity []string) error {
	kind, domain, begin, _ := r.parts()
	var s Sent
	if err := getJSON(tx, domainKey(nil, sentRow, kind, dayOf(begin), domain), &s); err != nil {
		return err
	}
	if id := identity[len(identity)-1]; s.ID != "" && s.ID == id {
		r.Verified = true
	}
	return nil
}

// reserve counts octets of a day, unless it has too many.
func (s *Store) reserve(tx kv.Tx, day uint64, n int64, proven bool) error {
	key := dayKey(nil, day)
	key[1] = inDayRow
	var d inDay
	if err := getJSON(tx, key, &d); err != nil {
		return err
	}
	d.Bytes += n
	if !proven {
		d.Unproven += n
	}
	if most := s.o.MaxBytes / 20; d.Bytes > most || d.Unproven > most/4 {
		return postino.E(postino.Full, "keep report", dayStart(day).Format(time.DateOnly), errors.New("there are too many of that day"))
	}
	return setJSON(tx, key, &d)
}

// packedVersion stands before packed JSON.
const packedVersion = 1

func (r *Received) encode() ([]byte, error) {
	out := bytes.NewBuffer([]byte{packedVersion})
	z := gzip.NewWriter(out)
	err := errors.Join(json.NewEncoder(z).Encode(r), z.Close())
	if err == nil && out.Len() > kv.MaxValue {
		err = postino.E(postino.Full, "keep report", "", errLarge)
	}
	return out.Bytes(), err
}

func decodeReceived(b []byte) (*Received, error) {
	const op = "read kept report"
	if len(b) == 0 || b[0] != packedVersion {
		if len(b) > 0 && b[0] > packedVersion {
			return nil, newer("report", b[0])
		}
		return nil, postino.E(postino.Corrupt, op, "", nil)
	}
	z, err := gzip.NewReader(bytes.NewReader(b[1:]))
	if err != nil {
		return nil, postino.E(postino.Corrupt, op, "", err)
	}
	r := &Received{}
	if err := json.NewDecoder(io.LimitReader(z, 256<<20)).Decode(r); err != nil || r.DMARC == nil && r.TLS == nil && r.Feedback == nil {
		return nil, postino.E(postino.Corrupt, op, "", err)
	}
	return r, nil
}

func (s *Store) get(r kv.Reader, key []byte) (old *Received, known bool, err error) {
	b, known, err := r.Get(key)
	if err != nil || !known {
		return nil, known, err
	}
	old, err = decodeReceived(b)
	return old, known, err
}

// Import keeps the reports of a file; known of them were there before.
func (s *Store) Import(ctx context.Context, in *Reports, now time.Time) (fresh, known int, err error) {
	err = s.db.Update(ctx, s.Scopes(), func(tx kv.Tx) (err error) {
		fresh, known, err = s.AddAll(tx, in, Received{Time: now})
		return err
	})
	return fresh, known, err
}

// AddAll keeps all reports of a message or file that came as how says.
func (s *Store) AddAll(tx kv.Tx, in *Reports, how Received) (fresh, known int, err error) {
	var all []Received
	for _, a := range in.DMARC {
		all = append(all, Received{DMARC: a})
	}
	for _, t := range in.TLS {
		all = append(all, Received{TLS: t})
	}
	for _, f := range in.Feedback {
		all = append(all, Received{Feedback: f})
	}
	for i := range all {
		r := &all[i]
		r.By, r.Verified, r.Time = how.By, how.Verified, how.Time
		old, err := s.Add(tx, r)
		switch {
		case err != nil:
			return 0, 0, err
		case old:
			known++
		default:
			fresh++
		}
	}
	return fresh, known, nil
}

// Kind names a kind of reports.
type Kind string

// The kinds of reports that come.
const (
	KindDMARC Kind = "dmarc"
	KindTLS   Kind = "tls"
	KindAbuse Kind = "abuse"
)

func (k Kind) octet() byte {
	switch k {
	case KindTLS:
		return tlsKind
	case KindAbuse:
		return arfKind
	}
	return dmarcKind
}

// Each calls fn for the reports about a domain, or all domains when it is empty,
// from the day of since on, in the order of days, until fn returns false. One
// report is in memory at a time.
func (s *Store) Each(ctx context.Context, kind Kind, domain string, since, now time.Time, fn func(*Received) bool) error {
	for day, last := dayOf(since), dayOf(now)+2; day <= last; day++ {
		prefix := domainKey(nil, inRow, kind.octet(), day, domain)
		if domain == "" {
			prefix = prefix[:len(prefix)-1]
		}
		goOn, err := s.eachOf(ctx, prefix, fn)
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

func (s *Store) eachOf(ctx context.Context, prefix []byte, fn func(*Received) bool) (goOn bool, err error) {
	var values [][]byte
	err = s.db.View(ctx, s.Scopes(), func(r kv.Reader) error {
		values = nil
		return r.Scan(kv.Prefix(prefix), func(_, v []byte) bool { values = append(values, slices.Clone(v)); return true })
	})
	if err != nil {
		return false, err
	}
	for _, v := range values {
		r, err := decodeReceived(v)
		if err != nil {
			return false, err
		}
		if !fn(r) {
			return false, nil
		}
	}
	return true, nil
}

// Run removes what is too old or too much, every hour, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.Trim(ctx, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Trim removes the reports about days before now - MaxAge, and then the oldest
// until all fit in MaxBytes.
func (s *Store) Trim(ctx context.Context, now time.Time) error {
	first := dayOf(now.Add(-s.o.MaxAge))
	type size struct {
		day   uint64
		bytes int64
	}
	var days []size
	err := s.db.View(ctx, s.Scopes(), func(r kv.Reader) error {
		days = nil
		var bad error
		err := r.Scan(kv.Prefix([]byte{'R', inDayRow}), func(k, v []byte) bool {
			var d inDay
			bad = unmarshal(v, &d)
			days = append(days, size{keyDay(k), d.Bytes})
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return err
	}
	total := int64(0)
	for _, d := range slices.Backward(days) { // the newest stay
		if total += d.bytes; d.day < first || total > s.o.MaxBytes {
			for _, row := range [...]byte{inRow, inDayRow} {
				key := dayKey(nil, d.day)
				key[1] = row
				err = errors.Join(err, remove(ctx, s.db, kv.Prefix(key)))
			}
		}
	}
	return err
}
