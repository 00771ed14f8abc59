package reports

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"pgregory.net/rapid"
)

func about(rcpts ...string) *DSN {
	d := &DSN{}
	for _, r := range rcpts {
		d.Rcpts = append(d.Rcpts, DSNRcpt{Final: addr(r, "example.com"), Action: Failed, Status: "5.1.1"})
	}
	return d
}

// SC9: at most 20 reports in an hour go to a remote domain, 1,000 in all.
func TestLimiter(t *testing.T) {
	l := NewLimiter(LimiterOptions{Local: func(domain string) bool { return domain == "home.example" }})
	now := day
	for i := range 20 {
		if ok, why := l.Allow(addr(fmt.Sprint("a", i), "far.example"), about(fmt.Sprint(i)), now); !ok {
			t.Fatalf("report %d: %s", i, why)
		}
		now = now.Add(time.Minute)
	}
	if ok, why := l.Allow(addr("b", "far.example"), about("b"), now); ok || !strings.Contains(why, "far.example") {
		t.Errorf("report 21: %v %s", ok, why)
	}
	if ok, _ := l.Allow(addr("b", "near.example"), about("b"), now); !ok {
		t.Error("another domain has to wait")
	}
	if ok, _ := l.Allow(addr("b", "far.example"), about("b"), day.Add(time.Hour)); !ok {
		t.Error("the first is an hour ago, and still none may go")
	}
	if ok, _ := l.Allow(addr("b", "far.example"), about("b"), day.Add(time.Hour)); ok {
		t.Error("two went for one")
	}
	now = day.Add(3 * time.Hour)
	sent := 0
	for i := range 1100 {
		domain := "home.example"
		if i%2 == 0 {
			domain = fmt.Sprintf("d%d.example", i)
		}
		if ok, _ := l.Allow(addr("a", domain), about(fmt.Sprint(i)), now); ok {
			sent++
		}
	}
	if sent != 1000 {
		t.Errorf("%d reports in an hour", sent)
	}
	if ok, why := l.Allow(postino.Address{}, about("a"), now.Add(9*time.Hour)); ok || why == "" {
		t.Error("a report to the null sender")
	}
}

// The same sender hears the same thing at most three times in an hour.
func TestLimiterSame(t *testing.T) {
	l := NewLimiter(LimiterOptions{})
	ann := addr("ann", "example.org")
	for i := range 3 {
		if ok, why := l.Allow(ann, about("x", "y"), day.Add(time.Duration(i)*time.Minute)); !ok {
			t.Fatal(why)
		}
	}
	now := day.Add(10 * time.Minute)
	for _, same := range []*DSN{about("x", "y"), about("y", "x"), about("x")} {
		if ok, why := l.Allow(ann, same, now); ok || why == "" {
			t.Errorf("%d recipients: %v %s", len(same.Rcpts), ok, why)
		}
	}
	other := about("x")
	other.Rcpts[0].Status = "5.2.2"
	for name, ok := range map[string]bool{
		"another recipient": first(l.Allow(ann, about("x", "z"), now)), "another status": first(l.Allow(ann, other, now)),
		"another sender": first(l.Allow(addr("eva", "example.org"), about("x"), now)), "an hour later": first(l.Allow(ann, about("y"), day.Add(time.Hour))),
	} {
		if !ok {
			t.Errorf("%s: not allowed", name)
		}
	}
}

func first(ok bool, _ string) bool { return ok }

// In no hour are there more than the limits allow, however the reports come.
func TestLimiterProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLimiter(LimiterOptions{PerDomain: 3, Total: 7, Same: 2, Keys: 1000})
		type event struct {
			at            time.Time
			domain, whole string
		}
		var sent []event
		now := day
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "minutes")) * time.Minute)
			e := event{now, fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "domain"), ".example"), fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "recipient"))}
			total, domain, same := 0, 0, 0
			for _, s := range sent {
				if now.Sub(s.at) >= time.Hour {
					continue
				}
				total++
				if s.domain == e.domain {
					domain++
					if s.whole == e.whole {
						same++
					}
				}
			}
			want := total < 7 && domain < 3 && same < 2
			ok, why := l.Allow(addr("a", e.domain), about(e.whole), now)
			if ok != want {
				t.Fatalf("%v (%s) after %d, %d, %d", ok, why, total, domain, same)
			}
			if ok {
				sent = append(sent, e)
			}
		}
	})
}

// G10: memory is bounded whoever sends what.
func TestLimiterMemory(t *testing.T) {
	l := NewLimiter(LimiterOptions{Keys: 1000, Total: 1 << 20, PerDomain: 1 << 20})
	for i := range 50 {
		var names []string
		for j := range 1000 {
			names = append(names, fmt.Sprint(i, "-", j))
		}
		l.Allow(addr("a", fmt.Sprint("d", i, ".example")), about(names...), day)
		if n := len(l.same.young) + len(l.same.old); n > 1002 {
			t.Fatalf("%d keys", n)
		}
	}
	l = NewLimiter(LimiterOptions{})
	for i := range 10_000 {
		l.Allow(addr("a", fmt.Sprint("d", i, ".example")), about("x"), day.Add(time.Duration(i)*time.Second))
	}
	if n := len(l.domains.young) + len(l.domains.old); n > 2100 || len(l.total) > 1000 {
		t.Errorf("%d domains, %d reports", n, len(l.total))
	}
}

func BenchmarkAllow(b *testing.B) {
	l, d, now := NewLimiter(LimiterOptions{}), about("x"), day
	b.ReportAllocs()
	for b.Loop() {
		l.Allow(addr("a", "example.org"), d, now)
		now = now.Add(time.Second)
	}
}
