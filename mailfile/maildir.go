package mailfile

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// Info says where within a mailbox a message goes.
type Info struct {
	// Folder is a path of folder names in UTF-8 with "/" between its levels;
	// empty means the inbox. It is made if there is none.
	Folder string
}

// Maildir is a directory in Maildir format, with the folders of Maildir++. It is
// made if it does not exist, the directories above it too.
type Maildir struct {
	FS     vfs.FS
	Dir    string
	Host   string // part of file names; empty means the name of the machine
	Limits Limits
}

// Deliver adds the message that r gives to new mail. After a nil error it is on
// stable storage. Kinds: Invalid for a folder name that Maildir++ cannot write,
// Denied, Full, and Transient; an error of r keeps its kind.
func (m Maildir) Deliver(ctx context.Context, r io.Reader, info Info) error {
	dir, err := m.folder(info.Folder)
	if err != nil {
		return fail("deliver into maildir", m.Dir, err)
	}
	if err := m.deliver(ctx, dir, r); err != nil {
		return fail("deliver into maildir", dir, err)
	}
	return nil
}

// folder finds the directory of a folder and makes what is missing of it.
func (m Maildir) folder(name string) (string, error) {
	dir := m.Dir
	if name != "" {
		enc, err := folderName(name)
		if err != nil {
			return "", postino.E(postino.Invalid, "", name, err)
		}
		// The inbox comes first: a folder alone is no Maildir.
		if err := m.make(m.Dir); err != nil {
			return "", err
		}
		dir = m.FS.PathJoin(m.Dir, enc)
	}
	if err := m.make(dir); err != nil {
		return "", err
	}
	if name == "" {
		return dir, nil
	}
	// An empty file tells Courier and others that this is a folder.
	mark := m.FS.PathJoin(dir, "maildirfolder")
	if _, err := m.FS.Stat(mark); err == nil {
		return dir, nil
	}
	return dir, vfs.WriteFile(m.FS, mark, nil)
}

// make makes the three directories, cur last: readers know a Maildir by it.
func (m Maildir) make(dir string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := vfs.MkdirAll(m.FS, m.FS.PathJoin(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

func (m Maildir) deliver(ctx context.Context, dir string, r io.Reader) error {
	// Opened first, so that a link in its place is refused (it could lead into
	// the mail of somebody else).
	newDir, err := m.FS.OpenDir(m.FS.PathJoin(dir, "new"))
	if err != nil {
		return err
	}
	defer newDir.Close()
	base := uniqueName(time.Now(), m.Host)
	tmp := m.FS.PathJoin(dir, "tmp", base)
	size, lines, err := writeFile(ctx, m.FS, tmp, r, m.Limits.withDefaults().MessageBytes)
	if err != nil {
		return err
	}
	// S is the size as stored, W with CRLF, as RFC822.SIZE counts: readers need
	// not open the file to know them.
	final := m.FS.PathJoin(dir, "new", fmt.Sprintf("%s,S=%d,W=%d", base, size, size+lines))
	if err := m.FS.Rename(tmp, final); err != nil {
		return errors.Join(err, m.FS.Remove(tmp))
	}
	if err := newDir.Sync(); err != nil {
		// Whether the entry is on the disk is unknown; the caller will try again,
		// so it must not stay if that can be had.
		return errors.Join(err, m.FS.Remove(final))
	}
	return nil
}

// writeFile writes a message into a new file and syncs it; nothing of it remains
// after an error.
func writeFile(ctx context.Context, fsys vfs.FS, name string, r io.Reader, limit int64) (size, lines int64, err error) {
	f, err := fsys.Create(name, vfs.Category)
	if err != nil {
		return 0, 0, err
	}
	size, lines, _, err = copyLF(ctx, r, limit, func(b []byte) error {
		_, err := f.Write(b)
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, 0, errors.Join(err, fsys.Remove(name))
	}
	return size, lines, nil
}

// uniqueName is seconds, what is unique within the host, and the host, after the
// convention of Maildir: microseconds, process and 64 random bits.
func uniqueName(now time.Time, host string) string {
	var random [8]byte
	_, _ = rand.Read(random[:])
	return fmt.Sprintf("%d.M%06dP%dR%s.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), hex.EncodeToString(random[:]), escapeHost(hostname(host)))
}

// escapeHost writes what may not stand in a file name or would end the unique part
// of it as backslash and three octal digits. The convention asks for "/" and ":";
// "," begins the fields of Maildir++.
func escapeHost(host string) string {
	var b strings.Builder
	for i := 0; i < len(host) && b.Len() < 120; i++ {
		if c := host[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`/:,\`, c) >= 0 {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// folderName is the directory of a folder in Maildir++: a dot before each level,
// in the modified UTF-7 of IMAP.
func folderName(path string) (string, error) {
	if !utf8.ValidString(path) {
		return "", errors.New("the name is not UTF-8")
	}
	var b strings.Builder
	for level := range strings.SplitSeq(path, "/") {
		if level == "" || strings.ContainsFunc(level, func(r rune) bool { return r == '.' || r < ' ' || r == 0x7f }) {
			return "", errors.New("a level of a folder name is not empty and has no dot and no control character")
		}
		b.WriteByte('.')
		b.WriteString(modifiedUTF7(level))
	}
	if b.Len() > 200 { // file systems take 255 octets
		return "", errors.New("the name is too long")
	}
	return b.String(), nil
}

// modifiedUTF7 is RFC 3501 §5.1.3: printable US-ASCII stands for itself, "&" is
// "&-", all else is UTF-16 in base64 between "&" and "-".
func modifiedUTF7(s string) string {
	enc := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	plain := func(r rune) bool { return r >= 0x20 && r <= 0x7e }
	var out []byte
	var wide []byte
	flush := func() {
		if len(wide) > 0 {
			out = append(enc.AppendEncode(append(out, '&'), wide), '-')
			wide = wide[:0]
		}
	}
	for _, r := range s {
		if !plain(r) {
			for _, u := range utf16.AppendRune(nil, r) {
				wide = append(wide, byte(u>>8), byte(u))
			}
			continue
		}
		flush()
		if out = append(out, byte(r)); r == '&' {
			out = append(out, '-')
		}
	}
	flush()
	return string(out)
}
