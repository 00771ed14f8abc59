package mailfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

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
