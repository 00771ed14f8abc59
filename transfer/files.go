package transfer

import (
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/message"
)

// files is a source of files.
type files struct {
	reader mailfile.Reader
	key    string
	closer io.Closer
}

// Files is a source of files. key names it in the journal: the kind of files and
// their absolute path; closer, which may be nil, is closed with it.
func Files(r mailfile.Reader, key string, closer io.Closer) Source { return &files{r, key, closer} }

// EML reads a directory of messages.
func EML(tree fs.FS, dir string) mailfile.Reader {
	return &mailfile.EMLTree{Files: tree, Dir: dir, Date: message.ParseDate}
}

func (s *files) Folders(context.Context) ([]Folder, error) {
	list, err := s.reader.Folders()
	out := make([]Folder, len(list))
	for i := range list {
		f := &list[i]
		out[i] = Folder{
			Name: f.Name, Key: s.key + "\x00" + f.Path, Subscribed: f.Subscribed, UIDValidity: f.UIDValidity, UIDNext: f.UIDNext,
			Messages: -1, at: f,
		}
	}
	return out, err
}

func (s *files) Open(context.Context, *Folder) error { return nil }

func (s *files) Messages(ctx context.Context, f *Folder, fn func(*Message) error, note func(string)) error {
	return s.reader.Entries(f.at.(*mailfile.Folder), func(e *mailfile.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := &Message{Item: e.Item, UID: e.UID, UIDL: e.UIDL, Flags: e.Flags, Date: e.Date, Size: max(e.Size, 0), at: e}
		if e.Labels != "" {
			m.label(e.Labels)
		}
		return fn(m)
	}, func(what string, why error) { note(what + ": " + why.Error()) })
}

func (s *files) Bodies(ctx context.Context, f *Folder, list []*Message, to Sink) error {
	buf := make([]byte, 64<<10)
	for _, m := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := to.Begin()
		if err != nil {
			return err
		}
		if rerr, werr := s.copy(m, w, buf); werr != nil {
			return werr
		} else if rerr != nil {
			err = to.Drop(m, rerr)
		} else {
			err = to.Done(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copy copies a message and tells errors of reading from those of writing.
func (s *files) copy(m *Message, w io.Writer, buf []byte) (rerr, werr error) {
	r, err := s.reader.Open(m.at.(*mailfile.Entry))
	if err != nil {
		return err, nil
	}
	defer r.Close()
	to := crlf{w: w}
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return nil, werr
			}
		}
		if err == io.EOF {
			return nil, nil
		} else if err != nil {
			return err, nil
		}
	}
}

func (s *files) Recover(_ context.Context, err error) error { return err }

func (s *files) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// maxLabels bounds the labels of a message.
const maxLabels = 1000

// gmailLabels reads X-Gmail-Labels of an export of Gmail: names separated by commas,
// in quotes where they have one, the whole perhaps in encoded words.
func gmailLabels(value string) (labels []string) {
	value = message.DecodeHeader([]byte(value))
	for value != "" && len(labels) < maxLabels {
		var label string
		value = strings.TrimLeft(value, " \t")
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			label, value, _ = strings.Cut(quoted, `"`)
			_, value, _ = strings.Cut(value, ",")
		} else {
			label, value, _ = strings.Cut(value, ",")
		}
		if label = strings.TrimSpace(label); label != "" {
			labels = append(labels, label)
		}
	}
	return labels
}

// label gives a message of Gmail, which has many labels and stands in one file, its
// mailbox and flags. The first of Trash, Spam, Drafts, Sent, Inbox and the user's own
// labels is the mailbox; the user's other labels become keywords.
func (m *Message) label(value string) {
	labels := gmailLabels(value)
	has := func(names ...string) bool {
		return slices.ContainsFunc(labels, func(l string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(l, n) })
		})
	}
	add := func(flag string) {
		if !slices.Contains(m.Flags, flag) {
			m.Flags = append(m.Flags, flag)
		}
	}
	if !has("Unread") {
		add(`\Seen`)
	}
	if has("Starred") {
		add(`\Flagged`)
	}
	if has("Important") {
		add("$Important")
	}
	var own []string
	for _, l := range labels {
		if !gmailSystem[strings.ToLower(l)] && !strings.HasPrefix(l, "Category ") && !strings.HasPrefix(l, "IMAP_") {
			own = append(own, l)
		}
	}
	switch {
	case has("Trash", "Bin"):
		m.Mailbox = "Trash"
	case has("Spam"):
		m.Mailbox = "Junk"
	case has("Drafts", "Draft"):
		m.Mailbox = "Drafts"
		add(`\Draft`)
	case has("Sent"):
		m.Mailbox = "Sent"
	case has("Inbox"):
		m.Mailbox = "INBOX"
	case len(own) > 0:
		m.Mailbox, own = own[0], own[1:]
	default:
		m.Mailbox = "Archive"
	}
	for _, l := range own {
		add(keywordOf(l))
	}
}

// gmailSystem are the labels that users did not make.
var gmailSystem = map[string]bool{
	"inbox": true, "sent": true, "drafts": true, "draft": true, "trash": true, "bin": true, "spam": true, "starred": true, "important": true,
	"unread": true, "opened": true, "archived": true, "chat": true,
}

// keywordOf writes a label as a keyword.
func keywordOf(label string) string {
	k := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) {
			return '_'
		}
		return r
	}, label)
	return k[:min(len(k), 100)]
}
