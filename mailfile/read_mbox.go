package mailfile

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Variant is one of the formats that are called mbox.
type Variant uint8

// The variants: what ends a message, and how its lines that begin with "From " are
// written.
const (
	// MboxAuto takes a message to be as long as its Content-Length says where that
	// really leads to the next message, and unquotes as the rest of the file tells;
	// without a hint as mboxrd.
	MboxAuto Variant = iota
	MboxO            // ">" before "From "; one ">" is taken away from ">From " alone
	MboxRD           // ">" before any number of ">" and "From "; one is taken away from all
	MboxCL           // as mboxo, with a Content-Length
	MboxCL2          // a Content-Length and no quoting
)

var variantNames = []string{"auto", "mboxo", "mboxrd", "mboxcl", "mboxcl2"}

// ParseVariant reads the name of a variant.
func ParseVariant(s string) (Variant, bool) {
	i := slices.Index(variantNames, s)
	return Variant(max(i, 0)), i >= 0
}

// MboxTree reads mbox files: one, or all in a directory and those below it.
type MboxTree struct {
	Files fs.FS
	// Path is a file or a directory below Files; Name the mailbox that a file
	// becomes, its own name when empty.
	Path, Name string
	Variant    Variant
	Limits     ReadLimits
	// Spool makes a file that can be read at any place out of one that cannot, as
	// those in archives; nil: such files are refused.
	Spool func(fs.File) (SpooledFile, error)

	open *openMbox
}

// SpooledFile can be read at any place. Close removes it.
type SpooledFile interface {
	io.ReaderAt
	io.Closer
}

// openMbox is the file that was read last.
type openMbox struct {
	path string
	file SpooledFile
	size int64
}

var _ Reader = (*MboxTree)(nil)

// Close closes the file that was read last.
func (t *MboxTree) Close() error {
	if t.open == nil {
		return nil
	}
	err := t.open.file.Close()
	t.open = nil
	return err
}

// Folders implements [Reader].
func (t *MboxTree) Folders() ([]Folder, error) {
	root := cmp.Or(t.Path, ".")
	info, err := fs.Stat(t.Files, root)
	if err != nil {
		return nil, readFail("read mbox", root, err)
	}
	lim := t.Limits.withDefaults()
	w := mboxWalk{t: t, lim: lim}
	if !info.IsDir() {
		if ok, err := t.isMbox(root); err != nil {
			return nil, readFail("read mbox", root, err)
		} else if !ok {
			return nil, readFail("read mbox", root, errNoMbox)
		}
		w.add(cmp.Or(t.Name, mboxName(path.Base(root))), root)
	} else if err := w.dir(root, "", 0); err != nil {
		return nil, readFail("read mbox", root, err)
	}
	if len(w.found) == 0 {
		return nil, readFail("read mbox", root, errNoMbox)
	}
	for i := range w.found {
		f := &w.found[i]
		if f.UIDValidity, f.UIDNext, err = t.base(f.Path, lim); err != nil {
			return nil, readFail("read mbox", f.Path, err)
		}
	}
	return w.found, nil
}

var errNoMbox = errors.New("no mbox: nothing begins with a line \"From sender date\"")

type mboxWalk struct {
	t     *MboxTree
	lim   ReadLimits
	found []Folder
}

func (w *mboxWalk) add(name, file string) {
	w.found = append(w.found, Folder{Name: inboxName(name), Path: file})
}

// mboxName is the name of a file without what programs add to it.
func mboxName(file string) string {
	for _, end := range []string{".mbox", ".mbx", ".sbd"} {
		if len(file) > len(end) && strings.EqualFold(file[len(file)-len(end):], end) {
			file = file[:len(file)-len(end)]
		}
	}
	return fromUTF7(file)
}

// dir looks for files in a directory, whose depth is bounded by the limits.
// "Name.sbd" are the folders below "Name" of Thunderbird, "Name.mbox/mbox" is how
// Apple Mail writes one.
func (w *mboxWalk) dir(dir, name string, depth int) error {
	if depth >= w.lim.Depth {
		return nil
	}
	entries, err := fs.ReadDir(w.t.Files, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name()[0] == '.' {
			continue
		}
		if len(w.found) >= w.lim.Folders {
			return errManyFolders
		}
		sub, full := path.Join(dir, e.Name()), mboxName(e.Name())
		if name != "" {
			full = name + "/" + full
		}
		switch {
		case e.IsDir():
			if err := w.dir(sub, full, depth+1); err != nil {
				return err
			}
		case !e.Type().IsRegular():
		default:
			if ok, err := w.t.isMbox(sub); err != nil {
				return err
			} else if !ok {
				continue
			}
			if e.Name() == "mbox" && name != "" {
				full = name
			}
			w.add(full, sub)
		}
	}
	return nil
}

// isMbox tells whether a file begins as an mbox does.
func (t *MboxTree) isMbox(name string) (bool, error) {
	f, info, err := openRegular(t.Files, name)
	if err != nil || info.Size() == 0 {
		return false, err
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, maxFromLine)).ReadString('\n')
	_, ok := fromDate([]byte(strings.TrimRight(line, "\r\n")))
	return ok, nil
}

// base reads X-IMAPbase or X-IMAP of the first message (uw-imap, Dovecot).
func (t *MboxTree) base(name string, lim ReadLimits) (validity, next uint32, err error) {
	f, _, err := openRegular(t.Files, name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	err = eachLine(io.LimitReader(f, lim.Header), lim.Line, func(line string) error {
		if line == "" {
			return io.EOF
		}
		field, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(field, "X-IMAPbase") && !strings.EqualFold(field, "X-IMAP") {
			return nil
		}
		words := strings.Fields(value)
		if len(words) < 2 {
			return nil
		}
		v, err := strconv.ParseUint(words[0], 10, 32)
		last, err2 := strconv.ParseUint(words[1], 10, 32)
		if err == nil && err2 == nil && v > 0 && last < 1<<32-1 {
			validity, next = uint32(v), uint32(last)+1
		}
		return io.EOF
	})
	if err == io.EOF || errors.Is(err, bufio.ErrTooLong) {
		err = nil
	}
	return validity, next, err
}

// at opens a file to be read at any place; the one that was read last stays open.
func (t *MboxTree) at(name string) (*openMbox, error) {
	if t.open != nil && t.open.path == name {
		return t.open, nil
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	f, info, err := openRegular(t.Files, name)
	if err != nil {
		return nil, err
	}
	s, ok := f.(SpooledFile)
	if !ok {
		if t.Spool == nil {
			f.Close()
			return nil, errors.New("the file cannot be read at any place")
		}
		s, err = t.Spool(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	t.open = &openMbox{name, s, info.Size()}
	return t.open, nil
}

// maxFromLine is the longest line that can begin a message, in octets.
const maxFromLine = 1024

// Entries implements [Reader]: one pass over the file.
func (t *MboxTree) Entries(f *Folder, fn func(*Entry) error, skipped func(string, error)) error {
	box, err := t.at(f.Path)
	if err != nil {
		return readFail("read mbox", f.Path, err)
	}
	variant := t.Variant
	if variant == MboxAuto {
		variant = MboxRD
	}
	s := mboxScan{
		box: box, lim: t.Limits.withDefaults(), auto: t.Variant == MboxAuto, variant: variant, fn: fn, seen: map[[16]byte]int{},
		validity: f.UIDValidity,
	}
	s.r = bufio.NewReaderSize(io.NewSectionReader(box.file, 0, box.size), chunk)
	if err := s.run(); err != nil {
		var stop stopError
		if errors.As(err, &stop) {
			return stop.error
		}
		return readFail("read mbox", f.Path, err)
	}
	return nil
}

// stopError is an error of the caller's function.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// mboxScan finds the messages of a file.
type mboxScan struct {
	box      *openMbox
	lim      ReadLimits
	auto     bool
	variant  Variant
	fn       func(*Entry) error
	r        *bufio.Reader
	at       int64 // of the next octet of r
	seen     map[[16]byte]int
	validity uint32
	lastUID  uint32
	first    bool
	buf      []byte
}

// line reads a line with its end, or the first part of one that is longer than the
// buffer; more tells that. The octets are good until the next read.
func (s *mboxScan) line() (line []byte, more bool, err error) {
	line, err = s.r.ReadSlice('\n')
	s.at += int64(len(line))
	if err == bufio.ErrBufferFull {
		return line, true, nil
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return line, false, err
}

func (s *mboxScan) run() error {
	line, _, err := s.line()
	if err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	date, ok := fromDate(trimEOL(line))
	if !ok {
		return errNoMbox
	}
	s.first = true
	for {
		m := mboxMessage{date: date, sum: sha256.New()}
		m.sum.Write(trimEOL(line))
		next, nextDate, err := s.message(&m)
		if err != nil && err != io.EOF {
			return err
		}
		if e := s.entry(&m); e != nil {
			if err := s.fn(e); err != nil {
				return stopError{err}
			}
		}
		if err == io.EOF {
			return nil
		}
		s.first = false
		line, date = next, nextDate
	}
}

// mboxMessage is the message that is being read.
type mboxMessage struct {
	date        time.Time
	sum         hash.Hash
	start, end  int64 // in the file, from behind its From_ line
	length      int64 // Content-Length, -1 none
	whole       bool  // Content-Length is right
	bare        bool  // a line within the length begins with "From "
	drop        []dropped
	had         map[string]bool
	status      string
	keywords    []string
	labels      string
	mozilla     uint64
	uid         uint32
	internal    bool // uw-imap's own
	headerBytes int64
}

// message reads up to the From_ line of the next message, which it returns, or to
// the end of the file (io.EOF).
func (s *mboxScan) message(m *mboxMessage) (next []byte, date time.Time, err error) {
	m.start, m.length, m.had = s.at, -1, map[string]bool{}
	next, date, err = s.header(m)
	if next != nil || err != nil {
		return next, date, err
	}
	bodyAt := s.at
	if m.length >= 0 && s.auto || m.length >= 0 && (s.variant == MboxCL || s.variant == MboxCL2) {
		m.whole = s.leads(bodyAt + m.length)
	}
	blank := int64(0) // octets of the empty line before
	for {
		at := s.at
		line, more, err := s.line()
		if err == io.EOF {
			m.end = s.at - blank
			if m.whole {
				m.end = bodyAt + m.length
			}
			return nil, date, io.EOF
		} else if err != nil {
			return nil, date, err
		}
		inside := m.whole && at < bodyAt+m.length
		if bytes.HasPrefix(line, []byte(fromWord)) {
			if d, ok := fromDate(trimEOL(line)); ok && !inside && !more {
				m.end = at - blank
				if m.whole {
					m.end = bodyAt + m.length
				}
				s.buf = append(s.buf[:0], line...)
				return s.buf, d, nil
			}
			m.bare = m.bare || inside
		}
		m.sum.Write(line)
		blank = 0
		if e := trimEOL(line); len(e) == 0 {
			blank = int64(len(line))
		}
		for more {
			if line, more, err = s.line(); err != nil && err != io.EOF {
				return nil, date, err
			}
			m.sum.Write(line)
		}
	}
}

// header reads the header of a message; next is not nil when the message ends in it.
func (s *mboxScan) header(m *mboxMessage) (next []byte, date time.Time, err error) {
	field := ""
	var value []byte
	var fieldAt int64
	end := func(at int64) {
		if field != "" {
			m.field(field, string(value), dropped{fieldAt, at - fieldAt}, s.first)
		}
		field, value = "", value[:0]
	}
	blank := false
	for {
		at := s.at
		line, more, err := s.line()
		if err == io.EOF {
			end(at)
			m.end = at
			return nil, date, io.EOF
		} else if err != nil {
			return nil, date, err
		}
		text := trimEOL(line)
		if !more && bytes.HasPrefix(line, []byte(fromWord)) {
			if d, ok := fromDate(text); ok {
				end(at)
				m.end = at
				s.buf = append(s.buf[:0], line...)
				return s.buf, d, nil
			}
		}
		folded := len(text) > 0 && (text[0] == ' ' || text[0] == '\t')
		if !folded {
			end(at)
			if name, _, ok := bytes.Cut(text, []byte(":")); ok && len(name) <= 20 {
				if n := strings.ToLower(string(bytes.TrimRight(name, " \t"))); mboxFields[n] {
					field, fieldAt = n, at
				}
			}
		}
		if field != "" {
			if len(value)+len(text) <= s.lim.Line {
				if folded {
					value = append(value, text...)
				} else {
					_, v, _ := bytes.Cut(text, []byte(":"))
					value = append(value, v...)
				}
			}
		}
		if field == "" || field == "x-gmail-labels" {
			m.sum.Write(line)
		}
		for more {
			if line, more, err = s.line(); err != nil && err != io.EOF {
				return nil, date, err
			}
			m.sum.Write(line)
		}
		m.headerBytes += int64(len(line))
		if blank = len(text) == 0; blank {
			return nil, date, nil
		}
	}
}

// mboxFields are those that programs keep their notes in.
var mboxFields = map[string]bool{
	"status": true, "x-status": true, "x-keywords": true, "x-uid": true, "x-imapbase": true, "x-imap": true, "content-length": true,
	"x-gmail-labels": true, "x-mozilla-status": true, "x-mozilla-keys": true,
}

// field takes in a note. Of several fields with a name the first counts; the others
// are left to the message.
func (m *mboxMessage) field(name, value string, at dropped, first bool) {
	if m.had[name] {
		return
	}
	m.had[name] = true
	value = strings.TrimSpace(value)
	switch name {
	case "content-length":
		if n, err := strconv.ParseInt(value, 10, 63); err == nil && n >= 0 {
			m.length = n // the field stays: it may be the sender's
		}
		return
	case "x-gmail-labels":
		m.labels = value
		return
	case "x-mozilla-status":
		m.mozilla, _ = strconv.ParseUint(value, 16, 16)
		return
	case "status", "x-status":
		m.status += value
	case "x-keywords":
		m.keywords = append(m.keywords, strings.Fields(value)...)
	case "x-mozilla-keys":
		m.keywords = append(m.keywords, strings.Fields(value)...)
		return
	case "x-uid":
		n, _ := strconv.ParseUint(value, 10, 32)
		m.uid = uint32(n)
	case "x-imapbase", "x-imap":
		if !first {
			return
		}
		m.internal = name == "x-imap"
	}
	m.drop = append(m.drop, at)
}

// leads tells whether a message can end at an offset: at the end of the file, or at
// a From_ line, with an empty line before it or without.
func (s *mboxScan) leads(at int64) bool {
	if at > s.box.size {
		return false
	}
	var buf [maxFromLine]byte
	n, err := s.box.file.ReadAt(buf[:min(int64(len(buf)), s.box.size-at)], at)
	if err != nil && err != io.EOF {
		return false
	}
	rest := bytes.TrimPrefix(bytes.TrimPrefix(buf[:n], []byte("\r")), []byte("\n"))
	if len(rest) == 0 {
		return at+int64(n) == s.box.size
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	_, ok := fromDate(bytes.TrimSuffix(line, []byte("\r")))
	return ok
}

// entry turns a message into its entry; nil for what uw-imap keeps for itself.
func (s *mboxScan) entry(m *mboxMessage) *Entry {
	if m.internal {
		return nil
	}
	var key [16]byte
	copy(key[:], m.sum.Sum(nil))
	s.seen[key]++
	slices.SortFunc(m.drop, func(a, b dropped) int { return cmp.Compare(a.off, b.off) })
	e := &Entry{Date: m.date, path: s.box.path, body: span{off: m.start, size: max(m.end-m.start, 0), drop: m.drop, unquote: s.variant}}
	e.Size = e.body.size
	e.Item = fmt.Sprintf("%s.%d", hex.EncodeToString(key[:]), s.seen[key])
	switch {
	case !m.whole || !s.auto:
	case m.bare:
		e.body.unquote = MboxCL2
	default:
		e.body.unquote = MboxCL
	}
	if m.uid > s.lastUID && s.validity != 0 {
		e.UID, s.lastUID = m.uid, m.uid
		e.UIDL = dovecotUIDL(m.uid, s.validity)
	}
	e.Flags = m.flags()
	e.Labels = m.labels
	return e
}

// flags reads Status (R: seen), X-Status (A, F, T, D), X-Mozilla-Status and keywords.
func (m *mboxMessage) flags() (flags []string) {
	add := func(f string) {
		if !slices.Contains(flags, f) {
			flags = append(flags, f)
		}
	}
	for _, c := range []byte(m.status) {
		switch c {
		case 'R':
			add(`\Seen`)
		case 'A':
			add(`\Answered`)
		case 'F':
			add(`\Flagged`)
		case 'T':
			add(`\Draft`)
		case 'D':
			add(`\Deleted`)
		}
	}
	for bit, f := range map[uint64]string{1: `\Seen`, 2: `\Answered`, 4: `\Flagged`, 8: `\Deleted`, 0x1000: "$Forwarded"} {
		if m.mozilla&bit != 0 {
			add(f)
		}
	}
	slices.Sort(flags)
	for _, k := range m.keywords {
		add(k)
	}
	return flags
}

// Open implements [Reader].
func (t *MboxTree) Open(e *Entry) (io.ReadCloser, error) {
	box, err := t.at(e.path)
	if err != nil {
		return nil, readFail("open message", e.path, err)
	}
	var parts []io.Reader
	at, end := e.body.off, e.body.off+e.body.size
	for _, d := range e.body.drop {
		parts = append(parts, io.NewSectionReader(box.file, at, d.off-at))
		at = d.off + d.size
	}
	parts = append(parts, io.NewSectionReader(box.file, at, max(end-at, 0)))
	r := io.MultiReader(parts...)
	if e.body.unquote == MboxCL2 {
		return io.NopCloser(r), nil
	}
	return io.NopCloser(&unquoter{r: bufio.NewReaderSize(r, chunk), all: e.body.unquote == MboxRD, head: true}), nil
}

// unquoter takes one ">" from lines that were quoted.
type unquoter struct {
	r    *bufio.Reader
	all  bool // from ">>From " too
	head bool // a line begins
}

func (u *unquoter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if u.head {
		if err := u.unquote(); err != nil {
			return 0, err
		}
		u.head = false
	}
	b, err := u.r.Peek(1)
	if len(b) == 0 {
		return 0, err
	}
	b, _ = u.r.Peek(min(len(p), max(u.r.Buffered(), 1)))
	n := len(b)
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		n, u.head = i+1, true
	}
	copy(p, b[:n])
	_, err = u.r.Discard(n)
	return n, err
}

// maxQuotes is how deep quoting is undone; nobody quotes a mail so often.
const maxQuotes = 1024

func (u *unquoter) unquote() error {
	b, err := u.r.Peek(1)
	if err != nil && err != io.EOF || len(b) == 0 || b[0] != '>' {
		return nil // an error comes again
	}
	n := 1
	for u.all && n < maxQuotes {
		if b, _ = u.r.Peek(n + 1); len(b) <= n || b[n] != '>' {
			break
		}
		n++
	}
	if b, _ = u.r.Peek(n + len(fromWord)); len(b) == n+len(fromWord) && string(b[n:]) == fromWord {
		_, err := u.r.Discard(1)
		return err
	}
	return nil
}

func trimEOL(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// fromDate reads the date of "From sender date": asctime, with a zone before or
// behind the year or without, seconds or not, and what some programs add. A line
// without one begins no message.
func fromDate(line []byte) (time.Time, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(fromWord))
	if !ok || len(line) > maxFromLine {
		return time.Time{}, false
	}
	words := strings.Fields(string(rest))
	// The sender may have spaces: the date begins at the first weekday and month.
	for i := 0; i+3 < len(words) && i < 20; i++ {
		if t, ok := asctime(words[i:]); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

func asctime(w []string) (time.Time, bool) {
	if len(w) < 4 || len(w[0]) < 3 {
		return time.Time{}, false
	}
	if !slices.Contains([]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}, strings.TrimSuffix(w[0], ",")) {
		return time.Time{}, false
	}
	month, day := w[1], w[2]
	if _, err := strconv.Atoi(month); err == nil { // "Thu, 02 Jan 2006 15:04:05" of some
		month, day = day, month
		if len(w) < 5 {
			return time.Time{}, false
		}
		w = append([]string{w[0], month, day, w[4], w[3]}, w[5:]...)
	}
	var year, zone, clock string
	for _, x := range w[3:min(len(w), 7)] {
		switch {
		case clock == "" && strings.Count(x, ":") >= 1:
			clock = x
			if strings.Count(x, ":") == 1 {
				clock += ":00"
			}
		case clock != "" && year == "" && len(x) == 4 && x[0] >= '1' && x[0] <= '9':
			year = x
		case clock != "" && zone == "" && len(x) == 5 && (x[0] == '+' || x[0] == '-'):
			zone = x
		}
	}
	t, err := time.Parse("Jan 2 15:04:05 2006 -0700", strings.Join([]string{month, day, clock, year, cmp.Or(zone, "+0000")}, " "))
	return t, err == nil
}
