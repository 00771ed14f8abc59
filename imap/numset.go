package imap

import "strconv"

// Resolve puts max for "*" and orders the ends: 5:* with max 3 is 3:5, as
// RFC 9051 §9 (seq-range) wants.
func (r Range) Resolve(max uint32) (lo, hi uint32) {
	lo, hi = r.Start, r.Stop
	if lo == 0 {
		lo = max
	}
	if hi == 0 {
		hi = max
	}
	if lo > hi {
		lo, hi = hi, lo
	}
	return lo, hi
}

// Contains tells whether n is in the set when "*" is max. It looks at every
// range; callers with many numbers walk the resolved ranges instead.
func (s NumSet) Contains(n, max uint32) bool {
	for _, r := range s.Ranges {
		if lo, hi := r.Resolve(max); lo <= n && n <= hi {
			return true
		}
	}
	return false
}

// AppendRange adds a number that is larger than all in dst, joining it to the
// last range where it follows on.
func AppendRange(dst []Range, n uint32) []Range {
	if last := len(dst) - 1; last >= 0 && dst[last].Stop+1 == n {
		dst[last].Stop = n
		return dst
	}
	return append(dst, Range{n, n})
}

// appendRanges prints ranges as a sequence-set (RFC 9051 §9).
func appendRanges(dst []byte, ranges []Range) []byte {
	for i, r := range ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSeqNumber(dst, r.Start)
		if r.Stop != r.Start {
			dst = append(dst, ':')
			dst = appendSeqNumber(dst, r.Stop)
		}
	}
	return dst
}

func appendSeqNumber(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// parseRanges reads a sequence-set without "$" (RFC 9051 §9) of at most limit
// ranges (IM3). It returns how many octets it took, 0 when b does not begin with one or
// exceeds the limit.
func parseRanges(b []byte, limit int) (ranges []Range, n int) {
	for {
		start, k := parseSeqNumber(b[n:])
		if k == 0 || len(ranges) == limit {
			return nil, 0
		}
		n += k
		r := Range{start, start}
		if n < len(b) && b[n] == ':' {
			if r.Stop, k = parseSeqNumber(b[n+1:]); k == 0 {
				return nil, 0
			}
			n += k + 1
		}
		ranges = append(ranges, r)
		if n == len(b) || b[n] != ',' {
			return ranges, n
		}
		n++
	}
}

// parseSeqNumber reads "*" or an nz-number; n is 0 when there is none.
func parseSeqNumber(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] == '*' {
		return 0, 1
	}
	var x uint64
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		if x = x*10 + uint64(b[n]-'0'); x > 1<<32-1 || x == 0 {
			return 0, 0
		}
		n++
	}
	return uint32(x), n
}
