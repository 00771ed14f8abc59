package mailbox

import (
	"bytes"
	"context"
	"math/bits"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/postino-mail/postino/message"
)

// A text below OpFuzzy (RFC 6203) is taken as a list of words, each of which must
// be in the fields of its key: at the beginning of a term, accents or not, or with
// a letter or two that are wrong. Terms are those of the index, also for emails
// that are not indexed, so that both find the same.

// How well a term answers a word, in percent.
const (
	same      = 100
	accented  = 95 // but for accents
	beginning = 85
	oneWrong  = 60
	twoWrong  = 40
)

// weights tell how much a find in a field of sectionText counts, in percent.
var weights = [fields]int{100, 95, 95, 95, 95, 85}

// looseWord is a word of a text that is taken loosely.
type looseWord struct {
	term  []byte
	plain []rune // without accents
	begin []byte // plain as octets
	wrong int    // letters that may be
	mask  uint64 // of the ASCII letters of plain
	part  bool   // of a word; else characters that are found anywhere
}

// looseWords cuts a folded needle into words.
func looseWords(needle []byte) (words []looseWord) {
	eachTerm(needle, true, func(term []byte) {
		w := looseWord{term: bytes.Clone(term), begin: withoutMarks(nil, term)}
		w.plain = []rune(string(w.begin))
		w.mask = asciiMask(w.begin)
		kind, _ := runAt(term)
		if w.part = kind == part; w.part {
			w.wrong = btoi(len(w.plain) >= 4) + btoi(len(w.plain) >= 8)
		}
		if len(w.plain) > 0 && !slices.ContainsFunc(words, func(o looseWord) bool { return bytes.Equal(o.term, term) }) {
			words = append(words, w)
		}
	})
	return words
}

// octetMask has a bit for each octet in b, some sharing one.
func octetMask(b []byte) (mask uint64) {
	for _, c := range b {
		mask |= 1 << (c & 63)
	}
	return mask
}

// asciiMask is octetMask of the ASCII in b.
func asciiMask(b []byte) (mask uint64) {
	for i, c := range b {
		if c < utf8.RuneSelf {
			mask |= octetMask(b[i : i+1])
		}
	}
	return mask
}

// withoutMarks appends a folded text without its combining marks.
func withoutMarks(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if n == 1 || !unicode.IsMark(r) {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// quality tells how well a term answers the word, 0 for not at all.
func (w *looseWord) quality(term []byte) int {
	if bytes.Equal(term, w.term) {
		return same
	}
	if !w.part {
		return btoi(bytes.Contains(term, w.term)) * beginning
	}
	var buf [maxTerm]byte
	if slices.ContainsFunc(term, func(c byte) bool { return c >= utf8.RuneSelf }) {
		term = withoutMarks(buf[:0], term)
	}
	if bytes.HasPrefix(term, w.begin) {
		if len(term) == len(w.begin) {
			return accented
		}
		return beginning
	}
	// Each letter that the term lacks is one that is wrong.
	if w.wrong == 0 || len(term)+w.wrong < len(w.plain) || bits.OnesCount64(w.mask&^octetMask(term)) > w.wrong {
		return 0
	}
	switch n := w.distance(term); {
	case n > w.wrong:
		return 0
	case n == 1:
		return oneWrong
	}
	return twoWrong
}

// maxWord is the longest word, in letters, that may have wrong ones.
const maxWord = 32

// distance returns how many letters are to be put in, left out, changed or
// swapped with their neighbour to make the word of a term; more than w.wrong
// when too many.
func (w *looseWord) distance(term []byte) int {
	var t [maxTerm]rune
	n := 0
	for _, r := range string(term) {
		t[n] = r
		n++
	}
	m := len(w.plain)
	if n > m+w.wrong || m > n+w.wrong || m > maxWord || n > maxWord+2 {
		return w.wrong + 1
	}
	// Three rows of the table: two above, above, and this one.
	var rows [3][maxTerm + 1]int
	for j := range n + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= m; i++ {
		this, above, top := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		this[0] = i
		least := i
		for j := 1; j <= n; j++ {
			d := min(above[j]+1, this[j-1]+1, above[j-1]+btoi(w.plain[i-1] != t[j-1]))
			if i > 1 && j > 1 && w.plain[i-1] == t[j-2] && w.plain[i-2] == t[j-1] {
				d = min(d, top[j-2]+1)
			}
			this[j] = d
			least = min(least, d)
		}
		if least > w.wrong {
			return least
		}
	}
	return rows[m%3][n]
}

// loosen makes the text keys below an OpFuzzy loose.
func (k *key) loosen() {
	for _, sub := range k.subs {
		sub.loosen()
	}
	if k.Op < OpSubject || k.Op > OpText {
		return
	}
	if k.loose = looseWords(k.needle); len(k.loose) == 0 {
		return
	}
	k.lookup = nil
	switch where := k.looseFields(); {
	case k.Op <= OpBcc:
		k.cost = fromSummary
		fallthrough
	case where != 0:
		k.lookup = &indexLookup{loose: k.loose, where: [sections]uint8{sectionText: where}}
	}
}

// looseFields are the fields of sectionText that a loose key looks at: those of
// a text, not traces and other lines that nobody reads.
func (k *key) looseFields() uint8 {
	switch k.Op {
	case OpHeader:
		return 0
	case OpText:
		return 1<<fields - 1
	}
	return k.scopes()[sectionText]
}

// findLoose scores the emails of a segment.
func (l *indexLookup) findLoose(r *indexReader, number uint64, h *segmentHead) (hits, error) {
	total := make([]uint16, h.span)
	best := make([]uint8, h.span)
	for i := range l.loose {
		clear(best)
		if err := l.loose[i].find(r, number, h, l.where[sectionText], best); err != nil {
			return hits{}, err
		}
		for n, b := range best {
			if total[n] += uint16(b); b == 0 || i > 0 && total[n] == uint16(b) {
				total[n] = 0
			}
		}
	}
	result := hits{known: h.known, found: make(bitset, len(h.known)), scores: best, exact: true}
	for n, sum := range total {
		if best[n] = uint8(int(sum) / len(l.loose)); sum > 0 {
			result.found.add(uint64(n))
		}
	}
	return result, nil
}

// find raises best to what the word is worth in each email.
func (w *looseWord) find(r *indexReader, number uint64, h *segmentHead, where uint8, best []uint8) error {
	type hit struct{ place, quality int }
	var hits []hit
	all := h.pagesOf(sectionText, pattern{1})
	return r.rows(number, rowDict, all, func(n uint32, row any) error {
		hits = hits[:0]
		row.(dictionary).each(func(place int, term []byte) bool {
			if q := w.quality(term); q > 0 {
				hits = append(hits, hit{place, q})
			}
			return true
		})
		if len(hits) == 0 {
			return nil
		}
		return r.rows(number, rowPostings, []uint32{n}, func(_ uint32, row any) error {
			c := pageCursor{page: row.(*page)}
			for _, t := range hits {
				sets, ok := c.at(t.place)
				for f := 0; ok && f < len(sets); f++ {
					if where>>f&1 != 0 {
						worth := uint8(t.quality * weights[f] / 100)
						ok = sets[f].each(h.span, func(n uint32) { best[n] = max(best[n], worth) })
					}
				}
				if !ok {
					return errDamaged{number}
				}
			}
			return nil
		})
	})
}

// looseScore scores a message by its summary and its text; unknown when they
// are needed and not there.
func (k *key) looseScore(m *subject) (score int, known bool) {
	if m.segment > 0 && k.lookup != nil && len(k.lookup.hits) > 0 {
		if h := &k.lookup.hits[m.segment-1]; h.known.has(uint64(m.distance)) {
			return int(h.scores[m.distance]), true
		}
	}
	if m.summary == nil || m.text == nil && k.Op > OpBcc {
		return 0, false
	}
	best := make([]int, len(k.loose))
	weight := 0
	t := &tokenizer{left: k.textLimit, emit: func(term []byte) {
		for i := range k.loose {
			best[i] = max(best[i], k.loose[i].quality(term)*weight/100)
		}
	}}
	if k.Op == OpHeader {
		weight = weights[1]
		for _, header := range [...][]byte{m.text.prefix, m.text.header()} {
			for f := range message.Fields(header) {
				if bytes.EqualFold(f.Name, []byte(k.Field)) {
					t.text(message.DecodeHeaderBytes(f.Value))
				}
			}
		}
	}
	where := k.looseFields()
	for i, text := range m.summary.fields {
		if weight = weights[i]; where>>i&1 != 0 {
			t.terms(text)
		}
	}
	if weight = weights[fieldBody]; where>>fieldBody&1 != 0 {
		for text := range m.text.index.Texts(m.text.blob, message.TextBody) {
			if t.read(text) != nil || t.left < 0 {
				break
			}
		}
	}
	for _, b := range best {
		if b == 0 {
			return 0, true
		}
		score += b
	}
	return score / len(best), true
}

// score tells how well a message that matches does so, 0 to 100; 0 when it
// matches by other keys. It is not known when a source is missing.
func (k *key) score(m *subject) (score int, known bool) {
	switch {
	case k.loose != nil:
		return k.looseScore(m)
	case k.Op == OpFuzzy:
		return k.subs[0].score(m)
	case (k.Op == OpAnd || k.Op == OpOr) && len(k.subs) > 0:
		sum, most := 0, 0
		for _, sub := range k.subs {
			n, known := sub.score(m)
			if !known {
				return 0, false
			}
			sum += n
			most = max(most, n)
		}
		if k.Op == OpAnd {
			return sum / len(k.subs), true
		}
		return most, true
	}
	switch k.match(m) {
	case yes:
		return 100, true
	case no:
		return 0, true
	}
	return 0, false
}

// isLoose tells whether a key below k is.
func (k *key) isLoose() bool { return k.loose != nil || slices.ContainsFunc(k.subs, (*key).isLoose) }

// SearchScored is [Account.Search] and tells for each message that it found how
// well it answers what is below OpFuzzy, from 1 to 100 (RFC 6203 §4). What other
// keys found counts 100. The same messages and query give the same scores,
// whether indexed or not.
func (a *Account) SearchScored(ctx context.Context, s *Snapshot, q *Query) (found []int, scores []uint8, err error) {
	root, x, found, err := a.search(ctx, s, q)
	if err != nil {
		return nil, nil, err
	}
	scores = make([]uint8, len(found))
	loose := root.isLoose()
	var open []int // places in found
	for n, i := range found {
		scores[n] = 100
		if !loose {
			continue
		}
		m := subject{index: i, row: s.Row(i)}
		x.place(&m, m.row.Email)
		score, known := root.score(&m)
		if scores[n] = uint8(max(1, score)); !known {
			open = append(open, n)
		}
	}
	messages := make([]int, len(open))
	for k, n := range open {
		messages[k] = found[n]
	}
	err = a.eachSubject(ctx, s, x, messages, fromText, func(k int, m *subject) {
		score, _ := root.score(m)
		scores[open[k]] = uint8(max(1, score))
	})
	return found, scores, err
}
