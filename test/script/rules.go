package script

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rule changes what a peer answers. Its text is
//
//	STAGE [ADDRESS] ACTION [times N | for D]
//
// STAGE is greet, ehlo, helo, starttls, auth, mail, rcpt, data, dot, deliver, rset
// or quit; deliver is what LMTP says about a recipient after the message. ADDRESS,
// for mail, rcpt and deliver, is a pattern of path.Match for what stands between
// the angle brackets. ACTION is
//
//	CODE TEXT    this reply; \r\n separates lines
//	close        end the connection instead
//	reset        reset it
//	hang         answer nothing and wait
//	wait D       answer well, but only after D
//	lost         for dot: take the message, then end the connection
//	cut          for dot: take the message and hang; "crash" goes back to this moment
//	greylist D   for rcpt: 451 until D after sender and recipient came first
//	cert NAME    for starttls: offer it, with a certificate for NAME
//	broken       for starttls: offer it, and fail
//
// "times N" ends a rule after N uses, "for D" so long after it was set. The first
// rule that fits counts. Beside these,
//
//	offer KEYWORDS
//
// are the extensions instead of the usual ones.
type rule struct {
	stage, who, action string
	left               int       // uses; negative: no end
	until              time.Time // zero: for ever
}

// stages are where a peer answers, and offer.
var stages = []string{"greet", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data", "dot", "deliver", "rset", "quit", "offer"}

var (
	timesN = regexp.MustCompile(` times (\d+)$`)
	forD   = regexp.MustCompile(` for (\d\S*)$`)
)

// parseRules reads rules, one a line; # begins a comment.
func parseRules(text string) ([]*rule, error) {
	var rules []*rule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := parseRule(line)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", line, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(line string) (*rule, error) {
	r := &rule{left: -1}
	if m := timesN.FindStringSubmatch(line); m != nil {
		r.left, _ = strconv.Atoi(m[1]) // digits, by the pattern
		line = strings.TrimSuffix(line, m[0])
	} else if m := forD.FindStringSubmatch(line); m != nil {
		d, err := duration(m[1])
		if err != nil {
			return nil, err
		}
		r.until, line = time.Now().Add(d), strings.TrimSuffix(line, m[0])
	}
	r.stage, r.action, _ = strings.Cut(line, " ")
	if r.stage == "mail" || r.stage == "rcpt" || r.stage == "deliver" {
		r.who, r.action, _ = strings.Cut(r.action, " ")
	}
	if !slices.Contains(stages, r.stage) {
		return nil, fmt.Errorf("no stage %s", r.stage)
	}
	return r, nil
}

// duration reads what time.ParseDuration reads, and days: 5d, 1d12h.
func duration(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	n, err := strconv.Atoi(days)
	d := time.Duration(n) * 24 * time.Hour
	if err != nil || rest == "" {
		return d, err
	}
	more, err := time.ParseDuration(rest)
	return d + more, err
}

// manners are what a peer was told, and what it remembers for them.
type manners struct {
	mu    sync.Mutex
	rules []*rule
	first map[string]time.Time // when a pair of addresses came first
}

// set replaces all rules.
func (m *manners) set(rules []*rule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules, m.first = rules, map[string]time.Time{}
}

// use returns the action of the rule for a stage, empty without one.
func (m *manners) use(stage, who string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rules {
		past := r.left == 0 || !r.until.IsZero() && !time.Now().Before(r.until)
		if past || r.stage != stage || !r.fits(who) {
			continue
		}
		r.left--
		return r.action
	}
	return ""
}

// fits tells whether the rule is about an address.
func (r *rule) fits(who string) bool {
	ok, err := path.Match(r.who, who)
	return r.who == "" || ok && err == nil
}

// grey tells whether a pair of addresses is still to wait.
func (m *manners) grey(pair string, wait time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first[pair].IsZero() {
		m.first[pair] = time.Now()
	}
	return time.Since(m.first[pair]) < wait
}

// usual are the extensions of a peer that was told nothing.
const usual = "PIPELINING 8BITMIME SIZE=10485760 ENHANCEDSTATUSCODES DSN SMTPUTF8"

// offers returns the extensions that EHLO announces.
func (m *manners) offers(tls bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	find := func(stage string) int {
		return slices.IndexFunc(m.rules, func(r *rule) bool { return r.stage == stage })
	}
	list := strings.Fields(usual)
	if i := find("offer"); i >= 0 {
		list = strings.Fields(m.rules[i].action)
	}
	if !tls && find("starttls") >= 0 {
		list = append(list, "STARTTLS")
	}
	for i := range list {
		list[i] = strings.Replace(list[i], "=", " ", 1) // SIZE=1000 is one word here, two on the wire
	}
	return list
}
