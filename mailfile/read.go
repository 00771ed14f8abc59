package mailfile

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"encoding/base64"

	"github.com/postino-mail/postino"
)

// ReadLimits bound what a reader holds of other software's files. A zero field
// means the default in its comment.
type ReadLimits struct {
	Line    int   // a line of an index file or of a header that is looked at, octets: 64 KiB
	Header  int64 // the header that is looked at, octets: 1 MiB
	Index   int64 // an index file (dovecot-uidlist, subscriptions), octets: 1 GiB
	Folders int   // mailboxes: 100,000
	Depth   int   // levels of directories: 20
}

func (l ReadLimits) withDefaults() ReadLimits {
	if l.Line <= 0 {
		l.Line = 64 << 10
	}
	if l.Header <= 0 {
		l.Header = 1 << 20
	}
	if l.Index <= 0 {
		l.Index = 1 << 30
	}
	if l.Folders <= 0 {
		l.Folders = 100_000
	}
	if l.Depth <= 0 {
		l.Depth = 20
	}
	return l
}

// Folder is a mailbox of other software.
type Folder struct {
	// Name is in UTF-8 with "/" between its levels, "INBOX" for the inbox.
	Name string
	// Path is where it is: a directory or a file.
	Path string
	// UIDValidity and UIDNext are 0 when the files tell none.
	UIDValidity, UIDNext uint32
	Subscribed           bool
}

// Entry is a message of a folder.
type Entry struct {
	// Item names the message as long as it is in its folder.
	Item string
	// UID is 0 when the files tell none; else it is greater than the one before.
	UID uint32
	// UIDL is what POP3 clients know the message by, or empty.
	UIDL string
	// Flags are those of IMAP, with their backslash, and keywords.
	Flags []string
	// Date is when the message came, zero when nothing tells.
	Date time.Time
	// Size in octets, about: as stored.
	Size int64
	// Labels is the field X-Gmail-Labels of an export of Gmail, as it stands there.
	Labels string

	path string
	body span
}

// span is the part of a file that is a message.
type span struct {
	off, size int64
	drop      []dropped // parts of it that are not
	unquote   Variant
}

// dropped is a part that is left out.
type dropped struct{ off, size int64 }

// Reader reads a tree of mailboxes of other software. Errors of single messages do
// not end it.
type Reader interface {
	// Folders lists the mailboxes, parents before children.
	Folders() ([]Folder, error)
	// Entries tells the messages of a folder in the order of their UIDs, or of
	// their arrival. fn may keep the entry. What could be no message is told to
	// skipped, which may be nil.
	Entries(f *Folder, fn func(*Entry) error, skipped func(what string, why error)) error
	// Open gives the octets of a message as they are stored, but for quoting and
	// fields that belong to the file format; line ends as in the file. The caller
	// closes it.
	Open(e *Entry) (io.ReadCloser, error)
}

func readFail(op, object string, err error) error {
	kind := postino.Transient
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = postino.NotFound
	case errors.Is(err, fs.ErrPermission):
		kind = postino.Denied
	case postino.KindOf(err) != postino.Internal:
		kind = postino.Internal
	}
	return postino.E(kind, op, postino.Printable(object), err)
}

// openRegular opens a regular file; nothing is waited for.
func openRegular(files fs.FS, path string) (fs.File, fs.FileInfo, error) {
	info, err := fs.Stat(files, path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file")
	}
	f, err := files.Open(path)
	return f, info, err
}

// lines calls fn for each line of a file, without its end. A file that does not
// exist has none; a line that is too long ends it with Invalid.
func lines(files fs.FS, path string, lim ReadLimits, fn func(line string) error) error {
	f, _, err := openRegular(files, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	return eachLine(io.LimitReader(f, lim.Index), lim.Line, fn)
}

func eachLine(r io.Reader, limit int, fn func(line string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), limit)
	for s.Scan() {
		if err := fn(strings.TrimSuffix(s.Text(), "\r")); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return postino.E(postino.Invalid, "read line", "", s.Err())
	}
	return s.Err()
}

// fromUTF7 decodes the modified UTF-7 of folder names (RFC 3501 §5.1.3); what is
// none is returned as it is, made UTF-8.
func fromUTF7(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	var out strings.Builder
	enc := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	rest := s
	for {
		plain, after, ok := strings.Cut(rest, "&")
		out.WriteString(plain)
		if !ok {
			break
		}
		code, next, ok := strings.Cut(after, "-")
		b, err := enc.DecodeString(code)
		if !ok || err != nil || len(b)%2 != 0 {
			return strings.ToValidUTF8(s, "\uFFFD")
		}
		if code == "" {
			out.WriteByte('&')
		}
		wide := make([]uint16, len(b)/2)
		for i := range wide {
			wide[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		for _, r := range utf16.Decode(wide) {
			out.WriteRune(r)
		}
		rest = next
	}
	if !utf8.ValidString(out.String()) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out.String()
}

// maildirFlags are the letters of Maildir's info.
var maildirFlags = map[byte]string{'S': `\Seen`, 'R': `\Answered`, 'F': `\Flagged`, 'T': `\Deleted`, 'D': `\Draft`, 'P': "$Forwarded"}
