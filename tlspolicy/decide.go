package tlspolicy

// Level is how much TLS a connection must have before mail goes over it; more is
// greater.
type Level int8

// The levels. The zero value takes what it gets.
const (
	Clear         Level = iota - 1 // TLS is not even tried
	Opportunistic                  // TLS where it is offered and works (RFC 7435)
	Encrypted                      // TLS, whoever is at the other end
	Verified                       // TLS with a server that is proven
)

// String names the level in a word.
func (l Level) String() string {
	return [...]string{"clear", "opportunistic", "encrypted", "verified"}[(l+1)&3]
}

// Wish is what a message wants of TLS.
type Wish uint8

// The wishes of RFC 8689.
const (
	NoWish      Wish = iota
	RequireTLS       // REQUIRETLS (§2)
	TLSOptional      // TLS-Required: No (§3)
)

// Proof is how far name servers prove something.
type Proof uint8

// The proofs.
const (
	Unproven Proof = iota // the zone is not signed, or nobody trusted has judged
	Proven                // by DNSSEC, or by our own settings
	Failed                // bogus, or no answer
)

// DANE is what the TLSA records of a host come to.
type DANE uint8

// What they may come to. Records count only as far as the exchangers of the domain
// and the addresses of the host are proven.
const (
	NoTLSA   DANE = iota // none, unsigned or not asked for
	Usable               // one can prove the server
	Unusable             // there are some, and none that can be used
	TLSALost             // bogus, or no answer
)

// STS is what MTA-STS comes to for a host.
type STS uint8

// What it may come to. A cached policy counts like a fresh one.
const (
	NoSTS      STS = iota // no policy, or one with mode none
	STSUnknown            // nobody says whether there is one, and none is cached
	STSBogus              // the answer whether there is one is bogus, and none is cached
	STSLost               // there is one: neither fetched nor cached
	TestingIn             // mode testing, and the host matches
	TestingOut            // mode testing, and it does not
	EnforceIn             // mode enforce, and the host matches
	EnforceOut            // mode enforce, and it does not
)

// Facts are all that a decision follows from.
type Facts struct {
	Route Level // what the route of the operator wants
	Wish  Wish
	MX    Proof // that the host serves the domain
	Host  Proof // the addresses of the host
	DANE  DANE
	STS   STS
}

// Source is who wants the TLS of a decision.
type Source uint8

// The sources.
const (
	Nobody Source = iota
	ByDANE
	BySTS
	ByRoute
	ByMessage
)

// String names the source for people.
func (s Source) String() string {
	return [...]string{"", "DANE", "MTA-STS", "the route", "the message"}[s%5]
}

// Refusal is why mail is not given to a host.
type Refusal uint8

// The refusals. All but NotAuthentic may be otherwise later.
const (
	NoRefusal    Refusal = iota
	DNSFailed            // what name servers say is bogus, or nothing where it must be known (RFC 7672 §2.1.2)
	NotInPolicy          // the host is not of the enforced MTA-STS policy (RFC 8461 §5)
	PolicyLost           // the message needs a proof that may be in a policy that cannot be had now
	NotAuthentic         // the message needs a proof that there is not (RFC 8689 §4.2.1)
)

// Decision is what must hold of a connection to a host.
type Decision struct {
	Level Level
	By    Source
	// DANE tells that TLSA records judge the certificate, at any level; else it is
	// checked for the name of the host.
	DANE bool
	// Policy is the one that a report names (RFC 8460 §4.4), and that a failure is
	// a failure of, whether it stops mail or not.
	Policy Source
	// Problem is what is wrong already, whatever the host does.
	Problem Result
	Refuse  Refusal
}

// Decide works out what TLS a host must offer for a message (TL3): DANE, then
// MTA-STS, then opportunistic, and never less than route and message want. The
// only thing that makes it less is a message that says so (TLS-Required: No), or
// a route that switches TLS off for a message that does not require it.
func Decide(f Facts) Decision {
	d := Decision{Level: f.Route}
	if f.Route > Opportunistic {
		d.By = ByRoute
	}
	if f.Route == Clear {
		if f.Wish != RequireTLS {
			return d
		}
		d.Level = Opportunistic
	}
	d.policies(f)
	if f.Wish == TLSOptional { // RFC 8689 §4.2.2: policies are tried, and nothing fails by them
		d.Level, d.By, d.Refuse = f.Route, Nobody, NoRefusal
		if f.Route > Opportunistic {
			d.By = ByRoute
		}
		return d
	}
	if f.Wish == RequireTLS {
		d.requireTLS(f)
	}
	return d
}

// policies takes in what the domain publishes.
func (d *Decision) policies(f Facts) {
	signed := f.MX == Proven && f.Host == Proven
	if f.MX == Failed || f.Host == Failed || signed && f.DANE == TLSALost {
		d.Refuse, d.Policy, d.Problem = DNSFailed, ByDANE, DNSSECInvalid
		return
	}
	switch {
	case signed && f.DANE == Usable: // RFC 8461 §2: MTA-STS has no say beside it
		d.raise(Verified, ByDANE)
		d.DANE, d.Policy = true, ByDANE
		return
	case signed && f.DANE == Unusable: // RFC 7672 §2.2: encrypted; MTA-STS may want more
		d.raise(Encrypted, ByDANE)
		d.Policy, d.Problem = ByDANE, TLSAInvalid
	}
	switch f.STS {
	case STSBogus: // somebody hides a policy
		d.Refuse, d.Policy, d.Problem = DNSFailed, BySTS, STSFetchError
	case EnforceIn:
		d.raise(Verified, BySTS)
		d.Policy, d.Problem = BySTS, Success
	case EnforceOut:
		d.raise(Verified, BySTS)
		d.Policy, d.Problem, d.Refuse = BySTS, HostMismatch, NotInPolicy
	case TestingIn:
		d.note(BySTS, Success)
	case TestingOut:
		d.note(BySTS, HostMismatch)
	case STSLost:
		d.note(BySTS, STSFetchError)
	}
}

// raise demands a level.
func (d *Decision) raise(l Level, by Source) {
	if l >= d.Level {
		d.Level, d.By = l, by
	}
}

// note says which policy a report is about, unless there is one.
func (d *Decision) note(policy Source, problem Result) {
	if d.Policy == Nobody {
		d.Policy, d.Problem = policy, problem
	}
}

// requireTLS demands what REQUIRETLS does: a server that is proven to be the one
// of its name, and a name that is proven to serve the domain (RFC 8689 §4.2.1).
func (d *Decision) requireTLS(f Facts) {
	if d.Level < Verified {
		d.Level, d.By = Verified, ByMessage
	}
	switch {
	case d.Refuse != NoRefusal, f.MX == Proven, f.STS == TestingIn, f.STS == EnforceIn:
	case f.STS == STSLost, f.STS == STSUnknown:
		d.Refuse = PolicyLost
	default:
		d.Refuse = NotAuthentic
	}
}
