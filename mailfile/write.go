package mailfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// Writer writes mailboxes as files of a format, one mailbox after the other. A file
// has its name only once it is whole; what an earlier run wrote is left alone. It is
// for one goroutine.
type Writer interface {
	// Begin begins a mailbox.
	Begin(f *Folder) error
	// Has tells whether a message of the mailbox is there already, with these flags.
	Has(e *Entry) bool
	// Put writes a message; e tells UID, flags and date.
	Put(e *Entry, r io.Reader) error
	// End ends the mailbox and tells what could not be written of it.
	End() (lost []string, err error)
	// Close ends the writing; all are the mailboxes, also those that were not begun.
	Close(all []Folder) error
}

// fileLevel writes a level of a mailbox name so that it can be the name of a file.
func fileLevel(level string) string {
	level = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, level)
	if level == "" || level[0] == '.' {
		level = "_" + level
	}
	for len(level) > 200 {
		level = strings.ToValidUTF8(level[:200], "")
	}
	return level
}

// filePath is the path of a mailbox below a directory.
func filePath(name string) []string {
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = fileLevel(l)
	}
	return levels
}

// replaceFile writes a file under a temporary name beside it and renames it.
func replaceFile(files vfs.FS, tmp, name string, write func(w io.Writer) error) error {
	f, err := files.Create(tmp, vfs.Category)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, chunk)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, files.Remove(tmp))
	}
	return files.Rename(tmp, name)
}

// MaildirWriter writes Maildir++ with dovecot-uidlist, dovecot-keywords and
// subscriptions. Names of files come from date, UID and UIDVALIDITY, so that another
// run knows what is there.
type MaildirWriter struct {
	Files vfs.FS
	Dir   string
	// SetTime sets the time of a file, nil: files have the time at which they were
	// written.
	SetTime func(path string, t time.Time) error

	m        Maildir
	folder   *Folder
	dir      string
	there    map[string]string // names without flags, to names
	keywords []string
	uids     []uint32
	names    []string
	lost     []string
}

var _ Writer = (*MaildirWriter)(nil)

// Begin implements [Writer].
func (w *MaildirWriter) Begin(f *Folder) error {
	w.m = Maildir{FS: w.Files, Dir: w.Dir}
	name := f.Name
	if name == "INBOX" {
		name = ""
	}
	dir, err := w.m.folderDots(name)
	if err != nil {
		return fail("write maildir", f.Name, err)
	}
	w.folder, w.dir, w.there, w.keywords, w.uids, w.names, w.lost = f, dir, map[string]string{}, nil, nil, nil, nil
	list, err := w.Files.List(w.Files.PathJoin(dir, "cur"))
	if err != nil {
		return fail("write maildir", f.Name, err)
	}
	for _, name := range list {
		base := baseName(name)
		id, _, ok := strings.Cut(base, ",S=")
		info, err := w.Files.Stat(w.Files.PathJoin(dir, "cur", name))
		if ok && err == nil && info.Size() == nameSize(base) { // else a power cut was faster than the disk
			w.there[id] = name
		}
	}
	return w.readKeywords()
}

// folderDots is folder for names whose levels may have dots.
func (m Maildir) folderDots(name string) (string, error) {
	if !strings.Contains(name, ".") {
		return m.folder(name)
	}
	if err := m.make(m.Dir); err != nil {
		return "", err
	}
	var b strings.Builder
	for level := range strings.SplitSeq(name, "/") {
		b.WriteString("." + strings.ReplaceAll(modifiedUTF7(level), ".", "&AC4-"))
	}
	if b.Len() > 250 {
		return "", postino.E(postino.Invalid, "", name, errors.New("the name is too long"))
	}
	dir := m.FS.PathJoin(m.Dir, b.String())
	if err := m.make(dir); err != nil {
		return "", err
	}
	return dir, nil
}

// readKeywords keeps the letters that an earlier run gave.
func (w *MaildirWriter) readKeywords() error {
	text, err := vfs.ReadFile(w.Files, w.Files.PathJoin(w.dir, "dovecot-keywords"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fail("write maildir", w.folder.Name, err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if n, word, ok := strings.Cut(line, " "); ok && n == strconv.Itoa(i) && i < 26 {
			w.keywords = append(w.keywords, word)
		}
	}
	return nil
}

func (w *MaildirWriter) id(e *Entry) string {
	return fmt.Sprintf("%d.U%dV%d.postino", e.Date.Unix(), e.UID, w.folder.UIDValidity)
}

// info is the part of a name that tells the flags.
func (w *MaildirWriter) info(e *Entry) string {
	letters := []byte(flagLetters(e.Flags))
	for _, f := range e.Flags {
		if f[0] == '\\' || strings.EqualFold(f, maildirFlags['P']) {
			continue
		}
		i := slices.Index(w.keywords, f)
		if i < 0 && len(w.keywords) < 26 {
			i = len(w.keywords)
			w.keywords = append(w.keywords, f)
		}
		if i < 0 {
			if lost := "keyword " + f; !slices.Contains(w.lost, lost) {
				w.lost = append(w.lost, lost)
			}
			continue
		}
		letters = append(letters, 'a'+byte(i))
	}
	return ":2," + string(letters)
}

// Has implements [Writer]; a message with other flags gets its new name.
func (w *MaildirWriter) Has(e *Entry) bool {
	old, ok := w.there[w.id(e)]
	if !ok {
		return false
	}
	name := baseName(old) + w.info(e)
	if name != old && w.Files.Rename(w.Files.PathJoin(w.dir, "cur", old), w.Files.PathJoin(w.dir, "cur", name)) != nil {
		return false
	}
	w.uids, w.names = append(w.uids, e.UID), append(w.names, name)
	return true
}

// Put implements [Writer].
func (w *MaildirWriter) Put(e *Entry, r io.Reader) error {
	id := w.id(e)
	tmp := w.Files.PathJoin(w.dir, "tmp", id)
	f, err := w.Files.Create(tmp, vfs.Category)
	if err != nil {
		return fail("write message", w.folder.Name, err)
	}
	size, lines, _, err := copyLF(context.Background(), r, math.MaxInt64, func(b []byte) error {
		_, err := f.Write(b)
		return err
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fail("write message", w.folder.Name, errors.Join(err, w.Files.Remove(tmp)))
	}
	name := fmt.Sprintf("%s,S=%d,W=%d%s", id, size, size+lines, w.info(e))
	if w.SetTime != nil {
		if err := w.SetTime(tmp, e.Date); err != nil {
			return fail("write message", w.folder.Name, err)
		}
	}
	if err := w.Files.Rename(tmp, w.Files.PathJoin(w.dir, "cur", name)); err != nil {
		return fail("write message", w.folder.Name, err)
	}
	w.uids, w.names = append(w.uids, e.UID), append(w.names, name)
	return nil
}

// End implements [Writer].
func (w *MaildirWriter) End() ([]string, error) {
	path := func(name string) string { return w.Files.PathJoin(w.dir, name) }
	err := replaceFile(w.Files, path("dovecot-keywords.tmp"), path("dovecot-keywords"), func(out io.Writer) error {
		for i, k := range w.keywords {
			fmt.Fprintf(out, "%d %s\n", i, k)
		}
		return nil
	})
	if err == nil {
		err = replaceFile(w.Files, path("dovecot-uidlist.tmp"), path("dovecot-uidlist"), func(out io.Writer) error {
			fmt.Fprintf(out, "3 V%d N%d\n", w.folder.UIDValidity, w.folder.UIDNext)
			for i, name := range w.names {
				fmt.Fprintf(out, "%d :%s\n", w.uids[i], baseName(name))
			}
			return nil
		})
	}
	if err != nil {
		return w.lost, fail("write maildir", w.folder.Name, err)
	}
	return w.lost, nil
}

// Close implements [Writer].
func (w *MaildirWriter) Close(all []Folder) error {
	path := func(name string) string { return w.Files.PathJoin(w.Dir, name) }
	err := replaceFile(w.Files, path("subscriptions.tmp"), path("subscriptions"), func(out io.Writer) error {
		fmt.Fprint(out, "V\t2\n\n")
		for _, f := range all {
			if !f.Subscribed {
				continue
			}
			levels := strings.Split(f.Name, "/")
			for i, l := range levels {
				levels[i] = modifiedUTF7(l)
			}
			fmt.Fprintln(out, strings.Join(levels, "\t"))
		}
		return nil
	})
	if err != nil {
		return fail("write subscriptions", w.Dir, err)
	}
	return nil
}

// MboxWriter writes each mailbox as a file in mboxrd format, with UIDs, flags and
// keywords in the fields that uw-imap and Dovecot know.
type MboxWriter struct {
	Files vfs.FS
	Dir   string

	folder *Folder
	path   string
	f      vfs.File
	w      *bufio.Writer
	first  bool
	buf    []byte
}

var _ Writer = (*MboxWriter)(nil)

// Begin implements [Writer].
func (w *MboxWriter) Begin(f *Folder) error {
	levels := filePath(f.Name)
	dir := w.Files.PathJoin(append([]string{w.Dir}, levels[:len(levels)-1]...)...)
	if err := vfs.MkdirAll(w.Files, dir); err != nil {
		return fail("write mbox", f.Name, err)
	}
	w.folder, w.first = f, true
	w.path = w.Files.PathJoin(dir, levels[len(levels)-1]+".mbox")
	var err error
	if w.f, err = w.Files.Create(w.path+".part", vfs.Category); err != nil {
		return fail("write mbox", f.Name, err)
	}
	w.w = bufio.NewWriterSize(w.f, chunk)
	return nil
}

// Has implements [Writer]: an mbox is written as a whole.
func (w *MboxWriter) Has(*Entry) bool { return false }

// Put implements [Writer].
func (w *MboxWriter) Put(e *Entry, r io.Reader) error {
	b := append(w.buf[:0], fromLine(postino.Address{}, e.Date)...)
	if w.first {
		b = fmt.Appendf(b, "X-IMAPbase: %d %010d\n", w.folder.UIDValidity, max(w.folder.UIDNext, 1)-1)
		w.first = false
	}
	status, more := "O", ""
	var keywords []string
	for _, f := range e.Flags {
		switch f {
		case `\Seen`:
			status = "RO"
		case `\Answered`:
			more += "A"
		case `\Flagged`:
			more += "F"
		case `\Draft`:
			more += "T"
		case `\Deleted`:
			more += "D"
		default:
			keywords = append(keywords, f)
		}
	}
	b = fmt.Appendf(b, "X-UID: %d\nStatus: %s\nX-Status: %s\nX-Keywords: %s\n", e.UID, status, more, strings.Join(keywords, " "))
	if _, err := w.w.Write(b); err != nil {
		return fail("write message", w.folder.Name, err)
	}
	q := quoter{head: true}
	_, _, ended, err := copyLF(context.Background(), r, math.MaxInt64, func(p []byte) error {
		w.buf = q.append(w.buf[:0], p)
		_, err := w.w.Write(w.buf)
		return err
	})
	if err != nil {
		return fail("write message", w.folder.Name, err)
	}
	end := q.finish(w.buf[:0])
	if !ended {
		end = append(end, '\n')
	}
	if _, err := w.w.Write(append(end, '\n')); err != nil {
		return fail("write message", w.folder.Name, err)
	}
	return nil
}

// End implements [Writer].
func (w *MboxWriter) End() ([]string, error) {
	err := errors.Join(w.w.Flush(), w.f.Sync(), w.f.Close())
	if err == nil {
		err = w.Files.Rename(w.path+".part", w.path)
	}
	if err != nil {
		return nil, fail("write mbox", w.folder.Name, err)
	}
	return nil, nil
}

// Close implements [Writer].
func (w *MboxWriter) Close([]Folder) error { return nil }

// EMLWriter writes each message as a file of its own, as it is, in a directory for
// each mailbox.
type EMLWriter struct {
	Files   vfs.FS
	Dir     string
	SetTime func(path string, t time.Time) error

	folder *Folder
	dir    string
	sizes  map[string]int64
	lost   []string
}

var _ Writer = (*EMLWriter)(nil)

// Begin implements [Writer].
func (w *EMLWriter) Begin(f *Folder) error {
	w.folder, w.sizes, w.lost = f, map[string]int64{}, nil
	w.dir = w.Files.PathJoin(append([]string{w.Dir}, filePath(f.Name)...)...)
	if err := vfs.MkdirAll(w.Files, w.dir); err != nil {
		return fail("write messages", f.Name, err)
	}
	names, err := w.Files.List(w.dir)
	if err != nil {
		return fail("write messages", f.Name, err)
	}
	for _, name := range names {
		if info, err := w.Files.Stat(w.Files.PathJoin(w.dir, name)); err == nil {
			w.sizes[name] = info.Size()
		}
	}
	return nil
}

// Has implements [Writer].
func (w *EMLWriter) Has(e *Entry) bool {
	size, ok := w.sizes[EMLName(e.UID, e.Date, e.Flags)]
	w.note(e)
	return ok && size == e.Size
}

// note remembers what the names cannot tell.
func (w *EMLWriter) note(e *Entry) {
	for _, f := range e.Flags {
		if f[0] != '\\' && !strings.EqualFold(f, maildirFlags['P']) && !slices.Contains(w.lost, "keyword "+f) {
			w.lost = append(w.lost, "keyword "+f)
		}
	}
}

// Put implements [Writer].
func (w *EMLWriter) Put(e *Entry, r io.Reader) error {
	name := w.Files.PathJoin(w.dir, EMLName(e.UID, e.Date, e.Flags))
	err := replaceFile(w.Files, name+".part", name, func(out io.Writer) error {
		_, err := io.Copy(out, r)
		return err
	})
	if err == nil && w.SetTime != nil {
		err = w.SetTime(name, e.Date)
	}
	if err != nil {
		return fail("write message", w.folder.Name, err)
	}
	return nil
}

// End implements [Writer].
func (w *EMLWriter) End() ([]string, error) { return w.lost, nil }

// Close implements [Writer].
func (w *EMLWriter) Close([]Folder) error { return nil }
