package app

import (
	"context"
	"errors"
	"io/fs"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
)

// Names says who is asked for names, and how far answers have to be proven.
type Names struct {
	// Servers are recursive name servers; none are those of /etc/resolv.conf.
	Servers []dns.Server
	// Recursive asks the name servers of the zones themselves instead.
	Recursive bool
	DNSSEC    dns.Policy
	// NegativeAnchors are zones that count as unsigned (RFC 7646).
	NegativeAnchors []string
}

// maxResolvConf bounds /etc/resolv.conf.
const maxResolvConf = 64 << 10

// openNames makes the resolver of the node.
func (s *Stores) openNames(o *StoreOptions) (err error) {
	s.Names, err = s.newNames(o, nil)
	s.Resolver = s.Names
	return err
}

// newNames makes a resolver as the options say, and change, if it is not nil.
func (s *Stores) newNames(o *StoreOptions, change func(*dns.Options)) (*dns.Auto, error) {
	n := &o.Outward.Names
	opts := dns.Options{Servers: n.Servers}
	if n.Servers == nil && !n.Recursive {
		text, err := readFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("name servers of the system not known", "err", err)
		}
		opts = dns.ParseResolvConf(string(text[:min(len(text), maxResolvConf)]))
	}
	opts.Logger, opts.Metrics = o.Logger, o.Metrics
	if change != nil {
		change(&opts)
	}
	return dns.NewAuto(context.Background(), dns.AutoOptions{
		ValidatorOptions: dns.ValidatorOptions{Options: opts, Recursive: n.Recursive, NegativeAnchors: n.NegativeAnchors},
		Policy:           n.DNSSEC, Keep: nameKeeper{s.DB},
	})
}

// nameKeeper keeps what the resolver has to know after a restart, under "Mn" and
// a name.
type nameKeeper struct{ db kv.DB }

// Load implements dns.Keeper.
func (k nameKeeper) Load(ctx context.Context, name string) (value []byte, err error) {
	err = k.db.View(ctx, nil, func(r kv.Reader) error {
		v, ok, err := r.Get([]byte("Mn" + name))
		value = nil
		if ok {
			value = append(value, v...)
		}
		return err
	})
	return value, err
}

// Save implements dns.Keeper.
func (k nameKeeper) Save(ctx context.Context, name string, value []byte) error {
	return k.db.Update(ctx, []kv.Scope{kv.Scope("M/names")}, func(tx kv.Tx) error {
		return tx.Set([]byte("Mn"+name), value)
	})
}
