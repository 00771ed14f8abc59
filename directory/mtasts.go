package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
)

// MTASTS is what a domain says of how its mail comes in (RFC 8461): senders that
// have read it deliver only to servers it names, with certificates that are valid.
type MTASTS struct {
	Mode STSMode
	// MX are servers for the domain besides this one, "*." standing for one label.
	MX []string `json:",omitempty"`
}

// STSMode is how far a policy goes.
type STSMode uint8

// The modes: no policy at all; one that says that there is none any more, to be
// kept until all have forgotten the one before; failures are reported; mail is not
// delivered where the policy does not hold.
const (
	STSOff STSMode = iota
	STSNone
	STSTesting
	STSEnforce
)

var stsWords = words[STSMode]{"off", "none", "testing", "enforce"}

// String is the word of RFC 8461 §3.2, or "off".
func (m STSMode) String() string { return stsWords.name(m) }

// ParseSTSMode reads what String writes. The error is Invalid.
func ParseSTSMode(s string) (STSMode, error) { return stsWords.parse("MTA-STS mode", s) }

// maxSTSHosts bounds MTASTS.MX.
const maxSTSHosts = 50

// How long senders may keep a policy, in seconds: while it is tried out or taken
// back a day, so that a mistake is soon forgotten; else two weeks (RFC 8461 §3.2,
// §8.3).
const (
	stsShort = 86_400
	stsLong  = 1_209_600
)

// STSPolicy is the text that https://mta-sts.DOMAIN/.well-known/mta-sts.txt gives;
// hostname is this node's. "" when the domain has no policy.
func (dom Domain) STSPolicy(hostname string) string {
	if dom.MTASTS.Mode == STSOff || dom.Disabled {
		return ""
	}
	age := stsLong
	if dom.MTASTS.Mode != STSEnforce {
		age = stsShort
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", dom.MTASTS.Mode)
	if dom.MTASTS.Mode != STSNone { // RFC 8461 §3.2: then they say nothing
		for _, mx := range append([]string{hostname}, dom.MTASTS.MX...) {
			fmt.Fprintf(&b, "mx: %s\r\n", mx)
		}
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", age)
	return b.String()
}

// STSRecord is the TXT record to publish at _mta-sts.DOMAIN, "" when the domain
// has no policy. Its id is made from the policy, so it changes when that does
// (RFC 8461 §3.1).
func (dom Domain) STSRecord(hostname string) string {
	policy := dom.STSPolicy(hostname)
	if policy == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(policy))
	return "v=STSv1; id=" + hex.EncodeToString(sum[:10]) + ";"
}

// STSHost is the name of the web server that gives the policy of a domain.
func (dom Domain) STSHost() string { return "mta-sts." + dom.Name }

// checkSTS makes the names canonical.
func checkSTS(s *MTASTS) error {
	if s.Mode > STSEnforce {
		return errors.New("unknown MTA-STS mode")
	}
	if len(s.MX) > maxSTSHosts {
		return fmt.Errorf("more than %d servers for MTA-STS", maxSTSHosts)
	}
	list := slices.Clone(s.MX)
	for i, host := range list {
		name, wild := strings.CutPrefix(host, "*.")
		canonical, err := postino.CanonicalDomain(name)
		if err != nil || strings.HasPrefix(canonical, "[") {
			return fmt.Errorf("%s is no host name", postino.Printable(host))
		}
		if wild {
			canonical = "*." + canonical
		}
		list[i] = canonical
	}
	s.MX = list
	return nil
}
