package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// Pair names the files of a certificate with its chain and of its key, PEM.
type Pair struct{ Cert, Key string }

// Options say where certificates come from.
type Options struct {
	// Names are those of the host, the first being the one that clients get who
	// ask for a name that no certificate has, or for none. A self-signed
	// certificate for them stands in while there is no other.
	Names []string
	// Files are read with Read, and again by Reload.
	Files   []Pair
	Read    func(name string) ([]byte, error)
	Logger  *slog.Logger     // nil discards
	Metrics *metric.Registry // nil counts nothing
}

// Source holds the certificates in use. All methods may be called from any
// goroutine.
type Source struct {
	opts  Options
	obs   observer
	proof challenges // what an authority may ask for while it issues
	roll  rollover

	inUse atomic.Pointer[set]

	reloading sync.Mutex // one at a time, and they may wait for DNS

	mu    sync.Mutex // guards what follows and every change of inUse; held shortly
	files []*entry
	acme  []*entry
	self  *entry
	old   []replaced
	held  string // why what the files hold now is not in use
}

// replaced is a set that was in use until then.
type replaced struct {
	set   *set
	until time.Time
}

// shownFor is how long a connection may take between its handshake and the login
// that is bound to the certificate.
const shownFor = 5 * time.Minute

// New reads the files and makes a certificate that stands in for what is not
// there yet. The error is of kind Invalid.
func New(opts Options) (*Source, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{opts: opts, obs: newObserver(opts)}
	files, err := s.read()
	if err != nil {
		return nil, err
	}
	if s.self, err = selfSigned(time.Now(), opts.Names); err != nil {
		return nil, err
	}
	s.files = files
	s.use()
	return s, nil
}

// SelfSigned makes a key and a certificate for the names that nobody else
// vouches for, valid for a year from now.
func SelfSigned(now time.Time, names ...string) (*Source, error) {
	self, err := selfSigned(now, names)
	if err != nil {
		return nil, err
	}
	opts := Options{Names: names, Logger: slog.New(slog.DiscardHandler)}
	s := &Source{opts: opts, obs: newObserver(opts), self: self}
	s.use()
	return s, nil
}

// read loads all files.
func (s *Source) read() ([]*entry, error) {
	var list []*entry
	for _, p := range s.opts.Files {
		certPEM, err := s.opts.Read(p.Cert)
		if err != nil {
			return nil, postino.E(postino.Invalid, "read certificate", p.Cert, err)
		}
		keyPEM, err := s.opts.Read(p.Key)
		if err != nil {
			return nil, postino.E(postino.Invalid, "read key", p.Key, err)
		}
		e, err := newEntry(FromFile, certPEM, keyPEM)
		if err != nil {
			return nil, postino.E(postino.Invalid, "load certificate", p.Cert, err)
		}
		e.file = p.Cert
		list = append(list, e)
	}
	return list, nil
}

// Reload reads the files again. All of them take effect or none: Invalid when one
// of them does not load; Conflict when TLSA records in DNS know the key in use and
// not the new one, which is then taken into use as soon as they do.
func (s *Source) Reload() error { return s.reload(context.Background()) }

func (s *Source) reload(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	files, err := s.read()
	if err != nil {
		return err
	}
	why, file := "", ""
	for _, e := range files {
		if why = s.roll.hold(ctx, s.inUse.Load(), e); why != "" {
			file = e.file
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held = why; why != "" {
		return postino.E(postino.Conflict, "change certificate", file, errors.New(why))
	}
	s.files = files
	s.use()
	return nil
}

// standIn makes the certificate anew that stands in for others, before it ends.
func (s *Source) standIn(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.self.chain[0].NotAfter.Sub(now) > 30*24*time.Hour {
		return nil
	}
	self, err := selfSigned(now, s.opts.Names)
	if err == nil {
		s.self = self
		s.use()
	}
	return err
}

// setACME changes the certificates that an authority has issued.
func (s *Source) setACME(list []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acme = list
	s.use()
}

// use puts what there is into use; s.mu is held, or nobody else knows s.
func (s *Source) use() {
	next := newSet(s.opts.Names, s.files, s.acme, []*entry{s.self})
	if before := s.inUse.Swap(next); before != nil {
		s.old = append(recent(s.old, time.Now()), replaced{before, time.Now()})
	}
}

// recent leaves out what no connection can have seen that is about to log in.
func recent(list []replaced, now time.Time) (young []replaced) {
	for _, o := range list {
		if now.Sub(o.until) < shownFor {
			young = append(young, o)
		}
	}
	return young
}

// Leaves are the certificates that a connection may have been shown that asked for
// serverName and is about to log in: those in use for that name, and for five
// minutes those before them. A nil Source has shown none.
func (s *Source) Leaves(serverName string) (list []*x509.Certificate) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	sets := []*set{s.inUse.Load()}
	for _, o := range recent(s.old, time.Now()) {
		sets = append(sets, o.set)
	}
	s.mu.Unlock()
	known := map[*entry]bool{}
	for _, c := range sets {
		for _, e := range c.candidates(serverName) {
			if !known[e] {
				known[e] = true
				list = append(list, e.cert.Leaf)
			}
		}
	}
	return list
}

// Pool reads the authorities in a PEM file. The error is of kind Invalid.
func Pool(read func(name string) ([]byte, error), file string) (*x509.CertPool, error) {
	text, err := read(file)
	if err != nil {
		return nil, postino.E(postino.Invalid, "read certificates", file, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, postino.E(postino.Invalid, "read certificates", file, errors.New("it holds none"))
	}
	return pool, nil
}

// certificate is what the handshakes ask for.
func (s *Source) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.inUse.Load().choose(hello, time.Now()).cert, nil
}
