package imap

import (
	"slices"
	"strconv"
)

// results are numbers in the order of a search: ranges where that ascends, one by
// one where a sort made it.
type results struct {
	ranges []Range
	nums   []uint32
}

// window returns the results from index lo to hi, not included.
func (r *results) window(lo, hi int) results {
	if r.nums != nil || lo == hi {
		return results{nums: r.nums[min(lo, len(r.nums)):min(hi, len(r.nums))]}
	}
	var w results
	for _, x := range r.ranges {
		n := int(x.Stop-x.Start) + 1
		if a, b := max(lo, 0), min(hi, n); a < b {
			w.ranges = append(w.ranges, Range{x.Start + uint32(a), x.Start + uint32(b-1)})
		}
		if lo, hi = lo-n, hi-n; hi <= 0 {
			break
		}
	}
	return w
}

func (r *results) empty() bool { return len(r.ranges) == 0 && len(r.nums) == 0 }

// ascending returns the numbers as ranges in ascending order; it may sort nums.
func (r *results) ascending() []Range {
	if r.nums == nil {
		return r.ranges
	}
	return rangesOf(r.nums)
}

// set prints results as a sequence-set in their order, in which a range is always one
// that ascends (RFC 5267 §3.2).
func (o *output) set(r results) {
	sep := false
	each := func(x Range) {
		if sep {
			o.str(",")
		}
		sep = true
		o.num(x.Start)
		if x.Start != x.Stop {
			o.str(":")
			o.num(x.Stop)
		}
		o.flushFull()
	}
	for _, x := range r.ranges {
		each(x)
	}
	for i := 0; i < len(r.nums); {
		x := Range{r.nums[i], r.nums[i]}
		for i++; i < len(r.nums) && r.nums[i] == x.Stop+1; i++ {
			x.Stop++
		}
		each(x)
	}
}

// SearchData gathers the answer to a Search.
type SearchData struct {
	all, uids results
	count     uint32
	min, max  uint32
	minUID    uint32
	maxUID    uint32
	// Mod-sequences of the first and last message, and the highest of all.
	minModSeq, maxModSeq, modSeq uint64

	uid, sorted, wantAll, wantUIDs bool
	keep                           uint32 // how many of the first results are wanted
	scores                         []uint8
}

// NewSearchData begins the answer to req.
func NewSearchData(req *SearchRequest) *SearchData {
	d := &SearchData{uid: req.UID, sorted: len(req.Sort) > 0, keep: 1<<32 - 1}
	d.wantAll = req.Return&(ReturnAll|ReturnPartial) != 0
	d.wantUIDs = req.Return&(ReturnSave|ReturnUpdate) != 0
	switch {
	case d.wantUIDs && d.uid: // one list is both
		d.wantAll, d.wantUIDs = true, false
	case !d.wantUIDs && req.Partial != nil && req.Partial.Lo > 0:
		d.keep = uint32(max(req.Partial.Lo, req.Partial.Hi))
	}
	return d
}

// Add adds a message that matches; messages are added in ascending order, or in
// that of the request's Sort. modseq may be 0 when the request has no ModSeq.
func (d *SearchData) Add(seq, uid uint32, modseq uint64) {
	num := seq
	if d.uid {
		num = uid
	}
	if d.count == 0 {
		d.min, d.minUID, d.minModSeq = num, uid, modseq
	}
	d.max, d.maxUID, d.maxModSeq = num, uid, modseq
	d.modSeq = max(d.modSeq, modseq)
	d.count++
	switch {
	case d.sorted:
		if d.wantAll && d.count <= d.keep {
			d.all.nums = append(d.all.nums, num)
		}
		if d.wantUIDs {
			d.uids.nums = append(d.uids.nums, uid)
		}
	default:
		if d.wantAll && d.count <= d.keep {
			d.all.ranges = AppendRange(d.all.ranges, num)
		}
		if d.wantUIDs {
			d.uids.ranges = AppendRange(d.uids.ranges, uid)
		}
	}
}

// Relevancy tells the score of the message added last, 1 to 100 (RFC 6203 §4).
func (d *SearchData) Relevancy(score uint8) { d.scores = append(d.scores, score) }

// found are the UIDs of all messages, of a request that has ReturnSave or ReturnUpdate.
func (d *SearchData) found() *results {
	if d.uid {
		return &d.all
	}
	return &d.uids
}

// save is what "$" becomes (RFC 9051 §6.4.4.1, table 4; RFC 9394 §3.2, table 1).
func (d *SearchData) save(req *SearchRequest) []Range {
	if req.Return&(ReturnAll|ReturnCount) != 0 || req.Return&(ReturnMin|ReturnMax|ReturnPartial) == 0 {
		return d.found().ascending()
	}
	if d.count == 0 {
		return nil
	}
	var some []Range
	if req.Return&ReturnPartial != 0 {
		w := d.found().window(req.Partial.Window(int(d.count)))
		some = w.ascending()
	}
	if req.Return&ReturnMin != 0 {
		some = unionRanges(some, []Range{{d.minUID, d.minUID}})
	}
	if req.Return&ReturnMax != 0 {
		some = unionRanges(some, []Range{{d.maxUID, d.maxUID}})
	}
	return some
}

// numbers prints the answer of RFC 3501 §7.2.5 or RFC 5256 §4.
func (o *output) numbers(req *SearchRequest, d *SearchData) {
	if d.sorted {
		o.str("* SORT")
	} else {
		o.str("* SEARCH")
	}
	for _, r := range d.all.ranges {
		for n := uint64(r.Start); n <= uint64(r.Stop); n++ {
			o.buf = strconv.AppendUint(append(o.buf, ' '), n, 10)
			o.flushFull()
		}
	}
	for _, n := range d.all.nums {
		o.buf = strconv.AppendUint(append(o.buf, ' '), uint64(n), 10)
		o.flushFull()
	}
	if req.ModSeq && d.count > 0 {
		o.str(" (MODSEQ ")
		o.modseq(d.modSeq)
		o.str(")")
	}
	o.str("\r\n")
}

// esearch prints what follows the correlators in the answer of RFC 9051 §7.3.4.
func (o *output) esearch(req *SearchRequest, d *SearchData) {
	if req.UID {
		o.str(" UID")
	}
	if d.count > 0 && req.Return&ReturnMin != 0 {
		o.str(" MIN ")
		o.num(d.min)
	}
	if d.count > 0 && req.Return&ReturnMax != 0 {
		o.str(" MAX ")
		o.num(d.max)
	}
	if d.count > 0 && req.Return&ReturnAll != 0 {
		o.str(" ALL ")
		o.set(d.all)
	}
	lo, hi := 0, int(d.count)
	if req.Return&ReturnPartial != 0 { // RFC 9394 §3.1
		lo, hi = req.Partial.Window(hi)
		o.str(" PARTIAL (")
		o.num64(req.Partial.Lo)
		o.str(":")
		o.num64(req.Partial.Hi)
		o.str(" ")
		if w := d.all.window(lo, hi); w.empty() {
			o.str("NIL")
		} else {
			o.set(w)
		}
		o.str(")")
	}
	if req.Return&ReturnCount != 0 {
		o.str(" COUNT ")
		o.num(d.count)
	}
	if req.Return&ReturnRelevancy != 0 && len(d.scores) == int(d.count) {
		o.relevancy(d.scores[lo:hi])
	}
	if d.count > 0 && req.ModSeq {
		o.str(" MODSEQ ")
		o.modseq(d.answerModSeq(req.Return))
	}
	o.str("\r\n")
	o.flushFull()
}

// relevancy prints the scores of the messages that are returned (RFC 6203 §4).
func (o *output) relevancy(scores []uint8) {
	o.str(" RELEVANCY (")
	for i, s := range scores {
		if i > 0 {
			o.str(" ")
		}
		o.num(uint32(min(max(s, 1), 100)))
		o.flushFull()
	}
	o.str(")")
}

// answerModSeq is the highest mod-sequence of what is returned (RFC 7162 §3.1.10).
func (d *SearchData) answerModSeq(ret SearchReturn) uint64 {
	switch ret & (ReturnMin | ReturnMax | ReturnAll | ReturnCount | ReturnPartial) {
	case ReturnMin:
		return d.minModSeq
	case ReturnMax:
		return d.maxModSeq
	case ReturnMin | ReturnMax:
		return max(d.minModSeq, d.maxModSeq)
	}
	return d.modSeq
}

// rangesOf sorts numbers and joins them to ranges.
func rangesOf(nums []uint32) (out []Range) {
	nums = slices.Clone(nums)
	slices.Sort(nums)
	for i, n := range nums {
		if i == 0 || n != nums[i-1] {
			out = AppendRange(out, n)
		}
	}
	return out
}

// unionRanges joins two ascending, disjoint lists of ranges to one.
func unionRanges(a, b []Range) []Range {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]Range, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		var r Range
		if len(b) == 0 || len(a) > 0 && a[0].Start <= b[0].Start {
			r, a = a[0], a[1:]
		} else {
			r, b = b[0], b[1:]
		}
		if k := len(out) - 1; k >= 0 && uint64(r.Start) <= uint64(out[k].Stop)+1 {
			out[k].Stop = max(out[k].Stop, r.Stop)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// minusRanges returns what of a is not in b, both ascending and disjoint.
func minusRanges(a, b []Range) (out []Range) {
	for _, r := range a {
		for len(b) > 0 && b[0].Stop < r.Start {
			b = b[1:]
		}
		rest, whole := b, true
		for len(rest) > 0 && rest[0].Start <= r.Stop {
			if rest[0].Start > r.Start {
				out = append(out, Range{r.Start, rest[0].Start - 1})
			}
			if rest[0].Stop >= r.Stop {
				whole = false
				break
			}
			r.Start = rest[0].Stop + 1
			rest = rest[1:]
		}
		if whole {
			out = append(out, r)
		}
		b = rest
	}
	return out
}

// commonRanges returns what is in both a and b.
func commonRanges(a, b []Range) []Range { return minusRanges(a, minusRanges(a, b)) }
