package imap

import (
	"io"
	"strconv"
	"time"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// FetchWriter prints FETCH responses: for each message [FetchWriter.Begin], the
// items that were asked for in any order, [FetchWriter.End]. Nothing is allocated
// per message; End and Section write to the client when enough is gathered, so
// the caller holds no lock.
type FetchWriter struct {
	out    *output
	modseq bool            // MODSEQ was asked for
	open   bool            // within the parentheses, before the first item
	track  *searchContexts // where flags may change and searches are kept up to date
}

// Begin begins the response of the message with this sequence number and UID.
func (w *FetchWriter) Begin(seq, uid uint32) {
	if w.track != nil {
		w.track.changed = append(w.track.changed, uid)
	}
	b := append(w.out.buf, "* "...)
	if w.out.uidOnly { // RFC 9586 §3.3
		b = strconv.AppendUint(b, uint64(uid), 10)
		w.out.buf = append(b, " UIDFETCH ("...)
	} else {
		b = strconv.AppendUint(b, uint64(seq), 10)
		w.out.buf = append(b, " FETCH ("...)
	}
	w.open, w.out.within = true, true
}

// item returns the buffer with the space before an item and its name; w.out.buf is
// to be set to what is appended to it.
func (w *FetchWriter) item(name string) []byte {
	b := w.out.buf
	if !w.open {
		b = append(b, ' ')
	}
	w.open = false
	return append(b, name...)
}

// UID prints the unique identifier.
func (w *FetchWriter) UID(uid uint32) {
	w.out.buf = strconv.AppendUint(w.item("UID "), uint64(uid), 10)
}

// Flags prints the flags; keywords is used during the call only.
func (w *FetchWriter) Flags(f Flag, keywords []string) {
	w.out.buf = w.out.appendFlags(w.item("FLAGS "), f, keywords)
}

// ModSeq prints the mod-sequence when it was asked for or the client knows of
// them; sessions call it once for every message with Flags (RFC 7162 §3.1.4.2).
func (w *FetchWriter) ModSeq(n uint64) {
	if !w.modseq && !w.out.condstore {
		return
	}
	w.out.buf = append(strconv.AppendUint(w.item("MODSEQ ("), n, 10), ')')
}

// InternalDate prints the internal date in t's zone.
func (w *FetchWriter) InternalDate(t time.Time) {
	w.out.buf = wire.AppendDateTime(w.item("INTERNALDATE "), t)
}

// Size prints RFC822.SIZE.
func (w *FetchWriter) Size(n int64) {
	w.out.buf = strconv.AppendInt(w.item("RFC822.SIZE "), n, 10)
}

// Envelope prints an envelope in IMAP notation, parentheses included.
func (w *FetchWriter) Envelope(b []byte) { w.rendered("ENVELOPE ", b) }

// Body prints a body structure without extension data, in IMAP notation.
func (w *FetchWriter) Body(b []byte) { w.rendered("BODY ", b) }

// BodyStructure prints a body structure in IMAP notation.
func (w *FetchWriter) BodyStructure(b []byte) { w.rendered("BODYSTRUCTURE ", b) }

func (w *FetchWriter) rendered(name string, b []byte) {
	w.out.buf = append(w.item(name), b...)
}

// Preview prints the beginning of the text for people (RFC 8970), nil as NIL.
func (w *FetchWriter) Preview(text []byte) {
	b := w.item("PREVIEW ")
	if text == nil {
		w.out.buf = append(b, "NIL"...)
		return
	}
	w.out.buf = wire.AppendString(b, string(text), w.out.unicode())
}

// SaveDate prints when the message came into the mailbox (RFC 8514 §4.2), NIL for
// zero: it is not known.
func (w *FetchWriter) SaveDate(t time.Time) {
	if t.IsZero() {
		w.out.buf = append(w.item("SAVEDATE "), "NIL"...)
		return
	}
	w.out.buf = wire.AppendDateTime(w.item("SAVEDATE "), t)
}

// EmailID and ThreadID print object ids (RFC 8474 §5).
func (w *FetchWriter) EmailID(id string) { w.objectID("EMAILID (", id) }

// ThreadID prints the thread's id, NIL for none.
func (w *FetchWriter) ThreadID(id string) {
	if id == "" {
		w.out.buf = append(w.item("THREADID "), "NIL"...)
		return
	}
	w.objectID("THREADID (", id)
}

func (w *FetchWriter) objectID(name, id string) {
	w.out.buf = append(append(w.item(name), id...), ')')
}

// Vanished tells which of the UIDs asked for were expunged (RFC 7162 §3.2.6). It
// comes before the first Begin.
func (w *FetchWriter) Vanished(uids []Range) {
	u := UpdateWriter{out: w.out}
	u.Vanished(uids, true)
}

// Section prints the content of a section: size octets of r, which are those
// that [Section.Clip] left. When r ends early or fails the connection is given
// up, because the client was promised size octets.
func (w *FetchWriter) Section(s *Section, size int64, r io.Reader) error {
	w.literal(s, size)
	return w.out.copyLiteral(size, r)
}

// SectionBytes prints the content of a section that is in memory, clipped already.
func (w *FetchWriter) SectionBytes(s *Section, b []byte) error {
	w.literal(s, int64(len(b)))
	if len(w.out.buf)+len(b) < outputCap {
		w.out.buf = append(w.out.buf, b...)
		return w.out.err
	}
	for len(b) > 0 && w.out.err == nil {
		n := min(len(b), outputCap-len(w.out.buf))
		w.out.buf = append(w.out.buf, b[:max(n, 0)]...)
		b = b[max(n, 0):]
		w.out.flush()
	}
	return w.out.err
}

func (w *FetchWriter) literal(s *Section, size int64) {
	w.out.buf = append(w.item(""), s.label...)
	if s.Kind == BinarySection {
		w.out.str(" ~{") // literal8: the content may hold NUL (RFC 3516 §4.2)
	} else {
		w.out.str(" {")
	}
	w.out.num64(size)
	w.out.str("}\r\n")
}

// SectionNil prints that the section does not exist; the size of none is 0.
func (w *FetchWriter) SectionNil(s *Section) {
	w.out.buf = append(w.item(""), s.label...)
	if s.Kind == BinarySizeSection {
		w.out.str(" 0")
	} else {
		w.out.str(" NIL")
	}
}

// BinarySize prints the decoded size of a section.
func (w *FetchWriter) BinarySize(s *Section, n int64) {
	w.out.buf = append(w.item(""), s.label...)
	w.out.str(" ")
	w.out.num64(n)
}

// End ends the response. An error means that the client is gone.
func (w *FetchWriter) End() error {
	w.out.buf = append(w.out.buf, ")\r\n"...)
	w.out.within = false
	return w.out.flushFull()
}

// Clip applies the partial range to a section of size octets: the n octets from
// off on are to be sent (RFC 9051 §6.4.5.1).
func (s *Section) Clip(size int64) (off, n int64) {
	if !s.Partial {
		return 0, size
	}
	off = min(s.Offset, size)
	return off, min(s.Length, size-off)
}
