package inflate

// fastBits is how many bits are looked up at once.
const fastBits = 9

// huffman decodes a canonical Huffman code (RFC 1951 §3.2.2).
type huffman struct {
	fast   [1 << fastBits]uint16 // symbol<<4 | length of codes up to fastBits; 0 for longer ones
	count  [16]uint16            // of codes by length
	symbol [288]uint16           // in the order of their codes
}

// build makes the code with these lengths. It is false when they make no complete
// code; a code of one symbol of one bit passes, as encoders write it for distances.
func (h *huffman) build(lengths []uint8) bool {
	h.count = [16]uint16{}
	for _, l := range lengths {
		h.count[l]++
	}
	left, used := 1, len(lengths)-int(h.count[0])
	h.count[0] = 0
	var next, offset [16]uint16
	code := uint16(0)
	for l := 1; l < 16; l++ {
		if left = left<<1 - int(h.count[l]); left < 0 {
			return false
		}
		code = (code + h.count[l-1]) << 1
		next[l] = code
		offset[l] = offset[l-1] + h.count[l-1]
	}
	if left > 0 && (used > 1 || used == 1 && h.count[1] != 1) {
		return false
	}
	h.fast = [1 << fastBits]uint16{}
	for sym, l := range lengths {
		if l == 0 {
			continue
		}
		h.symbol[offset[l]] = uint16(sym)
		offset[l]++
		if c := next[l]; l <= fastBits {
			for i := reverse(c, l); i < 1<<fastBits; i += 1 << l {
				h.fast[i] = uint16(sym)<<4 | uint16(l)
			}
		}
		next[l]++
	}
	return true
}

// reverse turns the l bits of a code round: codes stand with their first bit lowest.
func reverse(c uint16, l uint8) (r int) {
	for range l {
		r = r<<1 | int(c&1)
		c >>= 1
	}
	return r
}

// decode reads one symbol. With ok false there is not enough input; sym < 0 is no
// code.
func (z *Reader) decode(h *huffman) (sym int, ok bool) {
	for {
		if e := h.fast[z.hold&(1<<fastBits-1)]; e != 0 && uint(e&15) <= z.bits {
			z.drop(uint(e & 15))
			return int(e >> 4), true
		}
		if z.bits > fastBits {
			if sym, n := h.slow(z.hold, z.bits); n > 0 {
				z.drop(n)
				return sym, true
			}
		}
		if z.bits >= 15 {
			return -1, true
		}
		if !z.more() {
			return 0, false
		}
	}
}

// slow decodes bit by bit; n is 0 when the bits are no code or not a whole one.
func (h *huffman) slow(hold uint64, bits uint) (sym int, n uint) {
	code, first, index := 0, 0, 0
	for l := uint(1); l <= min(bits, 15); l++ {
		code |= int(hold & 1)
		hold >>= 1
		count := int(h.count[l])
		if code-count < first {
			return int(h.symbol[index+code-first]), l
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0
}

// tables are the codes of one block.
type tables struct{ literal, distance huffman }

// fixed are the codes of RFC 1951 §3.2.6.
var fixed = func() *tables {
	t := new(tables)
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144 || i >= 280:
			l[i] = 8
		case i < 256:
			l[i] = 9
		default:
			l[i] = 7
		}
	}
	t.literal.build(l[:])
	for i := range 32 { // two of them stand for nothing
		l[i] = 5
	}
	t.distance.build(l[:32])
	return t
}()

// The lengths and distances that symbols begin with, and how many bits follow
// (RFC 1951 §3.2.5).
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
		8193, 12289, 16385, 24577}
	distBits = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	// codeOrder is the order in which the lengths of the code of lengths stand (§3.2.7).
	codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)
