package mailfile

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// SpoolLimits bounds what a spool file may hold. A zero field means the default in
// its comment.
type SpoolLimits struct {
	MessageBytes int64 // largest message, octets: 50 MiB
	Recipients   int   // in one file: 10,000
}

func (l SpoolLimits) withDefaults() SpoolLimits {
	if l.MessageBytes <= 0 {
		l.MessageBytes = 50 << 20
	}
	if l.Recipients <= 0 {
		l.Recipients = 10_000
	}
	return l
}

// Spool is a directory in which every user of the machine may leave messages and
// nobody but the server can see what is there. Put is for programs of users; all
// else is for the server.
//
// A file is, in this order: octet 1 (version); length of the envelope, 4 octets;
// the envelope in JSON; the message; its length, 8 octets; SHA-256 of all before.
// Numbers are big-endian.
type Spool struct {
	FS     vfs.FS
	Dir    string
	Limits SpoolLimits
	Logger *slog.Logger // gets a line for each file that is set aside; nil discards

	stuck map[string]bool // cannot be set aside and is not looked at again
}

const (
	spoolMode = 0o733 | fs.ModeSticky | fs.ModeSetgid

	spoolVersion  = 1
	spoolStart    = 1 + 4
	spoolEnd      = 8 + sha256.Size
	spoolEnvelope = 1 << 20 // largest envelope, octets
	spoolTmp      = "tmp-"
	spoolBad      = "bad"
	spoolTmpAge   = 36 * time.Hour // as in Maildir: nobody writes that long
	spoolStuck    = 1000           // names remembered
)

// spoolEnvelopeV1 is the envelope as it is stored.
type spoolEnvelopeV1 struct {
	From  string        `json:"from"`
	Rcpts []spoolRcptV1 `json:"rcpts"`
	UTF8  bool          `json:"utf8,omitempty"`
	Body  uint8         `json:"body,omitempty"`
	EnvID string        `json:"envid,omitempty"`
	Ret   uint8         `json:"ret,omitempty"`
}

type spoolRcptV1 struct {
	To     string `json:"to"`
	Notify uint8  `json:"notify,omitempty"`
	ORcpt  string `json:"orcpt,omitempty"`
}

// Prepare makes the directory, open to all for writing and to its owner for
// reading, and removes what writers left unfinished. Files take the group of the
// directory, so that a server that is not root can read them.
func (s *Spool) Prepare() error {
	err := vfs.MkdirAll(s.FS, s.FS.PathJoin(s.Dir, spoolBad))
	if info, e := s.FS.Stat(s.Dir); err == nil && e == nil && info.Mode() != fs.ModeDir|spoolMode {
		err = vfs.Chmod(s.FS, s.Dir, spoolMode)
	}
	if err != nil {
		return fail("prepare spool", s.Dir, err)
	}
	names, err := s.FS.List(s.Dir)
	if err != nil {
		return fail("prepare spool", s.Dir, err)
	}
	for _, name := range names {
		path := s.FS.PathJoin(s.Dir, name)
		if info, err := s.FS.Stat(path); err == nil && strings.HasPrefix(name, spoolTmp) && time.Since(info.ModTime()) > spoolTmpAge {
			_ = s.FS.Remove(path) // of no use, and of no harm if it stays
		}
	}
	return nil
}

// Put leaves a message for the server. After a nil error it is on stable storage.
// Kinds: Invalid for an envelope without recipients, Full, Denied, NotFound when no
// server has prepared the directory, Transient.
func (s *Spool) Put(ctx context.Context, env *postino.Envelope, r io.Reader) (name string, err error) {
	limits := s.Limits.withDefaults()
	head, err := appendSpoolHead(nil, env, limits)
	if err != nil {
		return "", postino.E(postino.Invalid, "spool", "", err)
	}
	name = new(postino.IDs).Next(time.Now()).String() + "-" + rand.Text()
	if err := s.put(ctx, name, head, r, limits.MessageBytes); err != nil {
		return "", fail("spool", s.Dir, err)
	}
	return name, nil
}

func (s *Spool) put(ctx context.Context, name string, head []byte, r io.Reader, limit int64) (err error) {
	tmp, final := s.FS.PathJoin(s.Dir, spoolTmp+name), s.FS.PathJoin(s.Dir, name)
	f, err := s.FS.Create(tmp, vfs.Category)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = s.FS.Remove(tmp)
			_ = s.FS.Remove(final)
		}
	}()
	if err := s.share(f, tmp); err != nil {
		return err
	}
	if err := writeSpool(ctx, f, head, r, limit); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := s.FS.Rename(tmp, final); err != nil {
		return err
	}
	// Who may not read a directory cannot open it to sync it; then a second sync of
	// the file takes the journal of the file system past the renaming.
	if err := vfs.SyncDir(s.FS, s.Dir); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return f.Sync()
}

// share lets the group read the file if it is that of the directory, not the
// user's own.
func (s *Spool) share(f vfs.File, name string) error {
	dir, err := s.FS.Stat(s.Dir)
	if err != nil {
		return err
	}
	file, err := f.Stat()
	if err != nil {
		return err
	}
	d, ok := vfs.InodeOf(dir)
	if in, _ := vfs.InodeOf(file); !ok || dir.Mode()&fs.ModeSetgid == 0 || in.GID != d.GID {
		return nil
	}
	return vfs.Chmod(s.FS, name, 0o640)
}

// writeSpool writes all of a spool file.
func writeSpool(ctx context.Context, w io.Writer, head []byte, r io.Reader, limit int64) error {
	sum := sha256.New()
	write := func(b []byte) error {
		sum.Write(b)
		_, err := w.Write(b)
		return err
	}
	if err := write(head); err != nil {
		return err
	}
	var size int64
	buf := make([]byte, chunk)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rerr := r.Read(buf)
		if size += int64(n); size > limit {
			return errLarge
		}
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return err
			}
		}
		if rerr == io.EOF {
			break
		} else if rerr != nil {
			return readError{rerr}
		}
	}
	if err := write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// appendSpoolHead appends what stands before the message.
func appendSpoolHead(dst []byte, env *postino.Envelope, limits SpoolLimits) ([]byte, error) {
	if len(env.Rcpts) == 0 || len(env.Rcpts) > limits.Recipients {
		return nil, errors.New("there are no recipients or too many")
	}
	v := spoolEnvelopeV1{From: env.From.String(), UTF8: env.SMTPUTF8, Body: uint8(env.Body), EnvID: env.EnvID, Ret: uint8(env.Ret)}
	for _, r := range env.Rcpts {
		v.Rcpts = append(v.Rcpts, spoolRcptV1{To: r.Address.String(), Notify: uint8(r.Notify), ORcpt: r.ORcpt})
	}
	text, err := json.Marshal(v)
	if err == nil && len(text) > spoolEnvelope {
		err = errors.New("the envelope is too large")
	}
	dst = binary.BigEndian.AppendUint32(append(dst, spoolVersion), uint32(len(text)))
	return append(dst, text...), err
}
