package script

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/test/memnet"
	"github.com/postino-mail/postino/vfs"
)

// here is the address of the node.
var here = netip.MustParseAddr("198.51.100.1")

// internet is what is around a node in fake time: names, hosts and the disk.
type internet struct {
	net   *memnet.Network
	names *dns.Fake
	zones map[string]bool
	disk  *vfs.Mem
	left  *vfs.Mem // of the disk after a power cut, when a rule wanted one
	peers map[string]*peer
	from  netip.Addr   // where strangers send from, when a script said so
	helo  string       // their name
	live  *atomic.Bool // of the process that runs: a dead one reaches nobody
}

func newInternet() *internet {
	return &internet{net: memnet.New(), names: dns.NewFake(), zones: map[string]bool{}, disk: vfs.Memory(), peers: map[string]*peer{}}
}

// options are those of a node in memory.
func (i *internet) options() (app.Options, error) {
	const hostname = "mx.example.org"
	cert, err := certs.SelfSigned(time.Now(), hostname)
	if err != nil {
		return app.Options{}, err
	}
	live := new(atomic.Bool)
	live.Store(true)
	i.live = live
	return app.Options{
		Hostname: hostname, Version: "script", Certs: cert, Ephemeral: true, Logger: logger(), FutureRelease: 30 * 24 * time.Hour,
		Stores: app.StoreOptions{
			Reports: app.ReportOptions{DMARC: true, TLS: true, Version: "script"},
			Files:   i.disk, DataDir: "/postino", Metrics: metric.New(),
			KV:     lsm.Options{Still: true, MemTableBytes: 4 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Interval: time.Hour, Ballast: -1}},
			Argon2: directory.Argon2{MemoryKiB: 64, Time: 1}, Signing: app.Signing{RSA: oneRSA, Rotate: 20 * 24 * time.Hour},
			Outward: app.Outward{
				DNS: i.names, Addresses: func() []netip.Addr { return []netip.Addr{here} },
				Dial: func(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
					if !live.Load() {
						return nil, errors.New("the process is dead")
					}
					return i.net.DialFrom(ctx, network, address, here)
				},
			},
		},
		Listeners: []app.Listener{
			{Service: app.SMTP, Address: here.String() + ":25", Clear: true},
			{Service: app.Submission, Address: here.String() + ":587", Clear: true},
			{Service: app.Submissions, Address: here.String() + ":465"},
			{Service: app.IMAP, Address: here.String() + ":143", Clear: true},
			{Service: app.LMTP, Address: here.String() + ":24", Clear: true},
		},
		Listen: i.net.Listen,
	}, nil
}

// dial connects to the node: to its port 25 from elsewhere, to the others from
// the host itself, where users need no TLS.
func (i *internet) dial(address string) (net.Conn, error) {
	source := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if strings.HasSuffix(address, ":25") {
		source = i.from
	}
	return i.net.DialFrom(context.Background(), "tcp", address, source)
}

// logger shows what the node says when LOG is set.
func logger() *slog.Logger {
	if os.Getenv("LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// settle lets everything happen that happens at once.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// zone adds a zone of a file or of records, one a word.
func (w *world) zone(ts *testscript.TestScript, args []string) error {
	security := dns.Insecure
	if args[0] == "-secure" {
		security, args = dns.Secure, args[1:]
	}
	text, err := fileOrLines(ts, args[1:])
	if err != nil {
		return err
	}
	return w.fake.setZone(args[0], text, security)
}

func (i *internet) setZone(origin, text string, s dns.Security) error {
	i.zones[origin] = true
	return i.names.AddZone(origin, text, s)
}

// fileOrLines returns the text of the file that is the only argument, or the
// arguments as lines.
func fileOrLines(ts *testscript.TestScript, args []string) (string, error) {
	if len(args) == 1 {
		if text, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			return string(text), nil
		}
	}
	return strings.Join(args, "\n") + "\n", nil
}

var dnsFaults = map[string]dns.FaultKind{
	"ok": dns.FaultNone, "servfail": dns.FaultServFail, "refused": dns.FaultRefused, "nxdomain": dns.FaultNXDomain,
	"bogus": dns.FaultBogus, "silent": dns.FaultSilent,
}

var dnsTypes = map[string]dns.Type{"any": 0, "A": dns.TypeA, "AAAA": dns.TypeAAAA, "MX": dns.TypeMX, "TXT": dns.TypeTXT, "TLSA": dns.TypeTLSA}

// dnsFault makes questions fail: NAME TYPE KIND [TIMES].
func (w *world) dnsFault(_ *testscript.TestScript, args []string) error {
	kind, ok := dnsFaults[args[2]]
	t, known := dnsTypes[args[1]]
	if !ok || !known {
		return fmt.Errorf("no such fault: %v", args)
	}
	f := dns.Fault{Kind: kind}
	if len(args) > 3 {
		n, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		f.Times = n
	}
	w.fake.names.SetFault(args[0], t, f)
	return nil
}

// peer makes a mail server or changes one. A domain without a zone gets one that
// leads to it.
func (w *world) peer(ts *testscript.TestScript, args []string) error {
	name, what, rest := args[0], args[1], args[2:]
	i := w.fake
	p := i.peers[name]
	if p != nil {
		switch what {
		case "refuse":
			return p.refuse()
		case "listen":
			return p.listen()
		case "rules":
			return p.configure(ts, rest)
		}
		return fmt.Errorf("there is a peer %s", name)
	}
	if !strings.Contains(what, "]:") && strings.Count(what, ":") != 1 {
		what = net.JoinHostPort(what, "25")
	}
	at, err := netip.ParseAddrPort(what)
	if err != nil {
		return err
	}
	if !i.zones[name] {
		record := "A"
		if at.Addr().Is6() {
			record = "AAAA"
		}
		if err := i.setZone(name, fmt.Sprintf("@ MX 10 mx\nmx %s %s\n", record, at.Addr()), dns.Insecure); err != nil {
			return err
		}
	}
	p = &peer{name: "mx." + name, address: what, net: i.net, open: map[net.Conn]bool{}, cut: func() { i.left = i.disk.Crash(0, 1) }}
	i.peers[name] = p
	if err := p.configure(ts, rest); err != nil {
		return err
	}
	return p.listen()
}

func (p *peer) configure(ts *testscript.TestScript, args []string) error {
	text, err := fileOrLines(ts, args)
	if err != nil {
		return err
	}
	rules, err := parseRules(text)
	if err == nil {
		p.set(rules)
	}
	return err
}

// byName finds a peer.
func (i *internet) byName(name string) (*peer, error) {
	if p := i.peers[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no peer %s", name)
}

// dialogue prints what all sessions with a peer said.
func (w *world) dialogue(ts *testscript.TestScript, args []string) error {
	p, err := w.fake.byName(args[0])
	if err != nil {
		return err
	}
	_, lines := p.heard()
	fmt.Fprintln(ts.Stdout(), strings.Join(lines, "\n"))
	return nil
}

// host makes an address misbehave: ADDRESS ok|silent|unreachable, or latency D,
// cut-to N, cut-from N.
func (w *world) host(_ *testscript.TestScript, args []string) error {
	a, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	var f memnet.Fault
	switch args[1] {
	case "ok":
	case "silent":
		f.Silent = true
	case "unreachable":
		f.Unreachable = true
	case "latency":
		f.Latency, err = duration(args[2])
	case "cut-to":
		f.CutTo, err = strconv.Atoi(args[2])
	case "cut-from":
		f.CutFrom, err = strconv.Atoi(args[2])
	default:
		err = fmt.Errorf("no fault %s", args[1])
	}
	w.fake.net.SetFault(a, f)
	return err
}

// clock lets time pass.
func (w *world) clock(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 || args[0] != "advance" {
		return errors.New("usage: clock advance D")
	}
	d, err := duration(args[1])
	if err != nil {
		return err
	}
	time.Sleep(d)
	synctest.Wait()
	return nil
}

// crash cuts the power: what was not synced is lost, but for a share of it in
// percent. Then the node starts on what is left.
func (w *world) crash(_ *testscript.TestScript, args []string) error {
	percent := 0
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		percent = n
	}
	i := w.fake
	left := i.left
	if i.left = nil; left == nil {
		left = i.disk.Crash(percent, 1)
	}
	i.live.Store(false)
	i.net.Reset(here)
	if err := w.halt(); err != nil {
		return fmt.Errorf("the process that died: %w", err)
	}
	i.disk = left
	return w.start()
}

// stop stops the peers, and looks for connections left open.
func (i *internet) stop() error {
	var err error
	for _, name := range slices.Sorted(maps.Keys(i.peers)) {
		err = errors.Join(err, i.peers[name].refuse())
	}
	synctest.Wait()
	if n := i.net.Open(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d connections are still open", n))
	}
	return err
}
