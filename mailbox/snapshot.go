package mailbox

import "iter"

// Row is what the columns of a mailbox hold about one message.
type Row struct {
	UID    UID
	Email  EmailID
	Thread ThreadID
	Flags  Mask
	ModSeq ModSeq
	Date   int64 // INTERNALDATE, Unix seconds
	Saved  int64 // when it came into this mailbox (RFC 8514), Unix seconds
	Size   int64 // RFC822.SIZE in octets
}

// Snapshot is a mailbox at one moment. It is immutable and may be kept; index i
// is sequence number i+1.
type Snapshot struct {
	row    *boxRow
	table  *table // nil while the columns are not in memory; never in what Open gave out
	modseq ModSeq
	gone   bool
	acl    acl
	// What a guest sees is made of the owner's snapshot and of what is his own.
	of      *Snapshot
	private *private
	lens    *lens
}

// Len returns the number of messages.
func (s *Snapshot) Len() int { return s.table.len() }

// Status returns the counters of the mailbox.
func (s *Snapshot) Status() Status { return s.row.status }

// Mailbox returns the number of the mailbox.
func (s *Snapshot) Mailbox() MailboxID { return s.row.id }

// Name returns the name that the mailbox had.
func (s *Snapshot) Name() string { return s.row.name }

// Gone tells that the mailbox was deleted; the messages are the last ones it had.
func (s *Snapshot) Gone() bool { return s.gone }

// ModSeq returns the position in the account's log at which the mailbox last
// changed, its HIGHESTMODSEQ for messages (RFC 7162 §3.1.2.1) or later.
func (s *Snapshot) ModSeq() ModSeq { return s.modseq }

// Keywords returns the mailbox's table of keywords: bit 5+n of a [Mask] stands
// for name n. The table only grows. The caller must not change it.
func (s *Snapshot) Keywords() []string { return s.row.keywords }

// Bit returns the bit of a keyword in masks, or false when no message of the
// mailbox ever had it.
func (s *Snapshot) Bit(keyword string) (int, bool) {
	bit := s.row.keyword(keyword)
	return bit, bit >= 0
}

// Row returns message i.
func (s *Snapshot) Row(i int) Row {
	k, at := s.table.locate(i)
	return s.table.chunks[k].row(at)
}

// UID returns the UID of message i.
func (s *Snapshot) UID(i int) UID {
	k, at := s.table.locate(i)
	return s.table.chunks[k].uids[at]
}

// Email returns the email of message i.
func (s *Snapshot) Email(i int) EmailID {
	k, at := s.table.locate(i)
	return s.table.chunks[k].emails[at]
}

// FirstUnseen returns the index of the first message without \Seen, false when all
// have it.
func (s *Snapshot) FirstUnseen() (i int, ok bool) {
	if s.row.status.Unseen == 0 {
		return 0, false
	}
	for k, c := range s.table.chunks {
		for at, f := range c.flags[0] {
			if Flags(f)&Seen == 0 {
				return s.table.starts[k] + at, true
			}
		}
	}
	return 0, false
}

// Find returns the index of the message with the UID, or the index of the next
// one after it and false.
func (s *Snapshot) Find(uid UID) (i int, ok bool) { return s.table.find(uid) }

// Rows yields messages [lo, hi) in order.
func (s *Snapshot) Rows(lo, hi int) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		if lo >= hi {
			return
		}
		k, at := s.table.locate(lo)
		for i := lo; i < hi; k, at = k+1, 0 {
			c := s.table.chunks[k]
			for ; at < c.len() && i < hi; at, i = at+1, i+1 {
				if !yield(i, c.row(at)) {
					return
				}
			}
		}
	}
}

// Select yields the indexes of the messages whose UIDs are in the set, which
// must be normalised.
func (s *Snapshot) Select(uids Ranges) iter.Seq[int] {
	return func(yield func(int) bool) {
		for lo, hi := range s.spans(uids) {
			for i := lo; i < hi; i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// spans yields, for each range of uids that has messages, their indexes [lo, hi).
func (s *Snapshot) spans(uids Ranges) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for _, r := range uids {
			lo, _ := s.table.find(r.Lo)
			hi, ok := s.table.find(r.Hi)
			if ok {
				hi++
			}
			if lo < hi && !yield(lo, hi) {
				return
			}
		}
	}
}

// Diff is what a session that showed one snapshot must tell to show a later one.
type Diff struct {
	Expunged []int // indexes in the older snapshot, ascending
	Changed  []int // indexes in the newer one whose flags or modseq differ
	First    int   // index in the newer one of the first message that the older one lacks
	Exists   bool  // there are such messages
}

// Diff compares s with a later snapshot of the same mailbox. Chunks that both
// share cost nothing.
func (s *Snapshot) Diff(next *Snapshot) (d Diff) {
	d.First = next.Len()
	if s == next {
		return d
	}
	a, b := cursor{t: s.table}, cursor{t: next.table}
	for {
		a.skipShared(&b)
		switch {
		case a.done() && b.done():
			return d
		case a.done():
			d.First, d.Exists = b.index, true
			return d
		case b.done() || a.uid() < b.uid():
			d.Expunged = append(d.Expunged, a.index)
			a.next()
		case a.uid() > b.uid():
			// Only at the end can a later snapshot have what the older one lacks.
			d.First, d.Exists = b.index, true
			for !a.done() {
				d.Expunged = append(d.Expunged, a.index)
				a.next()
			}
			return d
		default:
			if a.chunk().modseqs[a.at] != b.chunk().modseqs[b.at] {
				d.Changed = append(d.Changed, b.index)
			}
			a.next()
			b.next()
		}
	}
}

// Keep returns next with the messages that only s still has, so that sequence
// numbers stay valid while EXPUNGE may not be sent (RFC 9051 §7.5.1).
func (s *Snapshot) Keep(next *Snapshot) *Snapshot {
	diff := s.Diff(next)
	if len(diff.Expunged) == 0 {
		return next
	}
	e := &edit{}
	e.chunks = make([]*chunk, 0, len(s.table.chunks)+1)
	lost := diff.Expunged
	a, b := s.table, next.table
	for i, j := 0, 0; i < len(a.chunks) || j < len(b.chunks); {
		switch {
		case j == len(b.chunks) || i < len(a.chunks) && a.chunks[i].base < b.chunks[j].base:
			e.chunks = append(e.chunks, a.chunks[i])
			i++
		case i == len(a.chunks) || a.chunks[i].base > b.chunks[j].base:
			e.chunks = append(e.chunks, b.chunks[j])
			j++
		default:
			for len(lost) > 0 && lost[0] < a.starts[i] {
				lost = lost[1:]
			}
			c := b.chunks[j]
			if len(lost) > 0 && lost[0] < a.starts[i+1] {
				c = mergeChunks(a.chunks[i], c)
			}
			e.chunks = append(e.chunks, c)
			i++
			j++
		}
	}
	kept := *next
	kept.table = e.table()
	return &kept
}

// mergeChunks returns the messages of both; those in both are as in newer.
func mergeChunks(older, newer *chunk) *chunk {
	var rows []Row
	i, j := 0, 0
	for i < older.len() || j < newer.len() {
		if j == newer.len() || i < older.len() && older.uids[i] < newer.uids[j] {
			rows = append(rows, older.row(i))
			i++
			continue
		}
		if i < older.len() && older.uids[i] == newer.uids[j] {
			i++
		}
		rows = append(rows, newer.row(j))
		j++
	}
	e := &edit{}
	e.add(rows)
	return e.table().chunks[0]
}

// cursor walks a table.
type cursor struct {
	t     *table
	k, at int // chunk, row in it
	index int
}

func (c *cursor) done() bool    { return c.k == len(c.t.chunks) }
func (c *cursor) chunk() *chunk { return c.t.chunks[c.k] }
func (c *cursor) uid() UID      { return c.chunk().uids[c.at] }

func (c *cursor) next() {
	c.at++
	c.index++
	if c.at == c.chunk().len() {
		c.k, c.at = c.k+1, 0
	}
}

// skipShared passes chunks that are the same in both.
func (c *cursor) skipShared(o *cursor) {
	for c.at == 0 && o.at == 0 && !c.done() && !o.done() && c.chunk() == o.chunk() {
		n := c.chunk().len()
		c.k, c.index = c.k+1, c.index+n
		o.k, o.index = o.k+1, o.index+n
	}
}
