package mailfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
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

// Drop is a message in a spool.
type Drop struct {
	// Name is unique, sorts by time and stays the same until the drop is removed:
	// a server that was cut off after it had accepted a drop knows it again.
	Name     string
	Envelope postino.Envelope // sender, recipients with their DSN wishes, UTF8, Body, EnvID and Ret
	// UID is the user who owns the file; HasUID is false where files have no owners.
	UID    uint32
	HasUID bool
	// Size of the message in octets; Time when it was written.
	Size int64
	Time time.Time
	// Content gives the message once. Its end is reached only if the digest agrees:
	// else the last read returns an error of kind Corrupt.
	Content io.Reader

	file vfs.File
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

// parseSpoolEnvelope reads the envelope of version 1.
func parseSpoolEnvelope(text []byte, limits SpoolLimits) (env postino.Envelope, err error) {
	var v spoolEnvelopeV1
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return env, err
	}
	if len(v.Rcpts) == 0 || len(v.Rcpts) > limits.Recipients || v.Body > uint8(postino.BodyBinaryMIME) || v.Ret > uint8(postino.DSNReturnHeaders) {
		return env, errors.New("a value of the envelope is out of its range")
	}
	env = postino.Envelope{SMTPUTF8: v.UTF8, Body: postino.Body(v.Body), EnvID: v.EnvID, Ret: postino.DSNReturn(v.Ret)}
	if v.From != "" {
		if env.From, err = postino.ParseAddress(v.From); err != nil {
			return env, err
		}
	}
	for _, r := range v.Rcpts {
		to, err := postino.ParseAddress(r.To)
		if err != nil {
			return env, err
		}
		notify := postino.DSNNotify(r.Notify)
		if notify > postino.DSNNever|postino.DSNSuccess|postino.DSNFailure|postino.DSNDelay || notify&postino.DSNNever != 0 && notify != postino.DSNNever {
			return env, errors.New("a wish for reports is out of its range")
		}
		env.Rcpts = append(env.Rcpts, postino.Recipient{Address: to, Notify: notify, ORcpt: r.ORcpt})
	}
	if len(v.EnvID) > 100 || slices.ContainsFunc(v.Rcpts, func(r spoolRcptV1) bool { return len(r.ORcpt) > 500 }) { // RFC 3461 §4.2, §4.4
		return env, errors.New("an identifier is too long")
	}
	return env, nil
}

// spoolName is what Put makes: an ID and 130 random bits.
var spoolName = regexp.MustCompile(`^[0-9A-Za-z]{13}-[A-Z2-7]{26}$`)

// List returns the names of the drops, the oldest first.
func (s *Spool) List() ([]string, error) {
	names, err := s.FS.List(s.Dir)
	if err != nil {
		return nil, fail("list spool", s.Dir, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !spoolName.MatchString(name) || s.stuck[name] })
	slices.Sort(names)
	return names, nil
}

// Open opens a drop; the caller closes it. The kind is Corrupt for what Put did not
// write or a user has tampered with: links, pipes, directories, files with several
// names, unknown versions, wrong lengths. NotFound means that it is gone.
func (s *Spool) Open(name string) (*Drop, error) {
	if !spoolName.MatchString(name) {
		return nil, postino.E(postino.Invalid, "open spool file", name, nil)
	}
	path := s.FS.PathJoin(s.Dir, name)
	f, err := vfs.OpenShared(s.FS, path, vfs.SharedRead)
	if err == nil {
		d := &Drop{Name: name, file: f}
		if err = d.load(s.Limits.withDefaults()); err == nil {
			return d, nil
		}
		err = errors.Join(err, f.Close())
	}
	var e *postino.Error
	if errors.As(err, &e) && e.Kind == postino.Corrupt {
		return nil, err
	}
	if e := fail("open spool file", path, err); !postino.Is(e, postino.Denied) || errors.Is(err, fs.ErrPermission) {
		return nil, e
	}
	return nil, postino.E(postino.Corrupt, "open spool file", path, err)
}

// Close closes a drop.
func (d *Drop) Close() error { return d.file.Close() }

func corrupt(why string) error {
	return postino.E(postino.Corrupt, "read spool file", "", errors.New(why))
}

// load reads all but the message.
func (d *Drop) load(limits SpoolLimits) error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	in, known := vfs.InodeOf(info)
	if known && in.Links != 1 {
		return corrupt("the file has several names")
	}
	d.UID, d.HasUID, d.Time = in.UID, known, info.ModTime()
	var start [spoolStart]byte
	if info.Size() < spoolStart+spoolEnd {
		return corrupt("the file is too short")
	}
	if _, err := d.file.ReadAt(start[:], 0); err != nil {
		return err
	}
	if start[0] != spoolVersion {
		return corrupt("the version of the file is not known")
	}
	n := int64(binary.BigEndian.Uint32(start[1:]))
	d.Size = info.Size() - spoolStart - n - spoolEnd
	if n > spoolEnvelope || d.Size < 0 || d.Size > limits.MessageBytes {
		return corrupt("the lengths do not fit")
	}
	text := make([]byte, n)
	if _, err := d.file.ReadAt(text, spoolStart); err != nil {
		return err
	}
	if d.Envelope, err = parseSpoolEnvelope(text, limits); err != nil {
		return postino.E(postino.Corrupt, "read spool file", "", err)
	}
	sum := sha256.New()
	sum.Write(start[:])
	sum.Write(text)
	at := spoolStart + n
	d.Content = &spoolReader{r: io.NewSectionReader(d.file, at, d.Size), end: io.NewSectionReader(d.file, at+d.Size, spoolEnd), size: d.Size, sum: sum}
	return nil
}

// spoolReader gives a message and proves it at its end.
type spoolReader struct {
	r, end io.Reader
	size   int64
	sum    hash.Hash
}

func (s *spoolReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	var end [spoolEnd]byte
	if _, err := io.ReadFull(s.end, end[:]); err != nil {
		return n, corrupt("the file was cut")
	}
	s.sum.Write(end[:8])
	if binary.BigEndian.Uint64(end[:]) != uint64(s.size) || !bytes.Equal(s.sum.Sum(nil), end[8:]) {
		return n, corrupt("the digest does not agree")
	}
	s.end = bytes.NewReader(end[:]) // whoever reads again gets the same answer
	return n, io.EOF
}

// Remove deletes a drop that the server has accepted, for good.
func (s *Spool) Remove(name string) error {
	err := s.FS.Remove(s.FS.PathJoin(s.Dir, name))
	if err == nil {
		err = vfs.SyncDir(s.FS, s.Dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail("remove spool file", name, err)
	}
	return nil
}

// Collect gives every drop to accept, the oldest first, and removes those for which
// it returned nil. One that is damaged, or that accept calls Invalid, Denied,
// NotFound or Corrupt, is set aside in the directory "bad"; after any other error
// the drop stays for the next time. It returns how many were accepted, and the last error that let a drop stay.
// Not for use by two goroutines at once.
func (s *Spool) Collect(ctx context.Context, accept func(context.Context, *Drop) error) (accepted int, err error) {
	names, err := s.List()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return accepted, ctx.Err()
		}
		switch e := s.collect(ctx, name, accept); postino.KindOf(e) {
		case postino.Invalid, postino.Denied, postino.NotFound, postino.Corrupt:
			s.setAside(name, e)
		default:
			if e == nil {
				accepted++
			} else {
				err = e
			}
		}
	}
	return accepted, err
}

func (s *Spool) collect(ctx context.Context, name string, accept func(context.Context, *Drop) error) error {
	d, err := s.Open(name)
	if err != nil {
		return err
	}
	err = accept(ctx, d)
	_ = d.Close() // it was only read
	if err != nil {
		return err
	}
	return s.Remove(name)
}

// setAside moves a file out of the way. What cannot be moved is not tried again as
// long as this process lives.
func (s *Spool) setAside(name string, why error) {
	err := s.FS.Rename(s.FS.PathJoin(s.Dir, name), s.FS.PathJoin(s.Dir, spoolBad, name))
	if errors.Is(err, fs.ErrNotExist) {
		return // its owner took it back
	}
	if err == nil {
		err = vfs.SyncDir(s.FS, s.Dir)
	} else if len(s.stuck) < spoolStuck {
		if s.stuck == nil {
			s.stuck = map[string]bool{}
		}
		s.stuck[name] = true
	}
	if s.Logger != nil {
		s.Logger.Error("spool file set aside", "name", name, "why", postino.Printable(why.Error()), "err", err)
	}
}
