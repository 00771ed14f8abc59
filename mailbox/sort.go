package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/postino-mail/postino"
)

// SortBy is a criterion of [Account.Sort].
type SortBy uint8

// The criteria (RFC 5256 §3, RFC 5957 §4, RFC 6203 §6). A text that is missing
// sorts first.
const (
	SortArrival     SortBy = iota // internal date
	SortCc                        // mailbox (local part) of the first address of Cc
	SortDate                      // the Date field in UTC; without one the internal date (§2.2)
	SortFrom                      // mailbox of the first address of From
	SortSize                      // RFC822.SIZE
	SortSubject                   // base subject (§2.1)
	SortTo                        // mailbox of the first address of To
	SortDisplayFrom               // display name of the first address of From, else the address
	SortDisplayTo                 // the same of To
	SortRelevancy                 // score, the highest first
)

// sortFields are the fields of columns that the criteria are in; 0 when none is needed.
var sortFields = [...]sortField{
	SortCc: fieldCc, SortDate: fieldSent, SortFrom: fieldFrom, SortSubject: fieldSubject, SortTo: fieldTo,
	SortDisplayFrom: fieldFromName, SortDisplayTo: fieldToName, SortRelevancy: 0,
}

// SortKey is a criterion and its direction.
type SortKey struct {
	By      SortBy
	Reverse bool // descending; for SortRelevancy the lowest score first
}

// maxSortKeys is the number of keys of a sort; there are ten criteria.
const maxSortKeys = 20

// Sort orders messages of a snapshot by keys, the first one first; what none of
// them tells apart stays in the order of found. found are indexes in s, ascending, as
// [Account.Search] returns them, so that ties are in order of sequence number
// (RFC 5256 §3); it is not changed. Texts compare by c, in the first 512 octets
// of their collated form. scores are those of found, for SortRelevancy: as many, or none,
// which are all alike. Invalid when there are more than 20 keys. A message that
// was swept has no texts and no Date. ctx ends the sort soon.
func (a *Account) Sort(ctx context.Context, s *Snapshot, found []int, keys []SortKey, c Collation, scores []uint8) ([]int, error) {
	if err := a.mayUse(s); err != nil {
		return nil, err
	}
	if len(keys) > maxSortKeys || len(scores) != 0 && len(scores) != len(found) || c > Octet || len(found) > math.MaxInt32 ||
		slices.ContainsFunc(keys, func(k SortKey) bool { return k.By > SortRelevancy }) {
		return nil, postino.E(postino.Invalid, "sort", "", nil)
	}
	if len(found) == 0 || len(keys) == 0 {
		return slices.Clone(found), ctx.Err()
	}
	o, err := a.newSorter(ctx, s, found, keys, c, scores)
	if err == nil {
		err = o.sort()
	}
	if err != nil {
		return nil, err
	}
	sorted := make([]int, len(found))
	for i, e := range o.order {
		sorted[i] = found[e.at]
	}
	return sorted, nil
}

// sorter orders n things. It takes eight octets of the first key of all of them,
// sorts these, and does the same with each run of equal ones and what follows in
// the key, or the next key. What is equal in all keys stays in place.
type sorter struct {
	ctx     context.Context
	emails  []EmailID
	keys    []sortColumn
	extra   []lookup // columns that the caller wanted beside
	order   []sortEntry
	scratch []sortEntry
	runs    []sortRun
	work    int // entries since ctx was looked at
}

// sortColumn holds a key of all things: numbers, or texts of their emails.
type sortColumn struct {
	numbers []int64
	texts   lookup
	flip    uint64 // all ones: descending
}

type sortEntry struct {
	word uint64
	at   uint32 // in emails
}

// sortRun is a run of order that is equal before octet offset of a key.
type sortRun struct{ lo, hi, key, offset int }

func (a *Account) newSorter(ctx context.Context, s *Snapshot, found []int, keys []SortKey, c Collation, scores []uint8, extra ...sortField) (*sorter, error) {
	o := &sorter{ctx: ctx, emails: make([]EmailID, len(found)), keys: make([]sortColumn, len(keys)), order: make([]sortEntry, len(found))}
	for i, k := range keys {
		switch k.By {
		case SortArrival, SortDate, SortSize, SortRelevancy:
			o.keys[i].numbers = make([]int64, len(found))
		}
		if k.Reverse {
			o.keys[i].flip = math.MaxUint64
		}
	}
	for at, row := range s.rowsOf(found) {
		o.emails[at], o.order[at].at = row.Email, uint32(at)
		for i, k := range keys {
			switch k.By {
			case SortArrival, SortDate:
				o.keys[i].numbers[at] = row.Date
			case SortSize:
				o.keys[i].numbers[at] = row.Size
			case SortRelevancy:
				if len(scores) > 0 {
					o.keys[i].numbers[at] = -int64(scores[at])
				}
			}
		}
	}
	fields := make([]sortField, 0, len(keys)+len(extra))
	for _, k := range keys {
		if f := sortFields[k.By]; f != 0 || k.By == SortDate {
			fields = append(fields, f)
		}
	}
	columns, err := a.columns(ctx, o.emails, append(fields, extra...), c)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		switch {
		case k.By == SortDate:
			sentDates(o.keys[i].numbers, o.emails, columns[0])
		case sortFields[k.By] != 0:
			o.keys[i].texts = columns[0]
		default:
			continue
		}
		columns = columns[1:]
	}
	o.extra = columns
	return o, ctx.Err()
}

// sentDates puts the sent dates in place of the internal dates of the emails
// that have one (RFC 5256 §2.2).
func sentDates(dates []int64, emails []EmailID, sent lookup) {
	for i, e := range emails {
		if t, _ := sent.at(e); len(t) == 8 {
			dates[i] = int64(binary.BigEndian.Uint64(t))
		}
	}
}

// rowsOf yields the messages of found with their places there.
func (s *Snapshot) rowsOf(found []int) func(func(int, Row) bool) {
	return func(yield func(int, Row) bool) {
		for at := 0; at < len(found); {
			n := 1
			for at+n < len(found) && found[at+n] == found[at]+n {
				n++
			}
			for i, row := range s.Rows(found[at], found[at]+n) {
				if !yield(at+i-found[at], row) {
					return
				}
			}
			at += n
		}
	}
}

// sort orders o.order.
func (o *sorter) sort() error {
	o.scratch = make([]sortEntry, len(o.order))
	o.runs = append(o.runs, sortRun{0, len(o.order), 0, 0})
	for len(o.runs) > 0 {
		r := o.runs[len(o.runs)-1]
		o.runs = o.runs[:len(o.runs)-1]
		if o.work += r.hi - r.lo; o.work > 1<<14 {
			if o.work = 0; o.ctx.Err() != nil {
				return o.ctx.Err()
			}
		}
		run, k := o.order[r.lo:r.hi], &o.keys[r.key]
		k.fill(run, o.emails, r.offset)
		if err := o.sortRun(run); err != nil {
			return err
		}
		o.split(run, r, k)
	}
	return nil
}

// split puts the runs of equal words on the stack, unless all keys are used up.
func (o *sorter) split(run []sortEntry, r sortRun, k *sortColumn) {
	for i := 0; i < len(run); {
		n := i + 1
		for n < len(run) && run[n].word == run[i].word {
			n++
		}
		if n-i > 1 {
			next := sortRun{r.lo + i, r.lo + n, r.key + 1, 0}
			if k.numbers == nil && (run[i].word^k.flip)&0xff > textOctets {
				next.key, next.offset = r.key, r.offset+textOctets
			}
			if next.key < len(o.keys) {
				o.runs = append(o.runs, next)
			}
		}
		i = n
	}
}

// textOctets is how many octets of a text are in a word.
const textOctets = 7

// fill sets the words of a run to the key from an offset on: a number, or seven
// octets of text and how many there are, one more when others follow.
func (k *sortColumn) fill(run []sortEntry, emails []EmailID, offset int) {
	if k.numbers != nil {
		for i := range run {
			run[i].word = uint64(k.numbers[run[i].at]) ^ 1<<63 ^ k.flip
		}
		return
	}
	for i := range run {
		t, _ := k.texts.at(emails[run[i].at])
		run[i].word = textWord(t[min(offset, len(t)):]) ^ k.flip
	}
}

func textWord(t []byte) uint64 {
	if len(t) >= 8 {
		return binary.BigEndian.Uint64(t)&^0xff | (textOctets + 1)
	}
	var w [8]byte
	copy(w[:], t)
	w[textOctets] = byte(len(t))
	return binary.BigEndian.Uint64(w[:])
}

// sortRun sorts a run by word; equal ones stay in place.
func (o *sorter) sortRun(run []sortEntry) error {
	if len(run) < 256 {
		// Equal words are in order of at, from the beginning on.
		slices.SortFunc(run, func(a, b sortEntry) int {
			if a.word == b.word {
				return cmp.Compare(a.at, b.at)
			}
			return cmp.Compare(a.word, b.word)
		})
		return nil
	}
	return o.radix(run)
}

// radix sorts octet by octet, from the last on, those in which the words differ.
func (o *sorter) radix(run []sortEntry) error {
	var counts [8][256]uint32
	for _, e := range run {
		for i := range counts {
			counts[i][byte(e.word>>(8*i))]++
		}
	}
	from, to := run, o.scratch[:len(run)]
	for i := range counts {
		c := &counts[i]
		if int(c[byte(run[0].word>>(8*i))]) == len(run) {
			continue
		}
		if o.ctx.Err() != nil {
			return o.ctx.Err()
		}
		sum := uint32(0)
		for d := range c {
			sum, c[d] = sum+c[d], sum
		}
		for _, e := range from {
			d := byte(e.word >> (8 * i))
			to[c[d]] = e
			c[d]++
		}
		from, to = to, from
	}
	if &from[0] != &run[0] {
		copy(run, from)
	}
	return nil
}
