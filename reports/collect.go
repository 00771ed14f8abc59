package reports

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
)

// CollectorOptions bounds what is collected for reports to others. A zero number
// means the default that its comment names, never "unlimited".
type CollectorOptions struct {
	// Every is how often what was counted is written down: 1 minute. A crash loses
	// that much of the statistics, and no mail.
	Every time.Duration
	// Memory bounds what waits to be written, in octets: 16 MiB. When half of it
	// is used it is written at once; when all is, further rows are dropped.
	Memory int
	// Rows is how many rows one domain has a day: 10,000; DayRows all domains
	// together: 200,000; Domains how many have a report a day: 10,000. What goes
	// beyond is counted and not told apart (G10).
	Rows, DayRows, Domains int
	// Failures, when not nil, takes what may deserve a report at once: a method of the Mailer.
	Failures func(*DMARCFailure)
	Logger   *slog.Logger
	Metrics  *metric.Registry
}

// Collector counts, while mail goes in and out, what is to be reported to other
// domains. Its methods may be called from any goroutine and never wait for the
// store. A nil Collector takes and forgets all.
type Collector struct {
	db   kv.DB
	o    CollectorOptions
	drop *metric.Counter

	mu    sync.Mutex
	now   batch
	full  chan struct{} // tells the writer that half of the memory is used
	stop  chan struct{}
	ended chan struct{}
	once  sync.Once
}

// batch is what was counted since the last write.
type batch struct {
	domains map[string]*domainDay // by key of the domain and day
	rows    map[string]*tally     // by that key and the row
	octets  int
	dropped int64
}

// tally is how often a row was seen.
type tally struct {
	domain          *domainDay
	row             int // where the row begins in the key
	count, sessions int64
}

// domainDay is what is kept of a domain and day besides its rows.
type domainDay struct {
	Policy  DMARCPolicy `json:"policy,omitzero"`
	RUA     []string    `json:"rua,omitempty"`
	Problem string      `json:"problem,omitempty"`
	// Owed tells that more than reports came or went.
	Owed bool `json:"owed,omitempty"`
	Rows int  `json:"rows"`
	// Lost counts what found no room in the rows.
	Lost int64 `json:"lost,omitempty"`
}

// NewCollector returns a collector that writes to db until Close.
func NewCollector(db kv.DB, o CollectorOptions) *Collector {
	for field, def := range map[*int]int{&o.Memory: 16 << 20, &o.Rows: 10_000, &o.DayRows: 200_000, &o.Domains: 10_000} {
		if *field <= 0 {
			*field = def
		}
	}
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Collector{
		db: db, o: o, now: newBatch(), full: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
		drop: o.Metrics.Counter("postino_reports_dropped_total", "Outcomes that are in no report because there were too many different ones."),
	}
	go c.run()
	return c
}

func newBatch() batch { return batch{domains: map[string]*domainDay{}, rows: map[string]*tally{}} }

// DMARC counts one judged message. One whose domain wants no reports is passed
// over.
func (c *Collector) DMARC(o DMARCOutcome) {
	if c == nil || len(o.RUA) == 0 || !plainDomain(o.Policy.Domain) || !o.Source.IsValid() {
		return
	}
	c.count(dmarcKind, o.Policy.Domain, o.Time, o.appendRow, 1, func(d *domainDay) {
		d.Owed = d.Owed || !o.Report
		if !slices.Equal(d.RUA, o.RUA) || d.Policy != o.Policy || d.Problem != o.Problem { // the last policy counts (RFC 9990 §3.1)
			d.Policy, d.RUA, d.Problem = o.Policy, slices.Clone(o.RUA), o.Problem
		}
	})
}

// TLS counts one connection.
func (c *Collector) TLS(o TLSOutcome) {
	if o.Domain == "" {
		o.Domain = o.Policy.Domain
	}
	if c == nil || !plainDomain(o.Domain) {
		return
	}
	sessions := int64(0)
	if o.Session {
		sessions = 1
	}
	c.count(tlsKind, o.Domain, o.Time, o.appendRow, sessions, func(d *domainDay) { d.Owed = d.Owed || !o.Report })
}

// DMARCFailure takes a message that failed and may deserve a report at once.
func (c *Collector) DMARCFailure(f DMARCFailure) {
	if c != nil && c.o.Failures != nil && len(f.RUF) > 0 {
		c.o.Failures(&f)
	}
}

// What a row and a domain take of memory besides their octets, about.
const (
	rowCost    = 128
	domainCost = 512
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// count adds one to the row of a domain and day.
func (c *Collector) count(kind byte, domain string, at time.Time, row func([]byte) []byte, sessions int64, note func(*domainDay)) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := domainKey((*buf)[:0], metaRow, kind, dayOf(at), domain)
	split := len(b)
	b = row(b)
	*buf = b
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.now.domains[string(b[:split])]
	if d == nil {
		if c.now.octets+domainCost > c.o.Memory {
			c.lose(1)
			return
		}
		d = &domainDay{}
		c.now.domains[string(b[:split])] = d
		c.now.octets += domainCost
	}
	note(d)
	t := c.now.rows[string(b)]
	if t == nil {
		if c.now.octets+len(b)+rowCost > c.o.Memory {
			d.Lost++
			c.lose(1)
			return
		}
		t = &tally{domain: d, row: split}
		c.now.rows[string(b)] = t
		if c.now.octets += len(b) + rowCost; c.now.octets > c.o.Memory/2 {
			c.hurry()
		}
	}
	t.count++
	t.sessions += sessions
}

func (c *Collector) lose(n int64) {
	c.now.dropped += n
	c.drop.Add(float64(n))
}

func (c *Collector) hurry() {
	select {
	case c.full <- struct{}{}:
	default:
	}
}

// run writes until Close.
func (c *Collector) run() {
	defer close(c.ended)
	tick := time.NewTicker(c.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.full:
		case <-c.stop:
			c.flush()
			return
		}
		c.flush()
	}
}

// Close writes what was counted and ends the writer. The store is still open.
func (c *Collector) Close() {
	if c == nil {
		return
	}
	c.once.Do(func() { close(c.stop) })
	<-c.ended
}

// flush writes what was counted, in one transaction. What cannot be written
// is counted as lost: a store that does not write has greater sorrows.
func (c *Collector) flush() {
	c.mu.Lock()
	b := c.now
	c.now = newBatch()
	c.mu.Unlock()
	if len(b.domains) == 0 {
		return
	}
	if err := c.write(&b); err != nil {
		c.o.Logger.Warn("reports: statistics were not written", "rows", len(b.rows), "err", err)
		c.drop.Add(float64(len(b.rows)))
	}
	if b.dropped > 0 {
		c.o.Logger.Warn("reports: too many different outcomes, some are not told apart", "dropped", b.dropped)
	}
}

// write adds the batch to what is stored.
func (c *Collector) write(b *batch) error {
	ctx := context.Background()
	byDomain := map[string][]string{} // the rows of each domain
	for key, t := range b.rows {
		byDomain[key[:t.row]] = append(byDomain[key[:t.row]], key)
	}
	return c.db.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error {
		days := map[uint64]*dayTotal{}
		for key, fresh := range b.domains {
			day := days[keyDay(key)]
			if day == nil {
				day = &dayTotal{}
				if err := getJSON(tx, dayKey(nil, keyDay(key)), day); err != nil {
					return err
				}
				days[keyDay(key)] = day
			}
			if err := c.writeDomain(tx, key, fresh, day, byDomain[key], b.rows); err != nil {
				return err
			}
		}
		for n, day := range days {
			if err := setJSON(tx, dayKey(nil, n), day); err != nil {
				return err
			}
		}
		return nil
	})
}

// dayTotal is how much is stored for a day.
type dayTotal struct {
	Domains int `json:"domains"`
	Rows    int `json:"rows"`
}

func (c *Collector) writeDomain(tx kv.Tx, key string, fresh *domainDay, day *dayTotal, keys []string, rows map[string]*tally) error {
	var d domainDay
	raw, known, err := tx.Get([]byte(key))
	if err != nil {
		return err
	}
	if known {
		if err := unmarshal(raw, &d); err != nil {
			return err
		}
	} else if day.Domains >= c.o.Domains {
		c.drop.Add(float64(len(keys)))
		return nil
	} else {
		day.Domains++
	}
	d.Policy, d.RUA, d.Problem = fresh.Policy, fresh.RUA, fresh.Problem
	d.Owed, d.Lost = d.Owed || fresh.Owed, d.Lost+fresh.Lost
	for _, k := range keys {
		if err := c.writeRow(tx, &d, day, key, k[len(key):], rows[k]); err != nil {
			return err
		}
	}
	return setJSON(tx, []byte(key), &d)
}

func (c *Collector) writeRow(tx kv.Tx, d *domainDay, day *dayTotal, domain, row string, t *tally) error {
	key := rowKey(nil, domain, row)
	v, known, err := tx.Get(key)
	if err != nil {
		return err
	}
	count, sessions := t.count, t.sessions
	if known {
		old, err := splitRow(v)
		if err != nil {
			return err
		}
		count, sessions = count+old.count, sessions+old.sessions
	} else if d.Rows >= c.o.Rows || day.Rows >= c.o.DayRows {
		d.Lost += t.count
		return nil
	} else {
		d.Rows++
		day.Rows++
	}
	v = binary.AppendUvarint([]byte{rowVersion}, uint64(count))
	v = binary.AppendUvarint(v, uint64(sessions))
	return tx.Set(key, append(v, row...))
}

// storedRow is a row as it is stored.
type storedRow struct {
	count, sessions int64
	row             []byte
}

// splitRow reads the value of a row.
func splitRow(v []byte) (storedRow, error) {
	p := packed{b: v}
	version := p.octet()
	if version != rowVersion && !p.bad {
		return storedRow{}, newer("row of a report", version)
	}
	r := storedRow{count: int64(p.number()), sessions: int64(p.number())}
	if p.bad {
		return storedRow{}, postino.E(postino.Corrupt, "read row of a report", "", nil)
	}
	r.row = p.b
	return r, nil
}

// getJSON reads a row of JSON behind its version, if it is there.
func getJSON(r kv.Reader, key []byte, v any) error {
	b, ok, err := r.Get(key)
	if err != nil || !ok {
		return err
	}
	return unmarshal(b, v)
}

func unmarshal(b []byte, v any) error {
	const op = "read reports"
	switch {
	case len(b) == 0:
		return postino.E(postino.Corrupt, op, "", nil)
	case b[0] != jsonVersion:
		return newer("reports", b[0])
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return postino.E(postino.Corrupt, op, "", err)
	}
	return nil
}

func setJSON(tx kv.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Set(key, append([]byte{jsonVersion}, b...))
}
