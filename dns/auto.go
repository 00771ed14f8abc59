package dns

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
)

// Policy says how far a node goes for proofs (DNSSEC).
type Policy uint8

// The policies.
const (
	Automatic Policy = iota // as far as the name servers allow
	Required                // our own validation of everything
	Off                     // none: all answers are Unknown
)

// Mode is how answers are judged at a moment.
type Mode uint8

// The modes.
const (
	Starting    Mode = iota // the servers are not known yet; answers are Unknown
	Trusting                // by the AD bit of servers that validate and are trusted
	Validating              // by our own validation
	Unprotected             // not at all, as the servers strip signatures; answers are Unknown
	Disabled                // not at all, as the operator wishes; answers are Unknown
)

// String names m in lower case.
func (m Mode) String() string {
	return [...]string{"starting", "trusting", "validating", "unprotected", "disabled"}[m]
}

// AutoOptions are the parameters of an Auto; zero fields are the default.
type AutoOptions struct {
	ValidatorOptions
	Policy Policy
	// Signed and Bogus are the names that servers are tested with; "" means
	// ProbeSigned and ProbeBogus.
	Signed, Bogus string
	// Keep remembers what was found out over restarts; nil remembers nothing.
	Keep Keeper
}

// Keeper keeps small values under names.
type Keeper interface {
	Load(ctx context.Context, name string) ([]byte, error) // nil when there is none
	Save(ctx context.Context, name string, value []byte) error
}

// ServerStatus is what the last probe found of a name server.
type ServerStatus struct {
	Server string
	// Validates: trusted, and its AD bit deserves it. Signs: hands out
	// signatures; those who are trusted by name are not asked for any. Silent:
	// could not be asked.
	Validates, Signs, Silent bool
	Reason                   string // why not

	named bool // it is trusted by name, not for being on loopback
}

// Status is how a node knows what to believe.
type Status struct {
	Mode    Mode
	Since   time.Time
	Probed  time.Time // zero: not yet
	Servers []ServerStatus
	// Warning is what the operator should do something about; "" nothing.
	Warning string
}

// Auto is the one Resolver of a node: it finds out what its name servers can
// do, and has answers judged in the best way that they allow. What is proven to
// work is not given up because servers begin to strip signatures: then the
// answers of signed zones are bogus, and mail waits, until the servers mend or
// the operator says otherwise. So nobody on the way can switch DNSSEC off.
type Auto struct {
	opts    AutoOptions
	client  *client
	obs     autoObserver
	anchors atomic.Pointer[[]Anchor]
	current atomic.Pointer[judge]
	again   chan struct{} // holds the wish for a probe
	probing sync.Mutex
	keys    tracker // of Run

	mu     sync.Mutex
	status Status
}

// judge is the resolver of a mode.
type judge struct {
	Resolver
	mode    Mode
	servers []Server
}

// Times between probes: when all is well; after failures, from and to; and at
// least.
const (
	probeEvery = 6 * time.Hour
	probeSoon  = 5 * time.Second
	probeLate  = 5 * time.Minute
	probePause = time.Minute
)

// NewAuto returns the resolver of a node. Until Run has found out more, it
// judges as it did before the restart, or else not at all. The error is that of
// NewValidator.
func NewAuto(ctx context.Context, opts AutoOptions) (*Auto, error) {
	opts.Options = opts.withDefaults()
	if opts.Signed == "" {
		opts.Signed = ProbeSigned
	}
	if opts.Bogus == "" {
		opts.Bogus = ProbeBogus
	}
	if opts.Anchors == nil {
		opts.Anchors = RootAnchors()
	}
	a := &Auto{opts: opts, client: opts.client(), obs: newAutoObserver(opts.Options), again: make(chan struct{}, 1)}
	a.loadKeys(ctx)
	mode := Starting
	switch {
	case opts.Policy == Off:
		mode = Disabled
	case opts.Policy == Required || opts.Recursive:
		mode = Validating
	case opts.Keep != nil:
		mode = a.remembered(ctx)
	}
	return a, a.use(ctx, mode, opts.Servers)
}

// Lookup implements Resolver.
func (a *Auto) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	answer, err := a.current.Load().Lookup(ctx, name, t)
	if answer == nil && postino.Is(err, postino.Transient) && ctx.Err() == nil && !a.opts.Recursive {
		select {
		case a.again <- struct{}{}:
		default:
		}
	}
	return answer, err
}

// Status tells how answers are judged now, and why.
func (a *Auto) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Servers = slices.Clone(s.Servers)
	return s
}

// Run probes the servers now, every few hours, and when questions fail, and
// follows the keys of the root (RFC 5011), until ctx ends.
func (a *Auto) Run(ctx context.Context) error {
	if a.opts.Policy == Off {
		return nil
	}
	next, roll := time.NewTimer(0), time.NewTimer(0)
	defer next.Stop()
	defer roll.Stop()
	var last time.Time
	soon := probeSoon
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-roll.C:
			roll.Reset(a.track(ctx))
			continue
		case <-next.C:
		case <-a.again:
			if time.Since(last) < probePause {
				continue // the next failure asks again
			}
		}
		pause := probeEvery
		if !a.Probe(ctx) {
			pause, soon = soon, min(2*soon, probeLate)
		} else {
			soon = probeSoon
		}
		last = time.Now()
		next.Reset(pause)
	}
}

// Probe finds out what the servers can do, and goes over to the best way of
// judging. It tells whether all is clear; if not, a server could not be asked
// and none of the others is good enough.
func (a *Auto) Probe(ctx context.Context) (clear bool) {
	a.probing.Lock()
	defer a.probing.Unlock()
	var found []ServerStatus
	if a.opts.Recursive {
		found = []ServerStatus{a.probeProofs(ctx, Server{}, true)}
	} else {
		for _, s := range a.opts.Servers {
			found = append(found, a.probe(ctx, s))
		}
	}
	if ctx.Err() != nil {
		return false
	}
	was := a.current.Load()
	d := decide(a.opts.Policy == Required || a.opts.Recursive, was.mode, found)
	servers := was.servers
	if d.mode != was.mode || len(d.servers) > 0 {
		servers = nil
		for i, s := range a.opts.Servers {
			if len(d.servers) == 0 || slices.Contains(d.servers, i) {
				servers = append(servers, s)
			}
		}
	}
	if err := a.use(ctx, d.mode, servers); err != nil {
		a.opts.Logger.Error("DNSSEC: the way of judging stays", "err", err) // NewAuto has tried the same
	}
	a.mu.Lock()
	told := a.status.Warning
	a.status.Probed, a.status.Servers, a.status.Warning = time.Now(), found, d.warning
	a.mu.Unlock()
	if d.warning != "" && d.warning != told {
		a.obs.warn(d.warning, found)
	}
	return d.clear
}

// probe tests one server.
func (a *Auto) probe(ctx context.Context, s Server) ServerStatus {
	if a.opts.Policy == Automatic && s.validates() {
		ctx, cancel := context.WithTimeout(ctx, 3*a.opts.Timeout)
		defer cancel()
		switch err := a.client.probeAD(ctx, s, a.opts.Signed, a.opts.Bogus); {
		case err == nil && s.Trusted:
			return ServerStatus{Server: s.String(), Validates: true, named: true}
		case err == nil: // on loopback there are also those that only hand on what others say
			status := a.probeProofs(ctx, s, false)
			status.Validates, status.Silent = true, false
			return status
		case !errors.Is(err, errNotValidating):
			return ServerStatus{Server: s.String(), Silent: true, Reason: err.Error()}
		}
	}
	return a.probeProofs(ctx, s, false)
}

// probeProofs tests whether answers of the server can be proven.
func (a *Auto) probeProofs(ctx context.Context, s Server, recursive bool) ServerStatus {
	status := ServerStatus{Server: s.String()}
	if recursive {
		status.Server = "recursive"
	}
	opts := a.opts.ValidatorOptions
	opts.Servers, opts.Attempts, opts.CacheBytes, opts.Metrics, opts.Logger = []Server{s}, 1, 1<<20, nil, nil
	opts.NegativeAnchors, opts.shared = nil, &a.anchors
	v, err := NewValidator(opts)
	if err == nil {
		err = v.probeProofs(ctx, a.opts.Signed)
	}
	status.Signs = err == nil
	if err != nil {
		status.Reason, status.Silent = err.Error(), !errors.Is(err, ErrBogus)
	}
	return status
}

// decision is what follows from a probe.
type decision struct {
	mode    Mode
	servers []int // those to ask, by number; none: as before, or all
	clear   bool
	warning string
}

// decide finds the best way of judging. A node that has to validate, or could
// until now, never does less.
func decide(must bool, was Mode, found []ServerStatus) decision {
	var trusted, signs []int
	silent := false
	for i, s := range found {
		if s.Validates && !s.Signs && (s.named || was != Validating) {
			trusted = append(trusted, i)
		}
		if s.Signs {
			signs = append(signs, i)
		}
		silent = silent || s.Silent
	}
	const cause = "Ask other name servers, or set dns.servers = [\"recursive\"]"
	switch {
	case len(trusted) > 0 && !must:
		return decision{Trusting, trusted, true, ""}
	case len(signs) > 0:
		return decision{Validating, signs, true, ""}
	case silent:
		return decision{mode: was, warning: "No name server that could be asked hands out signatures (DNSSEC), and others cannot be asked."}
	case must || was == Validating:
		return decision{mode: Validating, clear: true, warning: "Nothing can be proven by what the name servers say (DNSSEC). They strip signatures, somebody on the way changes answers, or the clock of this machine is wrong: " +
			"mail to signed domains waits. " + cause + "; dns.dnssec = \"off\" gives up DANE."}
	}
	return decision{mode: Unprotected, clear: true, warning: "The name servers strip signatures (DNSSEC), so DANE is not used: " +
		"mail goes out with less protection than its receivers offer. " + cause + "."}
}

// use goes over to another way of judging, if it is another one.
func (a *Auto) use(ctx context.Context, mode Mode, servers []Server) error {
	was := a.current.Load()
	if was != nil && was.mode == mode && slices.Equal(was.servers, servers) {
		return nil
	}
	j := &judge{mode: mode, servers: servers}
	opts := a.opts.ValidatorOptions
	opts.Servers, opts.shared = servers, &a.anchors
	if mode == Disabled {
		opts.NegativeAnchors = []string{"."}
	}
	switch {
	case mode == Validating, a.opts.Recursive:
		v, err := NewValidator(opts)
		if err != nil {
			return err
		}
		j.Resolver = v
	default:
		j.Resolver = NewStub(opts.Options)
	}
	if mode != Validating && mode != Trusting {
		j.Resolver = blind{j.Resolver}
	}
	a.current.Store(j)
	a.mu.Lock()
	a.status.Mode, a.status.Since = mode, time.Now()
	a.mu.Unlock()
	a.obs.mode(mode, servers)
	if was != nil && was.mode != mode {
		a.remember(ctx, mode)
	}
	return nil
}

// blind is a resolver that says nothing of security.
type blind struct{ Resolver }

// Lookup implements Resolver.
func (b blind) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	a, err := b.Resolver.Lookup(ctx, name, t)
	if a != nil && a.Security != Unknown {
		c := *a
		c.Security, a = Unknown, &c
	}
	return a, err
}

// kept is the name of what a Keeper keeps of the mode, and keptVersion the
// version of its form: a version, a mode, the servers that it was found with.
const (
	kept        = "dnssec"
	keptVersion = 1
)

// remembered is the mode before the restart, if the servers were the same.
func (a *Auto) remembered(ctx context.Context) Mode {
	b, err := a.opts.Keep.Load(ctx, kept)
	if err == nil && len(b) >= 2 && b[0] != keptVersion {
		err = errors.New("written by a newer version")
	}
	if err != nil {
		a.opts.Logger.Warn("what was known of the name servers cannot be read", "err", err)
		return Starting
	}
	if len(b) < 2 || string(b[2:]) != a.serverList() || Mode(b[1]) != Validating && Mode(b[1]) != Trusting {
		return Starting
	}
	return Mode(b[1])
}

func (a *Auto) remember(ctx context.Context, mode Mode) {
	if a.opts.Keep == nil {
		return
	}
	value := append([]byte{keptVersion, byte(mode)}, a.serverList()...)
	if err := a.opts.Keep.Save(ctx, kept, value); err != nil && ctx.Err() == nil {
		a.opts.Logger.Warn("what is known of the name servers cannot be kept", "err", err)
	}
}

func (a *Auto) serverList() string {
	list := make([]string, len(a.opts.Servers))
	for i, s := range a.opts.Servers {
		list[i] = s.String()
		if s.validates() {
			list[i] += " trusted"
		}
	}
	return strings.Join(list, ", ")
}
