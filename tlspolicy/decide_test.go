package tlspolicy

import (
	"flag"
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/decisions.txt")

// everything yields all facts that there are.
func everything() iter.Seq[Facts] {
	return func(yield func(Facts) bool) {
		for route := Clear; route <= Verified; route++ {
			for wish := NoWish; wish <= TLSOptional; wish++ {
				for mx := Unproven; mx <= Failed; mx++ {
					for host := Unproven; host <= Failed; host++ {
						for dane := NoTLSA; dane <= TLSALost; dane++ {
							for sts := NoSTS; sts <= EnforceOut; sts++ {
								if !yield(Facts{route, wish, mx, host, dane, sts}) {
									return
								}
							}
						}
					}
				}
			}
		}
	}
}

// TL3: what must hold of all decisions.
func TestDecideInvariants(t *testing.T) {
	n := 0
	for f := range everything() {
		n++
		d := Decide(f)
		bad := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%+v → %+v: %s", f, d, fmt.Sprintf(format, args...))
		}
		off := f.Route == Clear && f.Wish != RequireTLS
		free := off || f.Wish == TLSOptional
		signed := f.MX == Proven && f.Host == Proven
		bogus := f.MX == Failed || f.Host == Failed || signed && f.DANE == TLSALost

		// Never less than the route wants, nor more than clear where it is off.
		if d.Level < f.Route || off && (d != Decision{Level: Clear}) {
			bad("the route is not heard")
		}
		// Bogus or unanswered: it waits.
		if (bogus || f.STS == STSBogus && !d.DANE) != (d.Refuse == DNSFailed) && !free {
			bad("bogus answers and refusal do not go together")
		}
		// Only TLS-Required: No and a route that is off let mail go in spite of all.
		if free && d.Refuse != NoRefusal {
			bad("refused")
		}
		if f.Wish == TLSOptional && d.Level != f.Route {
			bad("more than the route wants")
		}
		// DANE before MTA-STS, and nothing of it where signatures do not bear it.
		if signed && f.DANE == Usable && !off {
			if !d.DANE || d.Policy != ByDANE || d.Level != Verified && !free {
				bad("DANE has not the word")
			}
			with := f
			with.STS = NoSTS
			if Decide(with) != d {
				bad("MTA-STS changes what DANE says")
			}
		} else if d.DANE {
			bad("DANE without usable records")
		}
		if signed && f.DANE == Unusable && !free && d.Level < Encrypted {
			bad("unusable records do not make it encrypted")
		}
		// Enforced: verified or refused, whatever else.
		if (f.STS == EnforceIn || f.STS == EnforceOut) && !free && d.Refuse == NoRefusal && d.Level != Verified {
			bad("an enforced policy is downgraded")
		}
		if f.STS == EnforceOut && !free && d.Refuse == NoRefusal && !d.DANE {
			bad("a host that is not in the policy is given mail")
		}
		// Testing never enforces: it is as if there were none, but for the report,
		// and for the proof that a message may need.
		if f.STS == TestingIn || f.STS == TestingOut || f.STS == STSLost || f.STS == STSUnknown {
			with := f
			with.STS = NoSTS
			e := Decide(with)
			e.Policy, e.Problem = d.Policy, d.Problem
			if f.Wish == RequireTLS && (e.Refuse == NotAuthentic || e.Refuse == NoRefusal) {
				e.Refuse = d.Refuse
			}
			if d != e {
				bad("testing enforces: without it %+v", e)
			}
		}
		// REQUIRETLS: a proven server with a proven name.
		if f.Wish == RequireTLS && d.Refuse == NoRefusal {
			if d.Level != Verified || f.MX != Proven && f.STS != TestingIn && f.STS != EnforceIn {
				bad("REQUIRETLS is not kept")
			}
		}
		// More of anything never makes it less.
		for _, more := range stronger(f) {
			if e := Decide(more); e.Refuse == NoRefusal && d.Refuse == NoRefusal && e.Level < d.Level {
				bad("with %+v it is less: %+v", more, e)
			}
		}
	}
	if n != 4*3*3*3*4*8 {
		t.Errorf("%d cases", n)
	}
}

// stronger changes one fact for one that asks for more.
func stronger(f Facts) (list []Facts) {
	add := func(change func(*Facts)) {
		g := f
		change(&g)
		list = append(list, g)
	}
	if f.Route > Clear && f.Route < Verified {
		add(func(g *Facts) { g.Route++ })
	}
	if f.Wish != RequireTLS {
		add(func(g *Facts) { g.Wish = RequireTLS })
	}
	if f.Wish == TLSOptional {
		add(func(g *Facts) { g.Wish = NoWish })
	}
	switch f.DANE {
	case NoTLSA:
		add(func(g *Facts) { g.DANE = Unusable })
		add(func(g *Facts) { g.DANE = Usable })
	case Unusable:
		add(func(g *Facts) { g.DANE = Usable })
	}
	if f.MX == Unproven {
		add(func(g *Facts) { g.MX = Proven })
	}
	if f.Host == Unproven {
		add(func(g *Facts) { g.Host = Proven })
	}
	if f.STS < EnforceIn {
		add(func(g *Facts) { g.STS = EnforceIn })
		add(func(g *Facts) { g.STS = EnforceOut })
	}
	return list
}

// The words of the table.
var (
	wishWords    = [...]string{"-", "REQUIRETLS", "TLS-Required: No"}
	dnsWords     = [...]string{"bogus or no answer", "not signed", "signed, no TLSA", "TLSA unusable", "TLSA usable"}
	stsWords     = [...]string{"none", "cannot be known", "bogus", "cannot be fetched", "testing, host in", "testing, host out", "enforce, host in", "enforce, host out"}
	refusalWords = [...]string{"", "wait: DNS", "wait: host not in policy", "wait: policy needed", "bounce: host not proven"}
)

// class says what the answers of name servers come to, as dnsWords.
func class(f Facts) int {
	signed := f.MX == Proven && f.Host == Proven
	switch {
	case f.MX == Failed, f.Host == Failed, signed && f.DANE == TLSALost:
		return 0
	case !signed:
		return 1
	}
	return map[DANE]int{NoTLSA: 2, Unusable: 3, Usable: 4}[f.DANE]
}

// sentence tells a decision.
func sentence(d Decision) string {
	if d.Refuse != NoRefusal {
		return refusalWords[d.Refuse]
	}
	s := d.Level.String()
	if d.Level == Verified {
		s += map[bool]string{true: " by TLSA", false: " by name"}[d.DANE]
	}
	if d.By != Nobody {
		s += ", wanted by " + d.By.String()
	}
	return s
}

// The whole table, as a file to be read. The facts about name servers come to five
// classes, and nothing else of them counts, but that REQUIRETLS asks for proven
// exchangers whatever the addresses are.
func TestDecisionTable(t *testing.T) {
	rows := map[string]string{}
	var order []string
	for f := range everything() {
		dns := dnsWords[class(f)]
		if f.Wish == RequireTLS && class(f) == 1 && f.MX == Proven {
			dns = "exchangers signed"
		}
		key := fmt.Sprintf("%-13s | %-16s | %-18s | %-17s", f.Route, wishWords[f.Wish], dns, stsWords[f.STS])
		d := Decide(f)
		report := ""
		if d.Policy != Nobody {
			report = d.Policy.String()
			if d.Problem != Success {
				report += ": " + string(d.Problem)
			}
		}
		value := fmt.Sprintf("%-36s | %s", sentence(d), report)
		have, ok := rows[key]
		if !ok {
			order = append(order, key)
		} else if have != value {
			t.Errorf("%s: both %q and %q", key, have, value)
		}
		rows[key] = value
	}
	var b strings.Builder
	b.WriteString("# Every decision about TLS there is. Made by: go test ./tlspolicy -run DecisionTable -update\n#\n")
	fmt.Fprintf(&b, "# %-11s | %-16s | %-18s | %-17s | %-36s | %s\n", "route", "message", "DNS", "MTA-STS", "decision", "policy of the report, known failure")
	for _, key := range order {
		b.WriteString(strings.TrimRight(key+" | "+rows[key], " |") + "\n")
	}
	const name = "testdata/decisions.txt"
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the decisions are not those of %s (-update writes it anew)", name)
		for i, line := range strings.Split(got, "\n") {
			if old := strings.Split(string(want), "\n"); i >= len(old) || old[i] != line {
				t.Errorf("first difference, line %d: %s", i+1, line)
				break
			}
		}
	}
}
