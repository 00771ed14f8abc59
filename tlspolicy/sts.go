package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
)

// Bounds of MTA-STS.
const (
	maxPolicy = 64 << 10   // octets of a policy (RFC 8461 §3.3)
	maxMX     = 200        // patterns; a policy with more is invalid
	maxAge    = 31_557_600 // seconds (RFC 8461 §3.2, TL5)
	version   = "STSv1"
	fetchTime = time.Minute
)

// Mode is what a policy of MTA-STS wants of connections that do not validate.
type Mode uint8

// The modes (RFC 8461 §5).
const (
	None    Mode = iota // there is no policy any more
	Testing             // tell, and deliver
	Enforce             // do not deliver
)

var modes = [...]string{"none", "testing", "enforce"}

// String is the word of the policy.
func (m Mode) String() string { return modes[m%3] }

// STSPolicy is a policy of MTA-STS (RFC 8461 §3.2).
type STSPolicy struct {
	Mode   Mode
	MX     []string // patterns in lower case: "mx.example.org", "*.example.net"
	MaxAge time.Duration
	// Lines are the fields as they were, for reports (RFC 8460 §4.5).
	Lines []string
}

// Match tells whether a host, in lower-case A-labels, is one of the policy. A
// wildcard stands for one whole label (RFC 8461 §4.1).
func (p *STSPolicy) Match(host string) bool {
	host = strings.TrimSuffix(host, ".")
	_, parent, _ := strings.Cut(host, ".")
	for _, m := range p.MX {
		if tail, wild := strings.CutPrefix(m, "*."); m == host || wild && tail == parent && parent != "" {
			return true
		}
	}
	return false
}

// ParseSTSPolicy reads the text of a policy, whose lines end in CRLF or LF. Of a
// field that may stand once only the first counts; unknown ones are passed over.
// The error is Invalid and says what is wrong with which line.
func ParseSTSPolicy(text []byte) (*STSPolicy, error) {
	bad := func(line int, why string) error {
		return postino.E(postino.Invalid, "", "", fmt.Errorf("line %d of the MTA-STS policy: %s", line, why))
	}
	if len(text) > maxPolicy {
		return nil, bad(1, "it is too long")
	}
	p := &STSPolicy{MaxAge: -1}
	seen := map[string]bool{}
	n := 0
	for rest := string(text); rest != ""; {
		n++
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimLeft(value, " \t")
		switch {
		case !ok:
			return nil, bad(n, "it has no colon")
		case !fieldName(name):
			return nil, bad(n, "its name is not valid")
		case !fieldValue(value):
			return nil, bad(n, "its value is not valid")
		}
		p.Lines = append(p.Lines, name+": "+value)
		if name != "mx" && seen[name] { // RFC 8461 §3.2: all but the first are ignored
			continue
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return nil, bad(n, err.Error())
		}
	}
	switch {
	case !seen["version"]:
		return nil, bad(n, "the policy has no version")
	case !seen["mode"]:
		return nil, bad(n, "the policy has no mode")
	case p.MaxAge < 0:
		return nil, bad(n, "the policy has no max_age")
	case len(p.MX) == 0 && p.Mode != None:
		return nil, bad(n, "the policy names no mx")
	}
	return p, nil
}

// set takes one field. Its name and values are case-sensitive.
func (p *STSPolicy) set(name, value string) error {
	switch name {
	case "version":
		if value != version {
			return errors.New("the version is not " + version)
		}
	case "mode":
		for m, word := range modes {
			if value == word {
				p.Mode = Mode(m)
				return nil
			}
		}
		return errors.New("the mode is not one of enforce, testing, none")
	case "max_age":
		if len(value) > 10 || strings.Trim(value, "0123456789") != "" {
			return errors.New("max_age is no number of seconds")
		}
		seconds, _ := strconv.ParseInt(value, 10, 64) // ten digits fit
		p.MaxAge = time.Duration(min(seconds, maxAge)) * time.Second
	case "mx":
		host := strings.ToLower(value)
		if !hostName(strings.TrimPrefix(host, "*.")) {
			return errors.New("the mx is no host name in A-labels")
		}
		if len(p.MX) == maxMX {
			return errors.New("there are too many mx")
		}
		p.MX = append(p.MX, host)
	}
	return nil
}

// fieldName tells whether a name is sts-policy-ext-name.
func fieldName(s string) bool {
	for i, c := range []byte(s) {
		if !alphanumeric(c) && (i == 0 || !strings.ContainsRune("_-.", rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// fieldValue tells whether a value is sts-policy-ext-value.
func fieldValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// hostName tells whether s is a Domain of RFC 5321 §4.1.2.
func hostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !alphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return len(s) <= 253
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// ParseSTSRecord reads what _mta-sts.DOMAIN says: the id of the policy (RFC 8461
// §3.1). The error is Invalid.
func ParseSTSRecord(text string) (id string, err error) {
	fields, err := parseRecord(text, "v="+version)
	if err != nil {
		return "", err
	}
	for _, f := range fields {
		if f.name != "id" {
			continue
		}
		for _, c := range []byte(f.value) {
			if !alphanumeric(c) {
				return "", invalidRecord("the id has other characters than letters and digits")
			}
		}
		if len(f.value) > 32 {
			return "", invalidRecord("the id is longer than 32 characters")
		}
		return f.value, nil
	}
	return "", invalidRecord("there is no id")
}

// LookupSTS asks for the id of a domain's policy. NotFound means that there is
// none: no record, several, or one that is not valid, which the error says then.
func LookupSTS(ctx context.Context, r dns.Resolver, domain string) (id string, err error) {
	text, err := lookupRecord(ctx, r, "_mta-sts."+domain, "v="+version)
	if err != nil {
		return "", err
	}
	if id, err = ParseSTSRecord(text); err != nil {
		return "", postino.E(postino.NotFound, "read MTA-STS record of", domain, err)
	}
	return id, nil
}

// FetchSTS fetches the policy of a domain (RFC 8461 §3.3, TL5). An Invalid error
// is about the policy; one that wraps fetch.ErrCertificate about the certificate
// of its server.
func FetchSTS(ctx context.Context, c *fetch.Client, domain string) (*STSPolicy, error) {
	r, err := c.Do(ctx, fetch.Request{URL: "https://mta-sts." + domain + "/.well-known/mta-sts.txt", MaxBody: maxPolicy, Timeout: fetchTime})
	switch {
	case errors.Is(err, fetch.ErrTooLarge):
		return nil, postino.E(postino.Invalid, "", "", err)
	case err != nil:
		return nil, postino.E(postino.Transient, "", "", err) // whatever it is, there is no policy now
	case r.Status != 200:
		return nil, postino.E(postino.Transient, "fetch MTA-STS policy of", domain, fmt.Errorf("the server says %d", r.Status))
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "text/plain" {
		return nil, postino.E(postino.Invalid, "fetch MTA-STS policy of", domain, fmt.Errorf("it is %q and not text/plain", postino.Printable(media)))
	}
	return ParseSTSPolicy(r.Body)
}
