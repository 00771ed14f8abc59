package message

import (
	"bytes"
	"sync"
)

// maxDelimiter bounds a delimiter line with its padding: a longer line is content.
const maxDelimiter = 1000

// maxLine is the longest line without its end that RFC 5322 §2.1.1 allows.
const maxLine = 998

// Indexer makes an [Index] of the octets written to it, in one pass and
// whatever the sizes of the writes. It keeps headers only. Indexers are pooled:
// make one with [NewIndexer], end with [Indexer.Finish] or [Indexer.Release].
type Indexer struct {
	idle  bool // given back
	lim   Limits
	flags Flag

	parts  []record
	params []paramSpan
	frames []frame // open parts, from the message to the part being read
	arena  []byte  // the texts that records point to
	lex    scratch

	hdr     []byte // header being read, at most lim.HeaderBytes
	top     []byte // header of the message, once complete
	hdrLine int    // where the current line began in hdr

	off     int64  // offset of the current line
	pending int64  // octets of the current line that came with earlier writes
	carry   []byte // the first of them, as far as a delimiter may reach
	lastCR  bool   // the last of them is CR
	eol     int64  // size of the line end before the current line

	lf, crlf, cr int64
	state        state
	addresses    int // that may still be read
}

type state uint8

const (
	inHeader state = iota
	inBody
	inOpaque // the limit of parts is reached: no delimiter counts any more
)

// frame is an open part; boundary is set for a multipart.
type frame struct {
	part     int32
	boundary span
	closed   bool
}

// span is a text in the arena.
type span struct{ off, n uint32 }

// record is a Part with its texts still in the arena.
type record struct {
	headerStart, bodyStart, end int64
	lf                          int64 // line ends before bodyStart
	lines                       int64
	parent                      int32
	children                    int32
	flags                       Flag
	typ, subtype                span
	id, description, md5        span
	location, encoding          span
	disposition, language       span
	envelope                    span
	params, dparams             span // in Indexer.params
}

type paramSpan struct {
	name, value span
	extended    bool
}

var indexers = sync.Pool{New: func() any { return new(Indexer) }}

// NewIndexer returns an indexer that is ready for the first octet of a message.
func NewIndexer(lim Limits) *Indexer {
	x := indexers.Get().(*Indexer)
	x.idle = false
	x.lim = lim.withDefaults()
	x.addresses = x.lim.Addresses
	x.begin(-1, 0)
	return x
}

// Release gives the indexer back without a result. Do not use it afterwards:
// giving it back twice panics, since two messages would share it.
func (x *Indexer) Release() {
	if x.idle {
		panic("message: indexer given back twice")
	}
	x.idle = true
	keep := Indexer{
		idle:  true,
		parts: x.parts[:0], params: x.params[:0], frames: x.frames[:0], arena: x.arena[:0],
		hdr: x.hdr[:0], top: x.top[:0], carry: x.carry[:0], lex: x.lex,
	}
	if cap(keep.hdr)+cap(keep.top)+cap(keep.arena)+cap(keep.lex.text) > 1<<18 || cap(keep.parts)+cap(keep.params) > 512 {
		return // one odd message must not make the pool heavy
	}
	*x = keep
	indexers.Put(x)
}

// Parse indexes a message that is in memory.
func Parse(b []byte, lim Limits) *Index {
	x := NewIndexer(lim)
	x.Write(b)
	return x.Finish()
}

// HeaderTooLarge is [Index.HeaderTooLarge] for what was written so far: it
// turns true as soon as the header is known to be over a limit.
func (x *Indexer) HeaderTooLarge() bool {
	return x.flags&FlagHeaderLimit != 0 ||
		len(x.parts) == 1 && x.state == inHeader && x.off+x.pending > x.lim.HeaderBytes
}

// Write takes the next octets of the message. It never fails.
func (x *Indexer) Write(p []byte) (int, error) {
	x.cr += int64(bytes.Count(p, crByte))
	if x.flags&FlagNUL == 0 && bytes.IndexByte(p, 0) >= 0 {
		x.flags |= FlagNUL
	}
	n := len(p)
	body := p // octets since the last header
	if x.state == inHeader {
		body = nil
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			x.hold(p)
			break
		}
		before := x.state
		x.line(p[:i+1])
		p = p[i+1:]
		switch {
		case x.state == before:
		case x.state == inHeader:
			x.eightBit(body[:len(body)-len(p)])
			body = nil
		case before == inHeader:
			body = p
		}
	}
	x.eightBit(body)
	return n, nil
}

var crByte = []byte{'\r'}

func (x *Indexer) eightBit(b []byte) {
	if x.flags&Flag8BitBody == 0 && !isASCII(b) {
		x.flags |= Flag8BitBody
	}
}

// hold keeps what matters of a line whose end has not come yet.
func (x *Indexer) hold(p []byte) {
	if x.state == inHeader {
		x.keep(p)
	}
	x.pending += int64(len(p))
	x.lastCR = p[len(p)-1] == '\r'
	x.carry = append(x.carry, p[:min(len(p), maxDelimiter+1-len(x.carry))]...)
}

// keep appends to the header being read, as far as the limit allows.
func (x *Indexer) keep(p []byte) {
	x.hdr = append(x.hdr, p[:min(int64(len(p)), x.lim.HeaderBytes-int64(len(x.hdr)))]...)
}

// line takes a line, or the rest of one that was held.
func (x *Indexer) line(p []byte) {
	size, start := int64(len(p)), p
	if x.state == inHeader {
		x.keep(p)
	}
	cr := len(p) > 1 && p[len(p)-2] == '\r'
	if x.pending > 0 {
		cr = cr || len(p) == 1 && x.lastCR
		size += x.pending
		x.carry = append(x.carry, p[:min(len(p), maxDelimiter+1-len(x.carry))]...)
		start = x.carry
	}
	eol := int64(1)
	if cr {
		eol = 2
		x.crlf++
	} else {
		x.flags |= FlagBareLF
	}
	x.take(start, size, eol)
	if x.pending > 0 {
		x.pending, x.carry, x.lastCR = 0, x.carry[:0], false
	}
}

// take handles a whole line; start holds its first octets, all of them up to
// maxDelimiter. The line was already kept if it stands in a header.
func (x *Indexer) take(start []byte, size, eol int64) {
	if size-eol > maxLine {
		x.flags |= FlagLongLine
	}
	next := x.off + size
	if eol > 0 {
		x.lf++
	}
	switch {
	case len(start) > 1 && start[0] == '-' && start[1] == '-' && size <= maxDelimiter && x.delimiter(start, next, eol):
	case x.state == inHeader && size == eol:
		x.endHeader(next)
	case x.state == inHeader:
		x.hdrLine = len(x.hdr)
	}
	x.off, x.eol = next, eol
}

// delimiter tells whether the line is a delimiter of an open multipart and, if
// so, closes and opens what it says (RFC 2046 §5.1.1). Inner ones come first.
func (x *Indexer) delimiter(line []byte, next, eol int64) bool {
	if x.state == inOpaque {
		return false
	}
	rest := bytes.TrimRight(line[2:], " \t\r\n")
	after := -1
	for k := len(x.frames) - 1; k >= 0; k-- {
		f := &x.frames[k]
		if f.boundary.n == 0 {
			continue
		}
		tail, ok := bytes.CutPrefix(rest, x.text(f.boundary))
		switch {
		case !ok:
		case len(tail) != 0 && string(tail) != "--":
			x.flag(f.part, FlagBoundaryJunk)
		case f.closed:
			after = k
		default:
			x.delimit(k, len(tail) != 0, next, eol)
			return true
		}
	}
	if after >= 0 {
		x.flag(x.frames[after].part, FlagAfterEnd)
	}
	return false
}

func (x *Indexer) delimit(k int, closing bool, next, eol int64) {
	if eol > 0 {
		x.lf-- // the ends below are before this line
	}
	if x.state == inHeader {
		x.hdr = x.hdr[:min(len(x.hdr), x.hdrLine)]
		x.cutHeader(x.off)
	}
	x.closeTo(k+1, x.off-x.eol, x.eol)
	if eol > 0 {
		x.lf++
	}
	x.state = inBody
	if closing {
		x.frames[k].closed = true
		return
	}
	parent := x.frames[k].part
	x.begin(parent, next)
	if len(x.parts) >= x.lim.Parts {
		x.opaque()
	}
}

// opaque makes the part just begun swallow the rest of the message.
func (x *Indexer) opaque() {
	r := &x.parts[len(x.parts)-1]
	r.typ, r.subtype = x.put("application"), x.put("octet-stream")
	r.flags |= FlagLimit
	r.bodyStart, r.lf = r.headerStart, x.lf
	x.state = inOpaque
}

// begin opens a part whose header starts at the offset.
func (x *Indexer) begin(parent int32, at int64) {
	if parent >= 0 {
		x.parts[parent].children++
	}
	x.frames = append(x.frames, frame{part: int32(len(x.parts))})
	x.parts = append(x.parts, record{parent: parent, headerStart: at, end: -1})
	x.hdr, x.hdrLine = x.hdr[:0], 0
	x.state = inHeader
}

// closeTo ends the open parts from frame k on. A line end of eol octets stands
// between end and the current offset and does not belong to them.
func (x *Indexer) closeTo(k int, end, eol int64) {
	lf := x.lf
	if eol > 0 {
		lf--
	}
	for i := len(x.frames) - 1; i >= k; i-- {
		f := &x.frames[i]
		r := &x.parts[f.part]
		if end < r.bodyStart { // it has the line end in its header, and so have those around it
			end, lf = r.bodyStart, r.lf
		}
		r.end, r.lines = end, lf-r.lf
		if f.boundary.n > 0 && !f.closed && x.state != inOpaque {
			r.flags |= FlagNoEndBoundary
		}
	}
	x.frames = x.frames[:k]
}

// cutHeader ends a header that no empty line ended, and those of the messages
// that begin there.
func (x *Indexer) cutHeader(at int64) {
	x.flag(x.frames[len(x.frames)-1].part, FlagNoBlankLine)
	for x.state == inHeader {
		x.endHeader(at)
	}
}

// endHeader reads the header of the current part and decides what its body is.
func (x *Indexer) endHeader(bodyStart int64) {
	f := &x.frames[len(x.frames)-1]
	i := f.part
	r := &x.parts[i]
	r.bodyStart, r.lf = bodyStart, x.lf
	x.state = inBody
	boundary := x.readHeader(r)
	if i == 0 {
		x.top = append(x.top[:0], x.hdr...)
	}
	deep := len(x.frames) > x.lim.Depth
	switch typ, subtype := x.text(r.typ), x.text(r.subtype); {
	case string(typ) == "multipart" && deep:
		r.typ, r.subtype = x.put("application"), x.put("octet-stream")
		r.flags |= FlagLimit
	case string(typ) == "multipart":
		x.openMultipart(f, r, boundary)
	case string(typ) == "message" && (string(subtype) == "rfc822" || string(subtype) == "global"):
		switch {
		case !identity(x.text(r.encoding)):
			r.flags |= FlagEncodedContainer
		case deep || len(x.parts)+1 >= x.lim.Parts:
			r.flags |= FlagLimit
		default:
			x.begin(i, bodyStart)
		}
	}
}

func (x *Indexer) openMultipart(f *frame, r *record, boundary span) {
	if !identity(x.text(r.encoding)) {
		r.flags |= FlagEncodedContainer
	}
	b := bytes.TrimRight(x.text(boundary), " \t")
	boundary.n = uint32(len(b))
	if len(b) == 0 || len(b) > x.lim.Boundary {
		r.flags |= FlagNoBoundary
		return
	}
	for k := range x.frames {
		if g := x.frames[k].boundary; g.n > 0 && bytes.Equal(x.text(g), b) {
			r.flags |= FlagBoundaryReuse
		}
	}
	f.boundary = boundary
}

// identity tells whether a transfer encoding leaves the octets as they are.
func identity(enc []byte) bool {
	switch string(enc) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

func (x *Indexer) flag(part int32, f Flag) { x.parts[part].flags |= f }

func (x *Indexer) text(s span) []byte { return x.arena[s.off : s.off+s.n] }

func (x *Indexer) put(s string) span {
	at := len(x.arena)
	x.arena = append(x.arena, s...)
	return span{uint32(at), uint32(len(s))}
}

// since is the text appended to the arena from at on.
func (x *Indexer) since(at int) span { return span{uint32(at), uint32(len(x.arena) - at)} }

// Finish ends the message and returns its index. The indexer goes back to the
// pool: do not use it afterwards.
func (x *Indexer) Finish() *Index {
	if x.pending > 0 {
		x.take(x.carry, x.pending, 0)
	}
	size := x.off
	if x.state == inHeader {
		x.cutHeader(size)
	}
	x.closeTo(0, size, 0)
	if x.cr != x.crlf {
		x.flags |= FlagBareCR
	}
	idx := x.result(size)
	x.Release()
	return idx
}

// result copies the records into an index that owns its memory.
func (x *Indexer) result(size int64) *Index {
	idx := &Index{Size: size, Flags: x.flags, Parts: make([]Part, len(x.parts))}
	if len(x.top) > 0 {
		idx.header = append([]byte(nil), x.top...)
	}
	text := string(x.arena)
	str := func(s span) string { return text[s.off : s.off+s.n] }
	params := make([]Param, len(x.params))
	for i, p := range x.params {
		params[i] = Param{Name: str(p.name), Value: str(p.value), Extended: p.extended}
	}
	list := func(s span) []Param {
		if s.n == 0 {
			return nil
		}
		return params[s.off : s.off+s.n : s.off+s.n]
	}
	for i := range x.parts {
		r, p := &x.parts[i], &idx.Parts[i]
		*p = Part{
			HeaderStart: r.headerStart, BodyStart: r.bodyStart, End: r.end, Lines: r.lines,
			Parent: int(r.parent), Type: str(r.typ), Subtype: str(r.subtype), Params: list(r.params),
			ID: str(r.id), Description: str(r.description), MD5: str(r.md5), Location: str(r.location),
			Encoding: str(r.encoding), Disposition: str(r.disposition), DispositionParams: list(r.dparams),
			envelope: str(r.envelope),
		}
		if r.language.n > 0 {
			p.Language = splitList(str(r.language))
		}
		if p.Type == "multipart" && r.children == 0 {
			// Nothing to descend into: as text it can at least be read.
			p.Type, p.Subtype, p.Params = "text", "plain", nil
			if r.flags&FlagNoBoundary == 0 {
				r.flags |= FlagNoParts
			}
		}
		p.Flags = r.flags
		idx.Flags |= r.flags
	}
	idx.link()
	return idx
}
