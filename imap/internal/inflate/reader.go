package inflate

import (
	"errors"
	"io"
	"sync"
)

var (
	// ErrCorrupt tells that the input is no DEFLATE stream.
	ErrCorrupt = errors.New("inflate: malformed stream")
	// ErrBomb tells that the input becomes too much longer (IM11).
	ErrBomb = errors.New("inflate: too much from too little")
)

const (
	windowSize = 32 << 10
	inputSize  = 4 << 10 // more than the longest header of a block, some 600 octets
	bombOutput = 1 << 20
	bombRatio  = 1000
)

var (
	inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}
	codes  = sync.Pool{New: func() any { return new(tables) }}
)

// state is what comes next in the stream.
type state uint8

const (
	header state = iota
	storedLength
	stored
	symbols
	ended
)

// Reader decompresses one stream. The zero Reader begins one.
type Reader struct {
	input    *[inputSize]byte // nil when there is none
	pos, end int              // what of it is unread
	hold     uint64           // bits taken from it, the next one lowest
	bits     uint

	state  state
	final  bool    // the block is the last one
	left   int     // octets of a stored block
	codes  *tables // of a block with codes
	length int     // rest of a match that did not fit
	dist   int

	window []byte // the last octets, round about at
	at     int
	full   bool // all of a window of windowSize is filled

	in, out int // since the ratio was looked at
	wants   bool
	err     error
}

// Wants tells that all that can be read was read, and more input is needed.
func (z *Reader) Wants() bool { return z.wants || z.state == ended && z.length == 0 }

// Ended tells that the stream came to its end; what follows it is not of it.
func (z *Reader) Ended() bool { return z.state == ended }

// Fill reads once from r.
func (z *Reader) Fill(r io.Reader) error {
	if z.input == nil {
		z.input, z.pos, z.end = inputs.Get().(*[inputSize]byte), 0, 0
	} else if z.pos > 0 {
		z.end = copy(z.input[:], z.input[z.pos:z.end])
		z.pos = 0
	}
	n, err := r.Read(z.input[z.end:])
	if z.end += n; n > 0 {
		z.wants, err = false, nil
	}
	z.settle()
	return err
}

// settle gives the input's buffer back when all of it is read.
func (z *Reader) settle() {
	if z.input != nil && z.pos == z.end {
		inputs.Put(z.input)
		z.input = nil
	}
}

// Rest returns what follows the stream, or of a stream without end what is unread,
// and gives all memory back.
func (z *Reader) Rest() []byte {
	var rest []byte
	for z.drop(z.bits & 7); z.bits > 0; z.drop(8) {
		rest = append(rest, byte(z.hold))
	}
	if z.input != nil {
		rest = append(rest, z.input[z.pos:z.end]...)
		z.pos = z.end
	}
	z.settle()
	z.release()
	z.window, z.state, z.length = nil, ended, 0
	return rest
}

// release gives the codes of a block back.
func (z *Reader) release() {
	if z.codes != nil && z.codes != fixed {
		codes.Put(z.codes)
	}
	z.codes = nil
}

// Read decompresses into p. It returns 0 and no error when it needs more input;
// after the end of the stream it returns io.EOF.
func (z *Reader) Read(p []byte) (n int, err error) {
	began := z.pos
	for n < len(p) && z.err == nil && !z.Wants() {
		var k int
		switch {
		case z.length > 0:
			k = z.copy(p[n:])
		case z.state == symbols:
			k = z.symbols(p[n:])
		case z.state == stored:
			k = z.stored(p[n:])
		default:
			z.block()
		}
		n += k
	}
	z.in += z.pos - began
	z.settle()
	if z.out += n; z.out >= bombOutput {
		if z.in < z.out/bombRatio {
			z.err = ErrBomb
		}
		z.in, z.out = 0, 0
	}
	if n > 0 {
		return n, nil
	}
	if z.err == nil && z.state == ended {
		return 0, io.EOF
	}
	return 0, z.err
}

// mark is a place in the input to go back to.
type mark struct {
	pos  int
	hold uint64
	bits uint
}

func (z *Reader) mark() mark { return mark{z.pos, z.hold, z.bits} }

// wait goes back to m until there is more input.
func (z *Reader) wait(m mark) {
	z.pos, z.hold, z.bits, z.wants = m.pos, m.hold, m.bits, true
}

func (z *Reader) more() bool {
	if z.input == nil || z.pos == z.end {
		return false
	}
	z.hold |= uint64(z.input[z.pos]) << z.bits
	z.bits += 8
	z.pos++
	return true
}

func (z *Reader) drop(n uint) { z.hold, z.bits = z.hold>>n, z.bits-n }

// take reads n bits, at most 16.
func (z *Reader) take(n uint) (v int, ok bool) {
	for z.bits < n {
		if !z.more() {
			return 0, false
		}
	}
	v = int(z.hold & (1<<n - 1))
	z.drop(n)
	return v, true
}

// block reads what stands before the content of a block (RFC 1951 §3.2.3).
func (z *Reader) block() {
	m := z.mark()
	if z.state == storedLength {
		length, ok := z.take(16)
		check, ok2 := z.take(16)
		switch {
		case !ok || !ok2:
			z.wait(m)
		case length != check^0xffff:
			z.err = ErrCorrupt
		default:
			z.left, z.state = length, stored
			z.endStored()
		}
		return
	}
	v, ok := z.take(3)
	if !ok {
		z.wait(m)
		return
	}
	final := v&1 == 1
	switch v >> 1 {
	case 0:
		z.drop(z.bits & 7)
		z.state = storedLength
	case 1:
		z.codes, z.state = fixed, symbols
	case 2:
		t := codes.Get().(*tables)
		if ok = z.dynamic(t); !ok || z.err != nil {
			codes.Put(t)
			if !ok {
				z.wait(m)
				return
			}
		} else {
			z.codes, z.state = t, symbols
		}
	default:
		z.err = ErrCorrupt
	}
	z.final = final
}

// dynamic reads the codes of a block (RFC 1951 §3.2.7).
func (z *Reader) dynamic(t *tables) bool {
	nlit, _ := z.take(5)
	ndist, _ := z.take(5)
	ncode, ok := z.take(4)
	if !ok {
		return false
	}
	nlit, ndist, ncode = nlit+257, ndist+1, ncode+4
	var l [320]uint8
	for i := range ncode {
		n, ok := z.take(3)
		if !ok {
			return false
		}
		l[codeOrder[i]] = uint8(n)
	}
	if nlit > 286 || ndist > 30 || !t.literal.build(l[:19]) {
		z.err = ErrCorrupt
		return true
	}
	l = [320]uint8{}
	for i := 0; i < nlit+ndist; {
		sym, ok := z.decode(&t.literal)
		if !ok {
			return false
		}
		if sym >= 0 && sym < 16 {
			l[i] = uint8(sym)
			i++
			continue
		}
		n, prev := 0, uint8(0)
		switch sym {
		case 16:
			n, ok = z.take(2)
			n += 3
			if i > 0 {
				prev = l[i-1]
			}
		case 17:
			n, ok = z.take(3)
			n += 3
		case 18:
			n, ok = z.take(7)
			n += 11
		}
		if !ok {
			return false
		}
		if sym < 0 || sym == 16 && i == 0 || i+n > nlit+ndist {
			z.err = ErrCorrupt
			return true
		}
		for ; n > 0; n-- {
			l[i] = prev
			i++
		}
	}
	if l[256] == 0 || !t.literal.build(l[:nlit]) || !t.distance.build(l[nlit:nlit+ndist]) {
		z.err = ErrCorrupt
	}
	return true
}

// endBlock goes on after a block.
func (z *Reader) endBlock() {
	z.release()
	z.state = header
	if z.final {
		z.state = ended
	}
}

func (z *Reader) endStored() {
	if z.left == 0 {
		z.endBlock()
	}
}

// stored copies octets of a stored block.
func (z *Reader) stored(p []byte) (n int) {
	for ; n < min(len(p), z.left) && z.bits > 0; n++ { // whole octets, see block
		p[n] = byte(z.hold)
		z.drop(8)
	}
	if z.input != nil {
		k := copy(p[n:min(len(p), z.left)], z.input[z.pos:z.end])
		z.pos += k
		n += k
	}
	for _, c := range p[:n] {
		z.put(c)
	}
	z.left -= n
	z.wants = n == 0
	z.endStored()
	return n
}

// symbols decodes literals and matches, until p is full or the block or the input
// ends.
func (z *Reader) symbols(p []byte) (n int) {
	for n < len(p) {
		m := z.mark()
		sym, ok := z.decode(&z.codes.literal)
		switch {
		case !ok:
			z.wait(m)
			return n
		case sym < 0 || sym > 285:
			z.err = ErrCorrupt
			return n
		case sym < 256:
			p[n] = byte(sym)
			z.put(byte(sym))
			n++
			continue
		case sym == 256:
			z.endBlock()
			return n
		}
		extra, ok := z.take(uint(lengthBits[sym-257]))
		if !ok {
			z.wait(m)
			return n
		}
		length := int(lengthBase[sym-257]) + extra
		if sym, ok = z.decode(&z.codes.distance); ok && (sym < 0 || sym > 29) {
			z.err = ErrCorrupt
			return n
		}
		if ok {
			extra, ok = z.take(uint(distBits[sym]))
		}
		if !ok {
			z.wait(m)
			return n
		}
		z.length, z.dist = length, int(distBase[sym])+extra
		if !z.full && z.dist > z.at {
			z.length, z.err = 0, ErrCorrupt
			return n
		}
		n += z.copy(p[n:])
	}
	return n
}

// copy repeats what stands dist octets before.
func (z *Reader) copy(p []byte) (n int) {
	for ; n < len(p) && z.length > 0; n++ {
		i := z.at - z.dist
		if i < 0 {
			i += windowSize
		}
		p[n] = z.window[i]
		z.put(p[n])
		z.length--
	}
	return n
}

// put adds an octet to the window, which grows until it has windowSize.
func (z *Reader) put(c byte) {
	if z.at == len(z.window) {
		if len(z.window) == windowSize {
			z.at, z.full = 0, true
		} else {
			grown := make([]byte, min(windowSize, max(512, 2*len(z.window))))
			copy(grown, z.window)
			z.window = grown
		}
	}
	z.window[z.at] = c
	z.at++
}
