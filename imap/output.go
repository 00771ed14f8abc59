package imap

import (
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postino-mail/postino/imap/internal/wire"
)

const (
	// flushSize is how much output is gathered before it is written: one system
	// call and few packets for many small responses.
	flushSize = 64 << 10
	// outputCap is the capacity of a pooled buffer: a response more than flushSize.
	outputCap = flushSize + 8<<10
	// outputKeep is the largest buffer that goes back to the pool; a session holds
	// at most the largest single response beyond it (IM5).
	outputKeep = 256 << 10
)

var outputs = sync.Pool{New: func() any { b := make([]byte, 0, outputCap); return &b }}

// output is the write side of a connection. After a failed write all is dropped
// and err tells why.
type output struct {
	conn  net.Conn
	stall time.Duration // a write that takes longer ends the connection
	buf   []byte
	box   *[]byte // the pool's box that buf came in
	err   error

	enabled
	exists uint32 // how many messages the client knows of
	within bool   // a FETCH response is being written
}

// enabled is what the client enabled; it decides how responses look.
type enabled struct {
	rev2, condstore, qresync, utf8, uidOnly bool
	language                                language
}

// unicode tells whether UTF-8 may be sent in quoted strings and mailbox names
// (RFC 9051 §5.1, RFC 9755 §3).
func (o *output) unicode() bool { return o.rev2 || o.utf8 }

// open makes sure that there is a buffer to append to.
func (o *output) open() {
	if o.box == nil {
		o.box = outputs.Get().(*[]byte)
		o.buf = (*o.box)[:0]
	}
}

// release gives the buffer back; it is empty then or its content worthless.
func (o *output) release() {
	if o.box == nil {
		return
	}
	if cap(o.buf) <= outputKeep {
		*o.box = o.buf[:0]
	}
	outputs.Put(o.box)
	o.box, o.buf = nil, nil
}

func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		o.err = o.conn.SetWriteDeadline(time.Now().Add(o.stall))
		if o.err == nil {
			_, o.err = o.conn.Write(o.buf)
		}
	}
	o.buf = o.buf[:0]
	return o.err
}

// flushFull flushes when there is enough.
func (o *output) flushFull() error {
	if len(o.buf) >= flushSize {
		return o.flush()
	}
	return o.err
}

// fail ends the connection at the next occasion: what was announced cannot be sent.
func (o *output) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *output) str(s string)     { o.buf = append(o.buf, s...) }
func (o *output) num(n uint32)     { o.buf = strconv.AppendUint(o.buf, uint64(n), 10) }
func (o *output) num64(n int64)    { o.buf = strconv.AppendInt(o.buf, n, 10) }
func (o *output) modseq(n uint64)  { o.buf = strconv.AppendUint(o.buf, n, 10) }
func (o *output) ranges(r []Range) { o.buf = appendRanges(o.buf, r) }
func (o *output) string(s string)  { o.buf = wire.AppendString(o.buf, s, o.unicode()) }
func (o *output) astring(s string) { o.buf = wire.AppendAString(o.buf, s, o.unicode()) }

// mailbox prints a mailbox name: UTF-8 for clients of IMAP4rev2 or UTF8=ACCEPT,
// modified UTF-7 for others (RFC 9051 §5.1, RFC 3501 §5.1.3).
func (o *output) mailbox(name string) {
	if o.unicode() {
		o.string(name)
		return
	}
	var scratch [256]byte
	o.string(string(wire.AppendUTF7(scratch[:0], name)))
}

// flagNames are the system flags by bit (RFC 9051 §2.3.2).
var flagNames = [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\Recent`}

// flagLists is every combination of them, printed.
var flagLists = func() (lists [1 << len(flagNames)]string) {
	for set := range lists {
		for i, name := range flagNames {
			if set>>i&1 == 0 {
				continue
			}
			if lists[set] != "" {
				lists[set] += " "
			}
			lists[set] += name
		}
	}
	return lists
}()

// flags prints a flag-list with its parentheses.
func (o *output) flags(f Flag, keywords []string) { o.buf = o.appendFlags(o.buf, f, keywords) }

// appendFlags appends a flag-list. \Recent does not exist for clients of IMAP4rev2.
func (o *output) appendFlags(b []byte, f Flag, keywords []string) []byte {
	if o.rev2 {
		f &^= Recent
	}
	b = append(b, '(')
	s := flagLists[f&(1<<len(flagNames)-1)]
	b = append(b, s...)
	for i, k := range keywords {
		if i > 0 || s != "" {
			b = append(b, ' ')
		}
		b = append(b, k...)
	}
	return append(b, ')')
}

// copyLiteral sends exactly size octets of r.
func (o *output) copyLiteral(size int64, r io.Reader) error {
	for size > 0 && o.err == nil {
		if err := o.flushFull(); err != nil {
			return err
		}
		o.buf = slices.Grow(o.buf, int(min(size, outputCap-flushSize)))
		free := o.buf[len(o.buf):cap(o.buf)]
		n, err := r.Read(free[:min(int64(len(free)), size)])
		o.buf = o.buf[:len(o.buf)+n]
		size -= int64(n)
		if err == io.EOF && size > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			o.fail(err)
		}
	}
	return o.err
}

// UpdateWriter prints what a client did not ask for, and the answers of STORE.
// Its methods append to the connection's buffer, which is written when it is
// full; the caller holds no lock.
type UpdateWriter struct {
	out      *output
	uid      bool // within a UID command: FETCH responses name the UID
	silent   bool // STORE with .SILENT
	readOnly bool
	noFlags  bool            // nobody wants to hear of flags
	others   bool            // see Others
	overflow bool            // see Overflow
	fresh    uint32          // the first message that is new, 0 none
	vanished []Range         // expunged, not yet told; see gone
	track    *searchContexts // nil when no search is to be kept up to date
}

// Exists tells how many messages there are now; it never shrinks (RFC 9051 §7.4.1).
func (w *UpdateWriter) Exists(n uint32) {
	if w.track != nil {
		w.track.grown = true
	}
	w.count(n, " EXISTS\r\n")
	if w.fresh == 0 {
		w.fresh = w.out.exists + 1
	}
	w.out.exists = n
}

// Recent tells how many are \Recent, to clients that know of it (RFC 3501 §7.3.2).
func (w *UpdateWriter) Recent(n uint32) {
	if !w.out.rev2 {
		w.count(n, " RECENT\r\n")
	}
}

// Expunge tells that a message is gone: the sequence numbers above seq count one
// less from here on (RFC 9051 §7.5.1). uid is the UID it had.
func (w *UpdateWriter) Expunge(seq, uid uint32) {
	if w.track != nil {
		w.settle() // its numbers are those before this one goes
		w.track.expunged(w.out, seq, uid)
	}
	w.out.exists--
	if w.out.qresync || w.out.uidOnly { // RFC 7162 §3.2.10, RFC 9586 §3.6
		w.gone(uid)
		return
	}
	w.count(seq, " EXPUNGE\r\n")
}

// Vanished tells that UIDs are gone, earlier: before this session selected the
// mailbox (RFC 7162 §3.2.10).
func (w *UpdateWriter) Vanished(uids []Range, earlier bool) {
	if w.settle(); len(uids) == 0 {
		return
	}
	w.out.str("* VANISHED ")
	if earlier {
		w.out.str("(EARLIER) ")
	}
	w.out.ranges(uids)
	w.out.str("\r\n")
	w.out.flushFull()
}

func (w *UpdateWriter) count(n uint32, text string) {
	w.settle()
	w.out.str("* ")
	w.out.num(n)
	w.out.str(text)
	w.out.flushFull()
}

// Flags tells the flags of a message. The mod-sequence is printed for clients
// that know of it (RFC 7162 §3.1), the UID where it helps (RFC 9051 §7.5.2).
func (w *UpdateWriter) Flags(seq, uid uint32, modseq uint64, f Flag, keywords []string) {
	if w.track != nil {
		w.track.changed = append(w.track.changed, uid)
	}
	o := w.out
	w.settle()
	if w.noFlags || w.silent && !o.condstore {
		return
	}
	o.str("* ")
	space := ""
	if o.uidOnly { // RFC 9586 §3.6
		o.num(uid)
		o.str(" UIDFETCH (")
	} else {
		o.num(seq)
		o.str(" FETCH (")
	}
	if (w.uid || o.rev2 || o.condstore) && !o.uidOnly {
		o.str("UID ")
		o.num(uid)
		space = " "
	}
	if !w.silent {
		o.str(space)
		o.str("FLAGS ")
		o.flags(f, keywords)
		space = " "
	}
	if o.condstore {
		o.str(space)
		o.str("MODSEQ (")
		o.modseq(modseq)
		o.str(")")
	}
	o.str(")\r\n")
	o.flushFull()
}

// MailboxFlags tells that the mailbox has other keywords than before
// (RFC 9051 §7.3.5 and §7.1 PERMANENTFLAGS). The arguments are as in [SelectData].
func (w *UpdateWriter) MailboxFlags(keywords []string, permanent Flag, newKeywords bool) {
	w.settle()
	w.out.mailboxFlags(keywords, permanent, newKeywords, w.readOnly)
}

// Err tells whether the client is gone; then there is no use in writing more.
func (w *UpdateWriter) Err() error { return w.out.err }

const allFlags = Seen | Answered | Flagged | Deleted | Draft

func (o *output) mailboxFlags(keywords []string, permanent Flag, newKeywords, readOnly bool) {
	o.str("* FLAGS ")
	o.flags(allFlags, keywords)
	o.str("\r\n* OK [PERMANENTFLAGS ")
	switch {
	case readOnly:
		o.str("()")
	case newKeywords:
		o.flags(permanent&allFlags, append(slices.Clip(keywords), `\*`))
	default:
		o.flags(permanent&allFlags, keywords)
	}
	o.codeEnd("Flags kept")
}
