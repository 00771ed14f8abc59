package mailfile

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// EMLTree reads directories of files, each of which is a message.
type EMLTree struct {
	Files  fs.FS
	Dir    string // below Files
	Limits ReadLimits
	// Date reads the value of a Date field.
	Date func(value []byte) (time.Time, bool)
}

var _ Reader = (*EMLTree)(nil)

// Folders implements [Reader]: the directories that have messages. The topmost is
// the inbox.
func (t *EMLTree) Folders() ([]Folder, error) {
	var found []Folder
	lim := t.Limits.withDefaults()
	dir := cmp.Or(t.Dir, ".")
	err := fs.WalkDir(t.Files, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		if dir == "." {
			rel = p
		}
		if d.IsDir() && strings.Count(rel, "/") >= lim.Depth {
			return fs.SkipDir
		}
		if d.IsDir() || !isEML(d.Name()) {
			return nil
		}
		at := path.Dir(p)
		if n := len(found); n > 0 && found[n-1].Path == at {
			return nil
		}
		for i := range found { // messages of a directory may stand around those below it
			if found[i].Path == at {
				return nil
			}
		}
		if len(found) >= lim.Folders {
			return errManyFolders
		}
		name := "INBOX"
		if at != dir {
			name = inboxName(path.Dir(rel))
		}
		found = append(found, Folder{Name: name, Path: at})
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errors.New("there is no file .eml")
	}
	if err != nil {
		return nil, readFail("read directory", dir, err)
	}
	return found, nil
}

func isEML(name string) bool {
	return len(name) > 4 && name[0] != '.' && strings.EqualFold(name[len(name)-4:], ".eml")
}

// Entries implements [Reader].
func (t *EMLTree) Entries(f *Folder, fn func(*Entry) error, skipped func(string, error)) error {
	names, err := fs.ReadDir(t.Files, f.Path)
	if err != nil {
		return readFail("read directory", f.Path, err)
	}
	for _, d := range names {
		if d.IsDir() || !isEML(d.Name()) {
			continue
		}
		e := &Entry{Item: d.Name(), path: path.Join(f.Path, d.Name())}
		if err := t.look(e); err != nil {
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

// look finds the date: in the name if we wrote that, in the Date field, or that of
// the file.
func (t *EMLTree) look(e *Entry) error {
	f, info, err := openRegular(t.Files, e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	e.Size = info.Size()
	if date, flags, ok := parseEMLName(e.Item); ok {
		e.Date, e.Flags = date, flags
		return nil
	}
	e.Date = info.ModTime()
	if t.Date == nil {
		return nil
	}
	lim := t.Limits.withDefaults()
	err = eachLine(io.LimitReader(f, lim.Header), lim.Line, func(line string) error {
		name, value, ok := strings.Cut(line, ":")
		if line == "" || ok && strings.EqualFold(name, "Date") {
			if date, ok := t.Date([]byte(value)); ok {
				e.Date = date
			}
			return io.EOF
		}
		return nil
	})
	if err == io.EOF || errors.Is(err, bufio.ErrTooLong) {
		err = nil
	}
	return err
}

// EMLName is the name of a message's file: its UID, its internal date in UTC and the
// letters of its flags as Maildir has them.
func EMLName(uid uint32, date time.Time, flags []string) string {
	letters := flagLetters(flags)
	if letters != "" {
		letters = "_" + letters
	}
	return pad(uid) + "_" + date.UTC().Format(emlTime) + letters + ".eml"
}

const emlTime = "20060102T150405Z"

func pad(uid uint32) string {
	s := strconv.FormatUint(uint64(uid), 10)
	return strings.Repeat("0", 10-len(s)) + s
}

func parseEMLName(name string) (date time.Time, flags []string, ok bool) {
	words := strings.Split(name[:len(name)-len(".eml")], "_")
	if len(words) < 2 || len(words) > 3 || len(words[0]) != 10 {
		return date, nil, false
	}
	if _, err := strconv.ParseUint(words[0], 10, 32); err != nil {
		return date, nil, false
	}
	date, err := time.Parse(emlTime, words[1])
	if err != nil {
		return date, nil, false
	}
	if len(words) == 3 {
		flags = infoFlags(":2,"+words[2], nil)
	}
	return date, flags, true
}

// flagLetters writes system flags and $Forwarded in the order that Maildir wants.
func flagLetters(flags []string) string {
	var b []byte
	for _, c := range []byte("DFPRST") {
		for _, f := range flags {
			if strings.EqualFold(f, maildirFlags[c]) {
				b = append(b, c)
				break
			}
		}
	}
	return string(b)
}

// Open implements [Reader].
func (t *EMLTree) Open(e *Entry) (io.ReadCloser, error) {
	f, _, err := openRegular(t.Files, e.path)
	if err != nil {
		return nil, readFail("open message", e.path, err)
	}
	return f, nil
}
