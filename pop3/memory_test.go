package pop3

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// memStore is one user's maildrop in memory: the smallest store that the interfaces
// can stand on, and the proof that it can.
type memStore struct {
	mu       sync.Mutex
	msgs     []*memMsg
	locked   bool
	piece    int // octets in one write of Retrieve; 0: all
	language string
	fail     error // of Update
	broken   int   // message whose reading fails in the middle, from 1
	rested   int
	opened   int
	share    bool                                                 // more than one session at a time
	stays    func(ctx context.Context, user string) (bool, error) // nil: all do
}

type memMsg struct {
	uid  string
	body []byte
	seen bool
}

func newMemStore(bodies ...string) *memStore {
	s := &memStore{}
	for i, b := range bodies {
		s.msgs = append(s.msgs, &memMsg{uid: fmt.Sprintf("uid-%d", i+1), body: []byte(b)})
	}
	return s
}

func (s *memStore) session(context.Context, *ConnInfo) (Session, error) { return &memSession{s}, nil }

type memSession struct{ store *memStore }

const memPassword = "sesame"

func (s *memSession) auth() *sasl.Authenticator {
	return &sasl.Authenticator{Password: func(_ context.Context, c sasl.Credentials) (string, error) {
		return c.User, s.check(c.User, c.Password)
	}}
}

func (s *memSession) Mechanisms() []string { return s.auth().Mechanisms() }

func (s *memSession) check(user, password string) error {
	switch {
	case user == "damaged":
		return postino.E(postino.Corrupt, "log in", user, nil)
	case user == "busy":
		return postino.E(postino.Transient, "log in", user, nil)
	case user == "quick":
		return ErrLoginDelay
	case user == "panic":
		panic("a defect")
	case password != memPassword || user == "nobody":
		return postino.E(postino.Denied, "log in", user, nil)
	}
	return nil
}

func (s *memSession) Login(_ context.Context, user, password string) (Maildrop, error) {
	if err := s.check(user, password); err != nil {
		return nil, err
	}
	return s.store.open(user)
}

func (s *memSession) APOP(_ context.Context, user, timestamp string, digest []byte) (Maildrop, error) {
	if want := md5.Sum([]byte(timestamp + memPassword)); !bytes.Equal(want[:], digest) {
		return nil, postino.E(postino.Denied, "log in", user, nil)
	}
	return s.store.open(user)
}

func (s *memSession) Authenticate(_ context.Context, mechanism string) (sasl.Server, error) {
	return s.auth().Start(mechanism)
}

func (s *memSession) Bind(_ context.Context, identity string) (Maildrop, error) {
	return s.store.open(identity)
}

func (s *memSession) Close() error { return nil }

type memDrop struct {
	store *memStore
	user  string
	msgs  []*memMsg
}

func (s *memStore) open(user string) (Maildrop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked && !s.share {
		return nil, ErrInUse
	}
	s.locked = true
	s.opened++
	return &memDrop{s, user, slices.Clone(s.msgs)}, nil
}

func (d *memDrop) Stays(ctx context.Context) (bool, error) {
	if d.store.stays == nil {
		return true, nil
	}
	return d.store.stays(ctx, d.user)
}
func (d *memDrop) User() string                       { return d.user }
func (d *memDrop) Language() string                   { return d.store.language }
func (d *memDrop) Len() int                           { return len(d.msgs) }
func (d *memDrop) Size(n int) int64                   { return int64(len(d.msgs[n].body)) }
func (d *memDrop) AppendUID(dst []byte, n int) []byte { return append(dst, d.msgs[n].uid...) }

func (d *memDrop) Retrieve(_ context.Context, n int, w io.Writer) error {
	d.store.mu.Lock()
	there := slices.Contains(d.store.msgs, d.msgs[n])
	piece, broken := d.store.piece, d.store.broken
	d.store.mu.Unlock()
	b := d.msgs[n].body
	switch {
	case !there:
		return postino.E(postino.NotFound, "retrieve", "", nil)
	case broken == n+1:
		w.Write(b[:len(b)/2])
		return errors.New("the disk is broken")
	case piece == 0:
		piece = max(1, len(b))
	}
	for p := range slices.Chunk(b, piece) {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (d *memDrop) Rest() {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.rested++
}

func (d *memDrop) Update(_ context.Context, deleted, retrieved iter.Seq[int]) error {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if d.store.fail != nil {
		return d.store.fail
	}
	for n := range deleted {
		d.store.msgs = slices.DeleteFunc(d.store.msgs, func(m *memMsg) bool { return m == d.msgs[n] })
	}
	for n := range retrieved {
		d.msgs[n].seen = true
	}
	return nil
}

func (d *memDrop) Close() error {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.locked = false
	return nil
}

// state tells what is in the store: unique-ids, with a star for what was seen.
func (s *memStore) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, m := range s.msgs {
		b.WriteString(strings.TrimPrefix(m.uid, "uid-"))
		if m.seen {
			b.WriteByte('*')
		}
	}
	return b.String()
}

// canned is a connection whose client has said everything already.
type canned struct {
	in  *strings.Reader
	out bytes.Buffer
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *canned) RemoteAddr() net.Addr             { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// talk plays what a client says against a store and returns all that the server says.
func talk(store *memStore, change func(*Options), in string) string {
	opts := Options{NewSession: store.session, AllowClear: true}
	if change != nil {
		change(&opts)
	}
	c := &canned{in: strings.NewReader(in)}
	NewServer(opts).ServeConn(c)
	return c.out.String()
}
