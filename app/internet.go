package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

// The small Internet that a development server lives in. The server itself has the
// domain here.test, which signs, beside all that are nowhere. A second server, in
// memory, stands for all others. It serves friend.test; it wants
// mail for slow.test to come twice (greylisting); mail for forward.test it sends
// on to the same name at localhost. Nobody answers for dead.test, nomail.test says
// that it takes no mail, and nowhere.test does not exist. Mail from forged.test and
// junk.test is never theirs: the one wants it refused, the other in Junk. A fake DNS
// leads everybody to everybody.
const (
	hereDomain    = "here.test"
	friendDomain  = "friend.test"
	slowDomain    = "slow.test"
	forwardDomain = "forward.test"
	deadDomain    = "dead.test"
	nullDomain    = "nomail.test"
	noDomain      = "nowhere.test"
	forgedDomain  = "forged.test"
	junkDomain    = "junk.test"
)

// Addresses of the small Internet. Connections to port 25 of the first two are
// led to the servers, wherever they really listen.
var (
	hereAddr = netip.MustParseAddr("127.0.0.1")
	restAddr = netip.MustParseAddr("127.0.0.2")
	deadAddr = netip.MustParseAddr("127.0.0.3")
)

// devNames is the fake DNS, which grows.
type devNames struct {
	*dns.Fake
	zones map[string]string
}

// add adds records to a zone.
func (n *devNames) add(origin, records string) error {
	n.zones[origin] += records
	return n.AddZone(origin, n.zones[origin], dns.Insecure)
}

// publish makes the domains of a server sign with keys that are in the DNS.
func (n *devNames) publish(ctx context.Context, s *Stores) error {
	for origin := range n.zones {
		keys, err := s.Keys.Status(ctx, origin)
		if postino.Is(err, postino.NotFound) {
			continue
		}
		for _, k := range dkimKeys(keys) {
			err = errors.Join(err, n.add(origin, k.Zone+"\n"))
		}
		if err == nil {
			_, err = s.Keys.Check(ctx, origin, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zones are what the fake DNS knows at first.
func zones() (*devNames, error) {
	names := &devNames{dns.NewFake(), map[string]string{}}
	at := func(a netip.Addr) string { return "@ IN MX 10 mx\nmx IN A " + a.String() + "\n" }
	// All of it is on this machine, so that SPF can tell its mail only from that of
	// other machines.
	const proven = "@ IN TXT \"v=spf1 ip4:127.0.0.0/8 ip6:::1 -all\"\n_dmarc IN TXT \"v=DMARC1; p=reject\"\n"
	forged := func(policy string) string {
		return "@ IN MX 0 .\n@ IN TXT \"v=spf1 ip4:192.0.2.1 -all\"\n_dmarc IN TXT \"v=DMARC1; p=" + policy + "\"\n"
	}
	for origin, text := range map[string]string{
		"localhost":   "@ IN A " + hereAddr.String() + "\n",
		hereDomain:    at(hereAddr) + proven,
		friendDomain:  at(restAddr) + proven,
		slowDomain:    at(restAddr),
		forwardDomain: at(restAddr),
		deadDomain:    at(deadAddr),
		nullDomain:    "@ IN MX 0 .\n",
		forgedDomain:  forged("reject"),
		junkDomain:    forged("quarantine"),
	} {
		if err := names.add(origin, text); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// elsewhere tells whether a domain is somewhere else in the small Internet.
func elsewhere(domain string) bool {
	switch domain {
	case friendDomain, slowDomain, forwardDomain, deadDomain, nullDomain, noDomain, forgedDomain, junkDomain:
		return true
	}
	return false
}

// network leads port 25 of the addresses above to the ports of the servers.
type network struct{ ports sync.Map } // netip.Addr → string

// join makes the SMTP listener of a node answer at an address.
func (n *network) join(a netip.Addr, node *Node) {
	for _, l := range node.Bound() {
		if l.Service == SMTP {
			n.ports.Store(a, l.Address)
		}
	}
}

func (n *network) dial(ctx context.Context, _, address string, _ netip.Addr) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	real, ok := n.ports.Load(at.Addr())
	if !ok || at.Port() != 25 {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: errors.New("connection refused")}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", real.(string))
}

// DevNode is a development server with the rest of its Internet.
type DevNode struct {
	*Node
	Rest *Node
}

// StartDev starts a development server and the rest of its Internet.
func StartDev(ctx context.Context, o DevOptions, log *slog.Logger) (*DevNode, error) {
	names, err := zones()
	if err != nil {
		return nil, err
	}
	net := new(network)
	restOpts, err := restOfInternet(o, names, net, log)
	if err != nil {
		return nil, err
	}
	opts, err := Dev(o, log)
	if err != nil {
		return nil, err
	}
	key := sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	restOpts.Stores.Signing.RSA, opts.Stores.Signing.RSA = key, key                                                // one for all: who starts a development server wants it now
	opts.Stores.AnyUser.Foreign, opts.Stores.Outward, opts.Relay = elsewhere, outwardDev(names, net), opts.Trusted // nothing really leaves
	d := new(DevNode)
	if d.Rest, err = Start(restOpts); err != nil {
		return nil, err
	}
	net.join(restAddr, d.Rest)
	if d.Node, err = Start(opts); err != nil {
		return nil, errors.Join(err, d.Rest.stop())
	}
	net.join(hereAddr, d.Node)
	err = settle(ctx, d.Stores, d.Rest.Stores)
	for _, s := range []*Stores{d.Stores, d.Rest.Stores} {
		if err == nil {
			err = names.publish(ctx, s)
		}
	}
	if err != nil {
		return nil, errors.Join(err, d.Node.stop(), d.Rest.stop())
	}
	return d, nil
}

// Run serves until ctx ends or one of the servers fails.
func (d *DevNode) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { defer cancel(); ended <- d.Rest.Run(ctx) }()
	err := d.Node.Run(ctx)
	cancel()
	return errors.Join(err, <-ended)
}

// restOfInternet is the server that stands for all others.
func restOfInternet(o DevOptions, names dns.Resolver, net *network, log *slog.Logger) (Options, error) {
	cert, err := certs.SelfSigned(time.Now(), "mx."+friendDomain)
	if err != nil {
		return Options{}, err
	}
	return Options{
		Hostname: "mx." + friendDomain, Certs: cert, Version: o.Version, Dev: true, Ephemeral: true, Logger: log.With("server", friendDomain),
		Trusted: func(a netip.Addr) bool { return a.IsLoopback() }, Inbound: moods, Listeners: o.listeners(restPorts),
		Stores: StoreOptions{
			Files: vfs.Memory(), DataDir: "/rest", Metrics: metric.New(),
			AnyUser: &directory.AcceptAny{Password: o.Password, Foreign: func(d string) bool { return d != friendDomain && d != slowDomain }},
			Outward: outwardDev(names, net),
		},
	}, nil
}

// outwardDev are the ways out of a development server: none leads outside.
func outwardDev(names dns.Resolver, net *network) Outward {
	return Outward{
		DNS: names, Dial: net.dial, Private: func(a netip.Addr) bool { return a.IsLoopback() },
		Addresses: func() []netip.Addr { return nil },
	}
}

// settle gives the servers of the small Internet what they need to be seen at
// work: domains that sign, and aliases that lead from one to the other.
func settle(ctx context.Context, here, rest *Stores) error {
	at := func(local, domain string) postino.Address { return postino.Address{Local: local, Domain: domain} }
	for name, s := range map[string]*Stores{hereDomain: here, friendDomain: rest, slowDomain: rest} {
		if err := s.Directory.AddDomain(ctx, directory.Domain{Name: name}); err != nil && !postino.Is(err, postino.Conflict) {
			return err
		}
	}
	for _, a := range []struct {
		s      *Stores
		domain string
		alias  directory.Alias
	}{
		{here, "localhost", directory.Alias{Address: at("away", "localhost"), Targets: []postino.Address{at("dev", friendDomain)}}},
		{rest, forwardDomain, directory.Alias{Address: at("", forwardDomain), Targets: []postino.Address{at("", "localhost")}}},
	} {
		if err := a.s.Directory.AddDomain(ctx, directory.Domain{Name: a.domain}); err != nil && !postino.Is(err, postino.Conflict) {
			return err
		}
		if err := a.s.Directory.SetAlias(ctx, a.alias); err != nil {
			return err
		}
	}
	return nil
}

// moods gives the server magic recipients that fail: rcpt451@ and rcpt550@ (any
// code) when they are named, data451@ and data550@ after the content, timeout@
// never answers, drop@ loses the reply after it took the message.
func moods(b smtp.Backend) smtp.Backend {
	return &moodBackend{b, &greylist{seen: map[[2]postino.Address]bool{}}}
}

type moodBackend struct {
	smtp.Backend
	grey *greylist
}

func (b *moodBackend) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	s, err := b.Backend.NewSession(ctx, c)
	if err != nil {
		return nil, err
	}
	return &moodSession{s, b.grey}, nil
}

type moodSession struct {
	smtp.Session
	grey *greylist
}

func (s *moodSession) Mail(ctx context.Context, from postino.Address, opts smtp.MailOptions) (smtp.Transaction, error) {
	t, err := s.Session.Mail(ctx, from, opts)
	if err != nil {
		return nil, err
	}
	return &moodTransaction{Transaction: t, from: from, grey: s.grey}, nil
}

type moodTransaction struct {
	smtp.Transaction
	smtp.Sink
	from  postino.Address
	grey  *greylist
	after error // what is answered to the content
	lost  bool  // the reply to the content gets lost
}

// magicReply reads the code of "rcpt451" or "data550".
func magicReply(local, word string) error {
	digits, ok := strings.CutPrefix(local, word)
	code, err := strconv.Atoi(digits)
	if !ok || err != nil || code < 400 || code > 599 {
		return nil
	}
	return &smtp.Reply{Code: code, Enhanced: fmt.Sprintf("%d.0.0", code/100), Text: "You asked for this"}
}

func (t *moodTransaction) Rcpt(ctx context.Context, to postino.Recipient) error {
	local := strings.ToLower(to.Address.Local)
	if err := magicReply(local, "rcpt"); err != nil {
		return err
	}
	switch err := magicReply(local, "data"); {
	case err != nil:
		t.after = err
	case local == "timeout":
		<-ctx.Done() // the client gives up first
		return ctx.Err()
	case local == "drop":
		t.lost = true
	}
	if to.Address.Domain == slowDomain && t.grey.isNew(t.from, to.Address) {
		return &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "Greylisted, come again"}
	}
	return t.Transaction.Rcpt(ctx, to)
}

func (t *moodTransaction) Data(ctx context.Context) (smtp.Sink, error) {
	var err error
	t.Sink, err = t.Transaction.Data(ctx)
	return t, err
}

func (t *moodTransaction) Commit(ctx context.Context) (smtp.Accepted, error) {
	if t.after != nil {
		return smtp.Accepted{}, t.after
	}
	a, err := t.Sink.Commit(ctx)
	if err == nil && t.lost {
		<-ctx.Done()
		return a, ctx.Err()
	}
	return a, err
}

// greylist remembers who came before.
type greylist struct {
	mu   sync.Mutex
	seen map[[2]postino.Address]bool
}

// maxGrey bounds the list, which then begins anew.
const maxGrey = 10_000

func (g *greylist) isNew(from, to postino.Address) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.seen) >= maxGrey {
		clear(g.seen)
	}
	k := [2]postino.Address{from, to}
	was := g.seen[k]
	g.seen[k] = true
	return !was
}
