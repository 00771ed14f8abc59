package config

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/postino-mail/postino"
)

const (
	maxFile   = 1 << 20
	maxErrors = 100
)

// Config is what a node needs to know to start. Sizes are in octets. All
// fields are set, by the file or by default.
type Config struct {
	Server    Server
	Listeners []Listener
	TLS       TLS
	ACME      ACME
	Auth      Auth
	Log       Log
	SMTP      SMTP
	Queue     Queue
	Relay     Relay
	DNS       DNS
	MailAuth  MailAuth
	DKIM      DKIM
	PKCS11    PKCS11
	Reports   Reports
	IMAP      IMAP
	POP3      POP3
	Storage   Storage
}

// Server is who and where the node is.
type Server struct {
	Hostname string // canonical domain name
	DataDir  string // absolute, or relative to where the file is
}

// Kind is what a listener speaks.
type Kind string

// The kinds of listeners. Those that end in s begin with TLS (RFC 8314 §3).
const (
	SMTP25      Kind = "smtp" // from other servers
	Submission  Kind = "submission"
	Submissions Kind = "submissions"
	IMAP143     Kind = "imap"
	IMAPS       Kind = "imaps"
	POP110      Kind = "pop3"
	POP3S       Kind = "pop3s"
	LMTP        Kind = "lmtp" // from other software on this host
	HTTP        Kind = "http"
	HTTPS       Kind = "https"
	Metrics     Kind = "metrics"
)

// Listener is an address on which a service is offered.
type Listener struct {
	Kind    Kind
	Address string // "ip:port", ":port" for all addresses, or "unix:/path"
	// TLS tells whether STARTTLS is offered; always true for kinds that begin
	// with TLS, false for metrics.
	TLS bool
	// ClientCA is a file with the authorities whose certificates log users in; a
	// path like Server.DataDir, or empty.
	ClientCA string
}

// TLS is where certificates come from: from files or from ourselves, besides those
// of ACME.
type TLS struct {
	Cert, Key  []string // paths like Server.DataDir; those at the same place belong together
	SelfSigned bool
}

// ACME says who issues certificates; without AgreeTerms nobody does.
type ACME struct {
	AgreeTerms          bool
	Email               string
	Directory, Fallback string // URLs; Fallback may be empty
	EAB, FallbackEAB    string // "id:key", or empty
	CARoot              string // path like Server.DataDir, or empty
	Names               []string
	Challenges          []string // none: all that can be answered
	DNSServer, DNSKey   string   // address with port, "algorithm:name:secret"; or empty
	DNSWait             time.Duration
}

// Auth is how users log in.
type Auth struct {
	Legacy         []string // of "cram-md5" and "digest-md5"
	ChannelBinding bool     // offer the -PLUS forms of SCRAM
	Tokens         bool     // offer OAUTHBEARER and XOAUTH2
}

// Log is what is logged and how: "debug", "info", "warn" or "error"; "text" or
// "json".
type Log struct{ Level, Format string }

// SMTP bounds what SMTP clients can cost; the numbers of security requirements
// are at the keys.
type SMTP struct {
	MaxSize         int64
	MaxRecipients   int
	MaxTransactions int
	MaxLine         int64
	MaxErrors       int
	CommandTimeout  time.Duration
	DataTimeout     time.Duration
	SessionTime     time.Duration
	MinRate         int64 // octets per second

	Connections, PerIPv4, PerIPv4Net, PerIPv6, PerIPv6Net, NewPerMinute int

	// Networks, as netip.ParsePrefix reads them.
	Trusted, RelayFrom, Proxies, XClient []string
	NoSoliciting                         []string
	FutureRelease                        time.Duration // 0: not offered
}

// Queue says how long mail is tried.
type Queue struct{ First, Max, Life, BounceLife, Notice time.Duration }

// Relay bounds what goes to other servers.
type Relay struct {
	Connections, PerDomain int
	AllowPrivate           []string // networks
}

// Recursive stands for the name servers of all zones.
const Recursive = "recursive"

// DNS is who is asked for names, and how far answers have to be proven.
type DNS struct {
	// Servers are addresses with ports, "tls://address:port#name", or "recursive"
	// alone; none for the system's.
	Servers         []string
	Trusted         bool
	DNSSEC          string // auto, on, off
	NegativeAnchors []string
}

// MailAuth says what becomes of mail that was judged.
type MailAuth struct {
	DMARC string // enforce, quarantine or record
}

// DKIM says how keys are kept.
type DKIM struct {
	Rotate            time.Duration // 0: never
	DNSServer, DNSKey string        // address with port, "algorithm:name:secret"; or empty
}

// PKCS11 is the token with the private keys; none when Module is empty.
type PKCS11 struct {
	Module, PINFile string // paths like Server.DataDir
	Token           string
}

// Reports says what is reported to other domains, and how much is kept of what they
// report.
type Reports struct {
	DMARC, TLS, Failures bool
	From                 string // an address, or empty
	Organization         string // may be empty
	Contact              string // may be empty
	Keep                 int    // days
	MaxSize              int64
}

// IMAP bounds what IMAP clients can cost.
type IMAP struct {
	Connections, PerAddress, PerUser int
	LoginTime, IdleTime              time.Duration
}

// POP3 bounds what POP3 clients can cost, and says what they are told.
type POP3 struct {
	Connections, PerAddress, PerUser int
	LoginTime, IdleTime, LoginDelay  time.Duration
	Expire                           int // days; 0: never
}

// Storage is how data are kept.
type Storage struct {
	Cache, Memory, Inline int64
	// MinFree, CriticalFree and Ballast guard the disk; 0 leaves the choice to
	// the size of the disk.
	MinFree, CriticalFree, Ballast int64
}

// Load reads a file. Paths in it are taken from the directory that it is in.
// The error is an [Errors] when the text is wrong, else of kind NotFound,
// Denied or Transient.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		kind := postino.Transient
		if os.IsNotExist(err) {
			kind = postino.NotFound
		} else if os.IsPermission(err) {
			kind = postino.Denied
		}
		return nil, postino.E(kind, "read configuration", path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, postino.E(postino.Transient, "read configuration", path, err)
	}
	c, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	paths := []*string{&c.Server.DataDir, &c.ACME.CARoot, &c.PKCS11.Module, &c.PKCS11.PINFile}
	for i := range c.Listeners {
		paths = append(paths, &c.Listeners[i].ClientCA)
	}
	for _, list := range [][]string{c.TLS.Cert, c.TLS.Key} {
		for i := range list {
			paths = append(paths, &list[i])
		}
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return c, nil
}

// Change is a key that differs between two configurations, with the values as
// the file would have them.
type Change struct{ Key, Old, New string }

// Diff lists what is different in b. Listeners are compared as a whole.
func Diff(a, b *Config) (changes []Change) {
	for _, k := range keys {
		if k.table == "listener" {
			continue
		}
		before, after := k.show(target{Config: a}), k.show(target{Config: b})
		if before != after {
			changes = append(changes, Change{k.path(), before, after})
		}
	}
	if before, after := showListeners(a), showListeners(b); before != after {
		changes = append(changes, Change{"listener", before, after})
	}
	return changes
}

func showListeners(c *Config) (text string) {
	for i := range c.Listeners {
		text += "{"
		for j, k := range keysOf("listener") {
			if j > 0 {
				text += ", "
			}
			text += k.name + " = " + k.show(target{c, &c.Listeners[i]})
		}
		text += "} "
	}
	return text
}
