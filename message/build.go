package message

import (
	"crypto/rand"
	"encoding/hex"
	"io"

	"github.com/postino-mail/postino"
)

// BuilderOptions are the choices of a [Builder].
type BuilderOptions struct {
	// Rand gives the octets of boundaries; nil means the system's source.
	Rand io.Reader
	// UTF8 lets addresses and structured values be UTF-8 (RFC 6532), which needs
	// SMTPUTF8 on the way. Text and names are encoded words even then.
	UTF8 bool
}

// Builder writes a message: header fields, then a body or a multipart of parts
// that have fields and bodies in turn. Lines end with CRLF and have at most 78
// octets where a value can be folded, 998 always. No value can bring in a field,
// a part or a line (PA6): octets that could are encoded, or the value is refused.
// The first error stays and makes the rest do nothing; [Builder.Close] returns it.
//
// Order of the calls: fields, then one of Text, Body, Raw, Report or Multipart;
// inside of a multipart, Part begins each part and End closes the multipart.
type Builder struct {
	w     io.Writer
	opt   BuilderOptions
	err   error
	buf   []byte // the field being written
	col   int    // octets in its last line
	place place
	outer []container // open multiparts
}

type place uint8

const (
	inFields place = iota // fields may be written
	afterBody
	inMultipart // a part must begin or the multipart end
)

type container struct {
	boundary string
	encoding string
}

// NewBuilder returns a builder that writes to w.
func NewBuilder(w io.Writer, opt BuilderOptions) *Builder {
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	return &Builder{w: w, opt: opt}
}

func (b *Builder) fail(op, object string) {
	if b.err == nil {
		b.err = postino.E(postino.Invalid, op, object, nil)
	}
}

func (b *Builder) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
	}
}

// maxName bounds the name of a field, so that its first word fits beside it.
const maxName = 60

// maxText bounds an unstructured value in octets.
const maxText = 16 << 10

// reserved are the fields that bodies write themselves.
func reserved(name string) bool {
	switch asciiLower(name) {
	case "content-type", "content-transfer-encoding", "mime-version":
		return true
	}
	return false
}

// begin starts a field; false means that it cannot be written.
func (b *Builder) begin(name string) bool {
	const op = "write header field"
	if b.err != nil {
		return false
	}
	if b.place != inFields || name == "" || len(name) > maxName {
		b.fail(op, name)
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			b.fail(op, name)
			return false
		}
	}
	b.buf = append(append(b.buf[:0], name...), ':')
	b.col = len(b.buf)
	return true
}

// put adds a word that must not be cut, after white space that may be folded.
func (b *Builder) put(space, word string) {
	if b.col+len(space)+len(word) > 78 && b.col > 1 && space != "" {
		b.buf = append(b.buf, "\r\n"...)
		b.col = 0
	}
	b.buf = append(append(b.buf, space...), word...)
	if b.col += len(space) + len(word); b.col > maxLine {
		b.fail("write header field", "with a word that is too long")
	}
}

func (b *Builder) end() {
	b.write(append(b.buf, "\r\n"...))
}

// content ends the header: type, transfer encoding, empty line.
func (b *Builder) content(typ, encoding string, params []Param) {
	if len(b.outer) == 0 {
		b.begin("MIME-Version")
		b.put(" ", "1.0")
		b.end()
	}
	b.params("Content-Type", typ, params)
	if encoding != "" && b.begin("Content-Transfer-Encoding") {
		b.put(" ", encoding)
		b.end()
	}
	b.write([]byte("\r\n"))
	b.place = afterBody
}

// Multipart begins a multipart, with the media subtype and parameters other than
// the boundary. encoding is what its parts may at most need, as Raw parts do:
// "", "8bit" or "binary" (RFC 2045 §6.4).
func (b *Builder) Multipart(subtype, encoding string, params ...Param) {
	if b.err != nil {
		return
	}
	var octets [16]byte
	if _, err := io.ReadFull(b.opt.Rand, octets[:]); err != nil {
		b.err = err
		return
	}
	if rank(encoding) < 0 || len(b.outer) > 0 && rank(encoding) > rank(b.outer[len(b.outer)-1].encoding) || lookup(params, "boundary") != "" {
		b.fail("begin multipart", subtype)
		return
	}
	// "=_" can stand in no encoded body (RFC 2045 §6.7).
	c := container{"=_" + hex.EncodeToString(octets[:]), encoding}
	b.content("multipart/"+subtype, encoding, append(params[:len(params):len(params)], Param{Name: "boundary", Value: c.boundary}))
	b.outer = append(b.outer, c)
	b.place = inMultipart
}

func rank(encoding string) int {
	switch encoding {
	case "", "7bit":
		return 0
	case "8bit":
		return 1
	case "binary":
		return 2
	}
	return -1
}

// Part begins the next part of the multipart.
func (b *Builder) Part() { b.delimiter("", inFields) }

// End closes the multipart.
func (b *Builder) End() {
	if b.delimiter("--", afterBody); b.err == nil {
		b.outer = b.outer[:len(b.outer)-1]
	}
}

func (b *Builder) delimiter(tail string, next place) {
	if len(b.outer) == 0 || b.place == inFields {
		b.fail("delimit part", "out of place")
	}
	if b.err != nil {
		return
	}
	start := "\r\n--"
	if b.place == inMultipart && tail == "" {
		start = "--"
	}
	b.write([]byte(start + b.outer[len(b.outer)-1].boundary + tail + "\r\n"))
	b.place = next
}

// Close ends the message, with its open multiparts, and returns the first error.
func (b *Builder) Close() error {
	if b.err == nil && b.place == inFields {
		b.write([]byte("\r\n")) // a header alone
		b.place = afterBody
	}
	for b.err == nil && len(b.outer) > 0 {
		b.End()
	}
	return b.err
}
