package mailfile

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaildirTree reads a Maildir with its folders: those of Maildir++ (".Sub.Folder"),
// and plain directories below each other as Dovecot's layout "fs" has them; with
// what Dovecot keeps beside: dovecot-uidlist, dovecot-keywords, subscriptions.
type MaildirTree struct {
	Files  fs.FS
	Dir    string // below Files; "." is its root
	Limits ReadLimits
}

var _ Reader = (*MaildirTree)(nil)

// Folders implements [Reader].
func (t *MaildirTree) Folders() ([]Folder, error) {
	lim := t.Limits.withDefaults()
	w := maildirWalk{t: t, lim: lim}
	dir := cmp.Or(t.Dir, ".")
	if isMaildir(t.Files, dir) {
		w.add("INBOX", dir)
	}
	if err := w.dir(dir, "", 0); err != nil {
		return nil, readFail("read maildir", dir, err)
	}
	if len(w.found) == 0 {
		return nil, readFail("read maildir", dir, errNoMaildir)
	}
	subs, err := t.subscriptions(dir, lim)
	if err != nil {
		return nil, readFail("read subscriptions", dir, err)
	}
	for i := range w.found {
		f := &w.found[i]
		f.Subscribed = subs[f.Name] || f.Name == "INBOX"
		head, err := readUIDList(t.Files, path.Join(f.Path, "dovecot-uidlist"), lim, nil)
		if err != nil {
			return nil, readFail("read dovecot-uidlist", f.Path, err)
		}
		f.UIDValidity, f.UIDNext = head.validity, head.next
	}
	return w.found, nil
}

var (
	errNoMaildir   = errors.New("no Maildir: there is no directory cur or new")
	errManyFolders = errors.New("too many folders")
)

func isMaildir(files fs.FS, dir string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := fs.Stat(files, path.Join(dir, sub)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

type maildirWalk struct {
	t     *MaildirTree
	lim   ReadLimits
	found []Folder
}

func (w *maildirWalk) add(name, dir string) { w.found = append(w.found, Folder{Name: name, Path: dir}) }

// dir looks for folders in a directory, whose depth is bounded by the limits.
func (w *maildirWalk) dir(dir, name string, depth int) error {
	if depth >= w.lim.Depth {
		return nil
	}
	entries, err := fs.ReadDir(w.t.Files, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		sub := path.Join(dir, e.Name())
		if !e.IsDir() || e.Name() == "cur" || e.Name() == "new" || e.Name() == "tmp" {
			continue
		}
		if len(w.found) >= w.lim.Folders {
			return errManyFolders
		}
		if e.Name()[0] == '.' {
			if depth == 0 && isMaildir(w.t.Files, sub) {
				levels := strings.Split(e.Name()[1:], ".")
				for i, l := range levels {
					levels[i] = fromUTF7(l)
				}
				w.add(inboxName(strings.Join(levels, "/")), sub)
			}
			continue
		}
		full := fromUTF7(e.Name())
		if name != "" {
			full = name + "/" + full
		}
		if isMaildir(w.t.Files, sub) {
			w.add(inboxName(full), sub)
		}
		if err := w.dir(sub, full, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inboxName writes the inbox in capitals.
func inboxName(name string) string {
	if strings.EqualFold(name, "inbox") {
		return "INBOX"
	}
	return name
}

// subscriptions reads Dovecot's file of version 1 or 2, or Courier's.
func (t *MaildirTree) subscriptions(dir string, lim ReadLimits) (map[string]bool, error) {
	subs := map[string]bool{}
	version2 := false
	err := lines(t.Files, path.Join(dir, "subscriptions"), lim, func(line string) error {
		switch {
		case line == "V\t2":
			version2 = true
		case line == "":
		case version2:
			levels := strings.Split(line, "\t")
			for i, l := range levels {
				levels[i] = fromUTF7(tabUnescape(l))
			}
			subs[inboxName(strings.Join(levels, "/"))] = true
		default:
			t.addSub(subs, line)
		}
		return nil
	})
	if err == nil {
		err = lines(t.Files, path.Join(dir, "courierimapsubscribed"), lim, func(line string) error {
			t.addSub(subs, strings.TrimPrefix(line, "INBOX."))
			return nil
		})
	}
	return subs, err
}

// addSub adds a name whose separator the file does not tell: both that are usual.
func (t *MaildirTree) addSub(subs map[string]bool, line string) {
	name := fromUTF7(line)
	subs[inboxName(name)] = true
	subs[inboxName(strings.ReplaceAll(name, ".", "/"))] = true
	if rest, ok := strings.CutPrefix(name, "INBOX."); ok {
		subs[strings.ReplaceAll(rest, ".", "/")] = true
	}
}

// tabUnescape undoes what Dovecot does to names: \001 before 0, 1, t, r and n.
func tabUnescape(s string) string {
	return strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n").Replace(s)
}

// uidHead is the first line of a dovecot-uidlist.
type uidHead struct{ validity, next uint32 }

// readUIDList reads a dovecot-uidlist of version 1 or 3; with fn nil only its first
// line. A file that cannot be understood is as one that is not there: the messages
// are what counts.
func readUIDList(files fs.FS, name string, lim ReadLimits, fn func(uid uint32, base, uidl string)) (head uidHead, err error) {
	first, version := true, byte(0)
	err = lines(files, name, lim, func(line string) error {
		if first {
			first = false
			if head, version = parseUIDHead(line); version == 0 || fn == nil {
				return io.EOF
			}
			return nil
		}
		if uid, base, uidl, ok := parseUIDLine(line, version); ok {
			fn(uid, base, uidl)
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// parseUIDHead reads "3 V1275660208 N25022 G…" or "1 1275660208 25022"; version 0
// means that it is neither.
func parseUIDHead(line string) (h uidHead, version byte) {
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "3" && words[0] != "1" {
		return h, 0
	}
	version = words[0][0] - '0'
	for i, w := range words[1:] {
		key := byte("VN..."[min(i, 4)])
		if version == 3 {
			key, w = w[0], w[1:]
		}
		n, err := strconv.ParseUint(w, 10, 32)
		switch {
		case err != nil:
		case key == 'V':
			h.validity = uint32(n)
		case key == 'N':
			h.next = uint32(n)
		}
	}
	if h.validity == 0 {
		return uidHead{}, 0
	}
	return h, version
}

// parseUIDLine reads "25006 W1394 P1a2b :1276528487.M364837P9451.kurkku,S=1355:2,S".
func parseUIDLine(line string, version byte) (uid uint32, base, uidl string, ok bool) {
	number, rest, _ := strings.Cut(line, " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 {
		return 0, "", "", false
	}
	if version == 1 {
		return uint32(n), baseName(rest), "", rest != ""
	}
	for !strings.HasPrefix(rest, ":") {
		var word string
		if word, rest, ok = strings.Cut(rest, " "); !ok {
			return 0, "", "", false
		}
		if len(word) > 1 && word[0] == 'P' {
			uidl = tabUnescape(word[1:])
		}
	}
	base = baseName(rest[1:])
	return uint32(n), base, uidl, base != ""
}

// infoSeparators stand before the info of a name: ":" by convention, others where
// the file system does not take it.
const infoSeparators = ":;!"

// baseName is what stays the same when flags change.
func baseName(name string) string {
	for i := len(name) - 1; i > 0; i-- {
		if strings.IndexByte(infoSeparators, name[i]) >= 0 && strings.HasPrefix(name[i+1:], "2,") {
			return name[:i]
		}
	}
	return name
}

// Entries implements [Reader].
func (t *MaildirTree) Entries(f *Folder, fn func(*Entry) error, skipped func(string, error)) error {
	lim := t.Limits.withDefaults()
	type known struct {
		uid  uint32
		uidl string
	}
	uids := map[string]known{}
	last := uint32(0)
	head, err := readUIDList(t.Files, path.Join(f.Path, "dovecot-uidlist"), lim, func(uid uint32, base, uidl string) {
		if uid > last {
			uids[base] = known{uid, uidl}
			last = uid
		}
	})
	if err != nil {
		return readFail("read dovecot-uidlist", f.Path, err)
	}
	keywords, err := readKeywords(t.Files, path.Join(f.Path, "dovecot-keywords"), lim)
	if err != nil {
		return readFail("read dovecot-keywords", f.Path, err)
	}
	var all []*Entry
	bases := map[string]bool{}
	// cur after new: what moves between the two meanwhile is not missed.
	for _, sub := range []string{"new", "cur"} {
		names, err := fs.ReadDir(t.Files, path.Join(f.Path, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return readFail("read maildir", f.Path, err)
		}
		for _, d := range names {
			name := d.Name()
			if name[0] == '.' || d.IsDir() {
				continue
			}
			base := baseName(name)
			if bases[base] {
				continue
			}
			bases[base] = true
			k := uids[base]
			e := &Entry{Item: base, UID: k.uid, UIDL: k.uidl, path: path.Join(f.Path, sub, name), body: span{size: -1}}
			if k.uidl == "" && k.uid != 0 {
				e.UIDL = dovecotUIDL(k.uid, head.validity)
			}
			e.Flags = infoFlags(name[len(base):], keywords)
			e.Size = nameSize(base)
			all = append(all, e)
		}
	}
	slices.SortFunc(all, compareEntries)
	for _, e := range all {
		if err := t.date(e); err != nil {
			if skipped != nil {
				skipped(e.path, err)
			}
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// dovecotUIDL is what Dovecot makes for POP3 unless told otherwise
// (pop3_uidl_format "%08Xu%08Xv").
func dovecotUIDL(uid, validity uint32) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range 8 {
		b[7-i] = digits[uid>>(4*i)&15]
		b[15-i] = digits[validity>>(4*i)&15]
	}
	return string(b[:])
}

// compareEntries puts those with UIDs first, the others after them by the time in
// their names.
func compareEntries(a, b *Entry) int {
	if (a.UID == 0) != (b.UID == 0) {
		return cmp.Compare(b.UID, a.UID)
	}
	return cmp.Or(cmp.Compare(a.UID, b.UID), nameTime(a.Item).Compare(nameTime(b.Item)), strings.Compare(a.Item, b.Item))
}

// date takes the time of the file, which is the internal date, unless a copy made it
// younger than the name says.
func (t *MaildirTree) date(e *Entry) error {
	info, err := fs.Stat(t.Files, e.path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	e.Size, e.Date = info.Size(), info.ModTime()
	if named := nameTime(e.Item); !named.IsZero() && (e.Date.IsZero() || named.Before(e.Date)) {
		e.Date = named
	}
	return nil
}

// nameTime is the time that a name begins with, zero when that is none.
func nameTime(base string) time.Time {
	seconds, _, _ := strings.Cut(base, ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 100_000_000 || n > 1<<33 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// nameSize is the size that ",S=" in a name tells, or 0.
func nameSize(base string) int64 {
	_, s, _ := strings.Cut(base, ",S=")
	s, _, _ = strings.Cut(s, ",")
	n, _ := strconv.ParseInt(s, 10, 64)
	return max(n, 0)
}

// infoFlags reads ":2,FRSab".
func infoFlags(info string, keywords map[byte]string) (flags []string) {
	if len(info) < 3 {
		return nil
	}
	for _, c := range []byte(info[3:]) {
		if c == ',' { // what follows are fields of others
			break
		}
		name := maildirFlags[c]
		if k := keywords[c]; k != "" {
			name = k
		}
		if name != "" && !slices.Contains(flags, name) {
			flags = append(flags, name)
		}
	}
	return flags
}

// readKeywords reads dovecot-keywords: "0 $Forwarded" names the letter a.
func readKeywords(files fs.FS, name string, lim ReadLimits) (map[byte]string, error) {
	keywords := map[byte]string{}
	err := lines(files, name, lim, func(line string) error {
		number, word, ok := strings.Cut(line, " ")
		if n, err := strconv.ParseUint(number, 10, 8); err == nil && ok && n < 26 && word != "" {
			keywords['a'+byte(n)] = word
		}
		return nil
	})
	return keywords, err
}

// Open implements [Reader]. A file whose flags changed since has another name: it is
// looked for.
func (t *MaildirTree) Open(e *Entry) (io.ReadCloser, error) {
	f, _, err := openRegular(t.Files, e.path)
	if errors.Is(err, fs.ErrNotExist) {
		if now := t.find(e); now != "" {
			f, _, err = openRegular(t.Files, now)
		}
	}
	if err != nil {
		return nil, readFail("open message", e.path, err)
	}
	return unzipped(f)
}

func (t *MaildirTree) find(e *Entry) string {
	dir := path.Dir(path.Dir(e.path))
	for _, sub := range []string{"cur", "new"} {
		names, _ := fs.ReadDir(t.Files, path.Join(dir, sub))
		for _, d := range names {
			if baseName(d.Name()) == e.Item {
				return path.Join(dir, sub, d.Name())
			}
		}
	}
	return ""
}

// compressed begins a file that the zlib plug-in of Dovecot wrote.
var compressed = [][]byte{{0x1f, 0x8b, 8}, []byte("BZh"), {0x28, 0xb5, 0x2f, 0xfd}}

// unzipped undoes the compression with gzip that Dovecot's plug-in does; other ways
// are refused.
func unzipped(f fs.File) (io.ReadCloser, error) {
	var head [4]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		f.Close()
		return nil, err
	}
	r := io.MultiReader(bytes.NewReader(head[:n]), f)
	for i, magic := range compressed {
		if !bytes.HasPrefix(head[:n], magic) {
			continue
		}
		if i > 0 {
			f.Close()
			return nil, errors.New("the file is compressed with bzip2 or zstd; let doveadm copy the mail without compression first")
		}
		return gunzip(r, f)
	}
	return &readCloser{r, f}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}
