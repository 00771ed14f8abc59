package script

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/test/memnet"
)

var seeds = flag.Int("seeds", 4, "how many times of trouble TestNoMailIsLost goes through")

// TestNoMailIsLost sends mail through hours of trouble, with restarts and power
// cuts in the middle, and looks what became of each recipient: taken by the
// other server at least once, or reported to the sender exactly once, and in the
// mailbox here exactly once (QU3, SC6).
func TestNoMailIsLost(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newChaos(t, uint64(seed)).run() })
		})
	}
}

// troubles are what a peer may do for a while.
var troubles = []string{
	"greet 421 4.3.2 busy", "greet close", "greet hang", "ehlo 502 no", "ehlo reset", "mail * 451 4.3.0 later", "mail * close",
	"rcpt * 452 4.2.2 full", "rcpt * greylist 20m", "rcpt * hang", "data 451 4.3.0 later", "data reset", "dot 452 4.3.1 full",
	"dot close", "dot reset", "dot lost", "dot cut", "dot wait 30s", "quit hang", "offer", "offer PIPELINING CHUNKING", "starttls broken",
}

// chaos is one such time.
type chaos struct {
	*testing.T
	w     *world
	r     *rand.Rand
	hosts []string
	sent  int
	good  []string // recipients that are to get their mail
	bad   []string // recipients that do not exist
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{T: t, w: &world{fake: newInternet()}, r: rand.New(rand.NewPCG(seed, 2026))}
	t.Cleanup(func() {
		if err := c.w.stop(); err != nil {
			t.Error(err)
		}
	})
	c.must(c.w.start())
	c.must(c.w.domain(nil, []string{"example.org"}))
	for _, user := range []string{"ana@example.org", "bob@example.org"} {
		c.must(c.w.user(nil, []string{user}))
	}
	for i := range 4 {
		name := fmt.Sprintf("h%d.example", i)
		c.hosts = append(c.hosts, name)
		c.must(c.w.peer(nil, []string{name, c.address(i)}))
		c.trouble(i, "")
	}
	return c
}

func (c *chaos) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *chaos) address(host int) string { return fmt.Sprintf("203.0.113.%d", host+1) }

// trouble gives a host other rules; those that do not exist never do.
func (c *chaos) trouble(host int, rules string) {
	parsed, err := parseRules("rcpt bad* 550 5.1.1 nobody\n" + rules)
	c.must(err)
	c.w.fake.peers[c.hosts[host]].set(parsed)
}

func (c *chaos) run() {
	for range 40 {
		host := c.r.IntN(len(c.hosts))
		switch c.r.IntN(8) {
		case 0:
			c.trouble(host, "")
		case 1, 2:
			c.trouble(host, fmt.Sprintf("%s times %d\n", troubles[c.r.IntN(len(troubles))], 1+c.r.IntN(4)))
		case 3:
			fault := []memnet.Fault{{}, {Silent: true}, {Latency: time.Second}, {CutTo: 300 + c.r.IntN(300)}, {CutFrom: 50 + c.r.IntN(300)}}
			c.w.fake.net.SetFault(netip.MustParseAddr(c.address(host)), fault[c.r.IntN(len(fault))])
		case 4:
			c.must(c.w.crash(nil, []string{fmt.Sprint(c.r.IntN(101))}))
		case 5:
			c.must(c.w.restart(nil, nil))
		default:
			c.send()
		}
		time.Sleep(time.Duration(c.r.IntN(1200)) * time.Second)
		for synctest.Wait(); c.w.fake.left != nil; settle() { // a rule cut the power: nothing was accepted since
			c.must(c.w.crash(nil, nil))
		}
	}
	for host := range c.hosts {
		c.trouble(host, "")
		c.w.fake.net.SetFault(netip.MustParseAddr(c.address(host)), memnet.Fault{})
	}
	time.Sleep(24 * time.Hour)
	c.judge()
}

// send sends a message to a mailbox here, a recipient of each host, and sometimes
// one that does not exist.
func (c *chaos) send() {
	to := []string{"bob@example.org"}
	for _, host := range c.hosts {
		a := fmt.Sprintf("u%d@%s", len(c.good), host)
		c.good, to = append(c.good, a), append(to, a)
	}
	if c.r.IntN(2) == 0 {
		a := fmt.Sprintf("bad%d@%s", len(c.bad), c.hosts[c.r.IntN(len(c.hosts))])
		c.bad, to = append(c.bad, a), append(to, a)
	}
	text := fmt.Sprintf("From: <ana@example.org>\r\nSubject: number %d\r\n\r\ntext\r\n", c.sent)
	c.sent++
	c.must(c.w.transact("submission", "ana@example.org", "ana@example.org", to, []byte(text)))
}

var failedRcpt = regexp.MustCompile(`(?m)^Final-Recipient: rfc822; ?(\S+)\r\nAction: failed\r$`)

// judge looks what became of all.
func (c *chaos) judge() {
	taken, reported := map[string]int{}, map[string]int{}
	for _, host := range c.hosts {
		mails, _ := c.w.fake.peers[host].heard()
		for _, m := range mails {
			for _, to := range m.rcpts {
				taken[address(to)]++
			}
		}
	}
	inbox := c.inbox("ana@example.org")
	for _, m := range inbox {
		for _, f := range failedRcpt.FindAllStringSubmatch(string(m), -1) {
			reported[f[1]]++
		}
	}
	here := map[string]int{}
	for _, m := range c.inbox("bob@example.org") {
		here[number.FindString(string(m))]++
	}
	for n := range c.sent {
		if here[fmt.Sprintf("number %d", n)] != 1 {
			c.Errorf("message %d is %d times in the mailbox", n, here[fmt.Sprintf("number %d", n)])
		}
	}
	twice := 0
	for _, a := range c.good {
		if taken[a] == 0 || reported[a] > 0 {
			c.Errorf("%s: taken %d times, reported %d times\n%s", a, taken[a], reported[a], c.story(a))
		}
		twice += taken[a] - 1
	}
	for _, a := range c.bad {
		if taken[a] > 0 || reported[a] != 1 {
			c.Errorf("%s: taken %d times, reported %d times\n%s", a, taken[a], reported[a], c.story(a))
		}
	}
	c.Logf("%d recipients, %d duplicates, %d unknown, %d reports and notices", len(c.good), twice, len(c.bad), len(inbox))
}

var number = regexp.MustCompile(`number \d+`)

// inbox returns the messages of a user.
func (c *chaos) inbox(user string) [][]byte {
	addr, err := c.w.address("imap")
	c.must(err)
	all, err := c.w.fetchAll(addr, user, "INBOX")
	c.must(err)
	return all
}

// story is what the node knows of an address.
func (c *chaos) story(address string) string {
	var b strings.Builder
	for _, state := range states {
		items, err := c.w.node.Queue.List(c.Context(), queue.Filter{State: state, Recipient: address})
		c.must(err)
		for _, it := range items {
			fmt.Fprintf(&b, "in the queue: %+v\n", it)
		}
	}
	var stories []app.Story
	if err := c.w.call("trace", app.TraceQuery{Text: address, Limit: 10}, &stories); err != nil {
		return b.String() + err.Error()
	}
	for _, s := range stories {
		for _, e := range s.Events {
			fmt.Fprintf(&b, "%s %s\n", e.Time, e.Text)
		}
	}
	return b.String()
}
