package app

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/config"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/pop3"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

// Config is a configuration that was read without errors.
type Config struct{ c *config.Config }

// LoadConfig reads a configuration file; the error lists all that is wrong
// with it.
func LoadConfig(path string) (*Config, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return &Config{c}, nil
}

// ExampleConfig writes a commented configuration for a host that keeps its data
// in a directory: with certificates by ACME when email, which the authority may
// write to, is not empty, else with one of its own making.
func ExampleConfig(hostname, dataDir, email string) []byte {
	values := map[string]string{"server.hostname": hostname, "server.data_dir": dataDir}
	if email != "" {
		values["acme.agree_terms"], values["acme.email"] = "true", email
	} else {
		values["tls.self_signed"] = "true"
	}
	return config.Example(values)
}

// DataDir is where the node keeps everything.
func (c *Config) DataDir() string { return c.c.Server.DataDir }

// Hostname is the name of the node.
func (c *Config) Hostname() string { return c.c.Server.Hostname }

// MaxMessage is the largest message that is taken, in octets.
func (c *Config) MaxMessage() int64 { return c.c.SMTP.MaxSize }

// LogFormat is "text" or "json".
func (c *Config) LogFormat() string { return c.c.Log.Format }

// LogLevel is the least level that is written.
func (c *Config) LogLevel() (l slog.Level) {
	_ = l.UnmarshalText([]byte(c.c.Log.Level)) // config takes known names only
	return l
}

// Pinned lists the keys that differ in next and that only a restart can change.
func (c *Config) Pinned(next *Config) (keys []string) {
	for _, d := range config.Diff(c.c, next.c) {
		if d.Key != "log.level" {
			keys = append(keys, d.Key)
		}
	}
	return keys
}

// OpenStores opens the stores for a command while no server runs.
func (c *Config) OpenStores(log *slog.Logger) (*Stores, error) {
	o := c.stores(log, nil)
	o.Offers = c.listeners()
	var err error
	if o.Signing, err = c.signing(); err != nil {
		return nil, err
	}
	if o.Certs, err = c.certificates(log, nil); err != nil { // most commands need none
		log.Warn("certificates not read", "err", err)
	} else if o.ACME, err = c.acme(); err != nil {
		log.Warn("certificates not read", "err", err)
	}
	return openStores(o)
}

func (c *Config) stores(log *slog.Logger, metrics *metric.Registry) StoreOptions {
	st := &c.c.Storage
	return StoreOptions{
		Files: vfs.OS(), DataDir: c.c.Server.DataDir, Logger: log, Metrics: metrics,
		KV: lsm.Options{CacheBytes: st.Cache, Guard: lsm.GuardOptions{Low: st.MinFree, Critical: st.CriticalFree, Ballast: st.Ballast}},
		Blobs: blob.Options{
			Inline: int(st.Inline), MemoryBudget: st.Memory,
		},
		Hostname: c.c.Server.Hostname, Outward: c.outward(), Reports: c.reports(), Legacy: c.legacy(), NoChannelBinding: !c.c.Auth.ChannelBinding, Tokens: c.c.Auth.Tokens,
	}
}

// reports are what others are told.
func (c *Config) reports() ReportOptions {
	r := &c.c.Reports
	o := ReportOptions{DMARC: r.DMARC, TLS: r.TLS, Failures: r.Failures, Org: r.Organization, Contact: r.Contact, Keep: time.Duration(r.Keep) * 24 * time.Hour, Bytes: r.MaxSize}
	if r.From != "" {
		a, err := postino.ParseAddress(r.From)
		if err != nil {
			panic(err) // config has parsed it
		}
		o.From = a
	}
	return o
}

// legacy are the elder mechanisms by their names in SASL.
func (c *Config) legacy() (names []string) {
	for _, n := range c.c.Auth.Legacy {
		names = append(names, strings.ToUpper(n))
	}
	return names
}

func (c *Config) outward() Outward {
	q, r := &c.c.Queue, &c.c.Relay
	out := Outward{
		Retry: queue.Schedule{First: q.First, Max: q.Max, Life: q.Life, BounceLife: q.BounceLife, Notice: q.Notice},
		Slots: r.Connections, PerDomain: r.PerDomain, Private: within(r.AllowPrivate),
	}
	out.Names = c.names()
	return out
}

// names are who is asked for names.
func (c *Config) names() (n Names) {
	d := &c.c.DNS
	n.NegativeAnchors = d.NegativeAnchors
	n.DNSSEC = map[string]dns.Policy{"auto": dns.Automatic, "on": dns.Required, "off": dns.Off}[d.DNSSEC]
	for _, text := range d.Servers {
		if text == config.Recursive {
			return Names{Recursive: true, NegativeAnchors: n.NegativeAnchors, DNSSEC: n.DNSSEC}
		}
		s, err := dns.ParseServer(text)
		if err != nil {
			panic(err) // config has parsed it
		}
		s.Trusted = d.Trusted
		n.Servers = append(n.Servers, s)
	}
	return n
}

// within tells which addresses are in one of the networks, nil when there are
// none.
func within(networks []string) func(netip.Addr) bool {
	if len(networks) == 0 {
		return nil
	}
	all := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		all[i] = netip.MustParsePrefix(n) // config has parsed it
	}
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
}

// Options returns the node that the configuration describes. It reads the
// certificate.
func (c *Config) Options(log *slog.Logger, version string) (Options, error) {
	stores := c.stores(log, metric.New())
	stores.Reports.Version = version
	var err error
	if stores.Signing, err = c.signing(); err != nil {
		return Options{}, err
	}
	cert, err := c.certificates(log, stores.Metrics)
	if err != nil {
		return Options{}, err
	}
	if stores.ACME, err = c.acme(); err != nil {
		return Options{}, err
	}
	o := Options{
		Hostname: c.c.Server.Hostname, Stores: stores, Certs: cert, Version: version, Logger: log,
		SMTP: c.smtpLimits(), IMAP: c.imapLimits(), POP3: c.pop3Limits(), POP3LoginDelay: c.c.POP3.LoginDelay, POP3Expire: c.c.POP3.Expire,
		DMARC: enforcement[c.c.MailAuth.DMARC], NoSoliciting: c.c.SMTP.NoSoliciting, FutureRelease: c.c.SMTP.FutureRelease,
		Trusted: within(c.c.SMTP.Trusted), Relay: within(c.c.SMTP.RelayFrom), Proxies: within(c.c.SMTP.Proxies), XClient: within(c.c.SMTP.XClient),
	}
	o.Listeners = c.listeners()
	for i, l := range c.c.Listeners {
		if l.ClientCA != "" {
			if o.Listeners[i].ClientCAs, err = certs.Pool(readFile, l.ClientCA); err != nil {
				return Options{}, err
			}
		}
	}
	return o, nil
}

// listeners are what is offered, without the authorities of clients.
func (c *Config) listeners() (list []Listener) {
	for _, l := range c.c.Listeners {
		list = append(list, Listener{Service: Service(l.Kind), Address: l.Address, Clear: !l.TLS && l.Kind != config.Metrics && l.Kind != config.HTTP})
	}
	return list
}

var enforcement = map[string]receive.Enforcement{"enforce": receive.Enforce, "quarantine": receive.QuarantineOnly, "record": receive.Record}

// maxPEM bounds a file with a certificate or a key.
const maxPEM = 1 << 20

func readFile(name string) ([]byte, error) {
	f, err := vfs.OS().Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

func (c *Config) smtpLimits() smtp.Limits {
	s := &c.c.SMTP
	return smtp.Limits{
		MessageBytes: s.MaxSize, Recipients: s.MaxRecipients, Transactions: s.MaxTransactions, TextLine: int(s.MaxLine), Errors: s.MaxErrors,
		CommandTimeout: s.CommandTimeout, DataTimeout: s.DataTimeout, SessionTime: s.SessionTime, MinRate: int(s.MinRate),
		Connections: s.Connections, PerIPv4: s.PerIPv4, PerIPv4Net: s.PerIPv4Net, PerIPv6: s.PerIPv6, PerIPv6Net: s.PerIPv6Net, NewPerMin: s.NewPerMinute,
	}
}

func (c *Config) imapLimits() imap.Limits {
	i := &c.c.IMAP
	return imap.Limits{
		Message: c.c.SMTP.MaxSize, Connections: i.Connections, PerAddress: i.PerAddress, PerUser: i.PerUser,
		LoginTime: i.LoginTime, IdleTime: i.IdleTime,
	}
}

func (c *Config) pop3Limits() pop3.Limits {
	p := &c.c.POP3
	return pop3.Limits{
		Connections: p.Connections, PerAddress: p.PerAddress, PerUser: p.PerUser, LoginTime: p.LoginTime, IdleTime: p.IdleTime,
	}
}
