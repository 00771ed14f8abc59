package app

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/submit"
)

// Outward is how mail leaves. The zero value is fit for use.
type Outward struct {
	Retry queue.Schedule
	// Slots and PerDomain are how many connections go out at once, in all and to
	// one destination; 0 is the default of the queue.
	Slots, PerDomain int
	// Private tells which addresses mail may go to although they are private.
	Private func(netip.Addr) bool
	// Dial opens the connections; source is the address to dial from, or zero.
	// nil is the network of the system.
	Dial func(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error)
	// DNS answers questions; nil asks as Names says.
	DNS   dns.Resolver
	Names Names
	// Addresses are this node's; nil asks the system.
	Addresses func() []netip.Addr
	// Roots verify the certificates of other servers; nil means those of the system.
	Roots *x509.CertPool
}

// openMail makes what moves mail: the relay, the queue, and the way into it.
func (s *Stores) openMail(o *StoreOptions, local *deliver.Local) error {
	if s.Resolver = o.Outward.DNS; s.Resolver == nil {
		if err := s.openNames(o); err != nil {
			return err
		}
	}
	s.openReports(o)
	addresses := o.Outward.Addresses
	if addresses == nil {
		addresses = ownAddresses()
	}
	host := o.Hostname
	if host == "" { // stores that no server runs on: nothing leaves them
		host = "localhost"
	}
	if err := s.openPolicies(o, addresses); err != nil {
		return err
	}
	var err error
	s.Relay, err = relay.New(relay.Options{
		Hostname: host, OwnAddrs: addresses, AllowPrivate: o.Outward.Private, DNS: s.Resolver, Dial: o.Outward.Dial, Routes: s.Directory,
		Blobs: s.Blobs, Files: o.Files, Roots: o.Outward.Roots, Policies: s.Policies, Reports: s.Collector, Logger: o.Logger, Metrics: o.Metrics,
	})
	if err != nil {
		return err
	}
	s.Queue = queue.New(s.DB, s.Blobs, s.Stories, queue.Options{
		Logger: o.Logger, Metrics: o.Metrics, IDs: s.IDs, Retry: o.Outward.Retry,
		Transports: map[string]queue.TransportOptions{
			queue.Local:  {Transport: local},
			queue.Reader: {Transport: s.reportReader(o)},
			relay.Name:   {Transport: s.Relay, Sites: true, Slots: o.Outward.Slots, SiteLimit: s.siteLimit(o.Outward.PerDomain)},
		},
	})
	secret, err := s.secret(context.Background(), "srs")
	if err != nil {
		return err
	}
	s.Post = submit.New(submit.Options{
		Hostname: host, DB: s.DB, Blobs: s.Blobs, Directory: s.Directory, Mailboxes: s.Mailboxes, Queue: s.Queue, Stories: s.Stories, IDs: s.IDs,
		SRS: &mailauth.SRS{Domain: host, Secrets: [][]byte{secret}}, Dest: relay.Dest, Verify: s.verify, Logger: o.Logger,
	})
	s.Queue.SetReporter(s.Post)
	s.Keys = directory.NewKeeper(s.Directory, directory.KeeperOptions{DNS: s.Resolver, Rotate: o.Signing.Rotate, Hold: o.Signing.Hold, Records: o.Signing.Records})
	return nil
}

// siteLimit is how many connections a destination gets: what its route says, or
// else the default.
func (s *Stores) siteLimit(perDomain int) func(string) int {
	return func(dest string) int {
		if n := s.Relay.SiteLimit(dest); n > 0 {
			return n
		}
		return perDomain
	}
}

// verify asks the primary server of a relay domain about a recipient. While it
// cannot say, mail is taken: that is what a backup MX is for.
func (s *Stores) verify(ctx context.Context, a postino.Address) error {
	r, err := s.Relay.Verify(ctx, a)
	if err != nil {
		return err
	}
	if r.Permanent() {
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "The destination does not know this mailbox: " + r.Text}
	}
	return nil
}

// ownAddresses returns a function that knows the addresses of this machine, and
// asks again every minute.
func ownAddresses() func() []netip.Addr {
	var mu sync.Mutex
	var known []netip.Addr
	var asked time.Time
	return func() []netip.Addr {
		mu.Lock()
		defer mu.Unlock()
		if known != nil && time.Since(asked) < time.Minute {
			return known
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return known
		}
		known, asked = make([]netip.Addr, 0, len(addrs)), time.Now()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				known = append(known, p.Addr().Unmap())
			}
		}
		return known
	}
}

// secret returns random octets of this installation, made when they are first
// asked for. Later it only reads, so that a node starts on a full disk (QU6).
func (s *Stores) secret(ctx context.Context, name string) (secret []byte, err error) {
	const version = 1
	key := []byte("Ms" + name)
	read := func(r kv.Reader) error {
		v, ok, err := r.Get(key)
		if ok && (len(v) != 33 || v[0] != version) {
			return postino.E(postino.Corrupt, "read secret", name, errors.New("written by a newer version, or damaged"))
		}
		secret = nil
		if ok {
			secret = append(secret, v[1:]...)
		}
		return err
	}
	if err := s.DB.View(ctx, nil, read); err != nil || secret != nil {
		return secret, err
	}
	err = s.DB.Update(ctx, []kv.Scope{kv.Scope("M/" + name)}, func(tx kv.Tx) error {
		if err := read(tx); err != nil || secret != nil {
			return err
		}
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		return tx.Set(key, append([]byte{version}, secret...))
	})
	return secret, err
}
