package crash

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino/queue"
)

// parcel is an errand of a program that is killed. Doubtful ones may be there
// twice: sendmail did not hear the reply and left the letter in the spool.
type parcel struct {
	errand
	doubt bool
}

// courier is the load of relaying on a program and its ledger.
type courier struct {
	*testing.T
	p      *program
	a      *abroad
	number atomic.Int64
	dying  atomic.Bool

	mu      sync.Mutex
	parcels map[string]*parcel
	letters int // acknowledged
	spooled int // of these, by sendmail while no server answered
}

// TestRelayKill kills the real program again and again while it relays what comes
// by submission and from sendmail, over the socket and the spool, to servers that
// outlive it. Each letter is taken, reported or there; it is taken again only
// where the connection broke after the answer, or the answer was lost (SC6, QU2,
// QU3). POSTINO_RELAYKILLS says how often: 3, in the long form 100.
func TestRelayKill(t *testing.T) {
	cycles := 3
	if long() {
		cycles = 100
	}
	if cycles = setting("POSTINO_RELAYKILLS", cycles); testing.Short() {
		cycles = 2
	}
	a := &abroad{met: map[string]bool{}, tried: map[string]int{}, conns: map[net.Conn]bool{}}
	defer a.close()
	p := newProgram(t, filepath.Join(t.TempDir(), "data"))
	p.tool("", "user", "limits", "ana@b.example", "--hour", "none", "--day", "none")
	for _, d := range []string{"r1", "r2", "lost"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		a.listen(ln, d+".example")
		p.tool("", "route", "add", d, ln.Addr().String(), "--domain", d+".example", "--private")
	}
	must(t, os.Symlink(binary(t), filepath.Join(p.dir, "sendmail")))
	c := &courier{T: t, p: p, a: a, parcels: map[string]*parcel{}}
	rng := rand.New(rand.NewPCG(uint64(setting("POSTINO_SEED", 1)), 78))
	for cycle := range cycles {
		c.load(rng, time.Duration(100+rng.IntN(900))*time.Millisecond)
		p.begin()
		if cycle%10 == 9 || cycle == cycles-1 {
			c.verify(fmt.Sprintf("cycle %d", cycle))
		}
		if t.Failed() {
			t.Fatalf("cycle %d\n%s", cycle, p.log())
		}
	}
	c.count(cycles)
}

// load lets senders work until the program is killed, and one sendmail after it.
func (c *courier) load(rng *rand.Rand, d time.Duration) {
	c.dying.Store(false)
	var wg sync.WaitGroup
	for i := range 3 {
		seed := rng.Uint64()
		wg.Go(func() { c.submit(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	seed := rng.Uint64()
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 9))
		for !c.dying.Load() {
			c.sendmail(rng)
		}
	})
	time.Sleep(d)
	c.dying.Store(true)
	c.p.kill()
	wg.Wait()
	c.sendmail(rng) // nobody answers: it goes to the spool
}

// compose chooses recipients and notes them as begun.
func (c *courier) compose(rng *rand.Rand) (tag string, parcels []*parcel, rcpts []string) {
	n := c.number.Add(1)
	tag = fmt.Sprintf("L%d%s", n, []string{small, small, small, large}[rng.IntN(4)])
	classes := []string{"lost"}
	if rng.IntN(40) > 0 {
		classes = nil
		for range 1 + rng.IntN(3) {
			classes = append(classes, []string{"ok", "ok", "ok", "no", "grey", "bob"}[rng.IntN(6)])
		}
	}
	for i, class := range classes {
		rcpt := fmt.Sprintf("%s.%d-%d@r%d.example", class, n, i, 1+rng.IntN(2))
		switch class {
		case "bob":
			rcpt = "bob@b.example"
		case "lost": // its own server: the queue waits for one that ends connections
			rcpt = fmt.Sprintf("lost.%d@lost.example", n)
		}
		if slices.Contains(rcpts, rcpt) {
			continue
		}
		rcpts = append(rcpts, rcpt)
		parcels = append(parcels, &parcel{errand: errand{tag: tag, rcpt: rcpt, from: "ana@b.example"}})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range parcels {
		c.parcels[key(p.tag, p.rcpt)] = p
	}
	return tag, parcels, rcpts
}

func (c *courier) acknowledged(parcels []*parcel, doubt bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letters++
	for _, p := range parcels {
		p.acked, p.doubt = true, doubt
	}
}

// submit sends letters over a submission listener until the connection breaks.
func (c *courier) submit(rng *rand.Rand) {
	s, err := dialSMTP(c.p.submission)
	if err != nil {
		return
	}
	defer s.Close()
	if reply, err := s.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ana@b.example\x00correct horse"))); err != nil {
		return
	} else if reply[0] != '2' {
		c.Error("AUTH: ", reply)
		return
	}
	for {
		tag, parcels, rcpts := c.compose(rng)
		reply, err := s.postAs("MAIL FROM:<ana@b.example>", relayText(tag, "ana@b.example"), rcpts...)
		if err != nil {
			return
		}
		if !strings.HasPrefix(reply, "250 ") {
			c.Errorf("letter %s: %s", tag, reply)
			return
		}
		c.acknowledged(parcels, false)
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
	}
}

// sendmail sends a letter by the command. Success is an acknowledgement, whoever
// the letter went to.
func (c *courier) sendmail(rng *rand.Rand) {
	down := c.dying.Load()
	tag, parcels, rcpts := c.compose(rng)
	cmd := exec.Command(filepath.Join(c.p.dir, "sendmail"), append([]string{"-i", "-f", "ana@b.example"}, rcpts...)...)
	cmd.Env = append(os.Environ(), "POSTINO_CONFIG="+c.p.config())
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(relayText(tag, "ana@b.example"), []byte("\r\n"), []byte("\n")))
	out, err := cmd.CombinedOutput()
	died := c.dying.Load() && !down
	if err != nil {
		if !died {
			c.Errorf("sendmail: %v %s", err, out)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range parcels {
			p.doubt = true
		}
		return
	}
	c.acknowledged(parcels, died)
	if down {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spooled++
	}
}

// outcomes looks at what others took and at the mailboxes.
func (c *courier) outcomes() (found map[string]*outcome, problems []string, err error) {
	l := newLook()
	for _, user := range users {
		texts, err := fetchInbox(c.p.imap, user+"@b.example")
		if err != nil {
			return nil, nil, err
		}
		l.mailbox(user, texts)
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	l.abroad(c.a, nil)
	return l.outcomes, l.problems, nil
}

// fetchInbox returns the messages in a user's INBOX.
func fetchInbox(addr, user string) (texts []string, err error) {
	c, err := dialIMAP(addr, user)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.choose("INBOX"); err != nil {
		return nil, err
	}
	got, _, err := c.do("UID FETCH 1:* (FLAGS BODY.PEEK[])")
	for _, r := range got {
		for _, text := range r.literals {
			texts = append(texts, string(text))
		}
	}
	return texts, err
}

// verify has everything tried until each letter has its end, and judges.
func (c *courier) verify(when string) {
	c.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c.p.tool("", "queue", "retry", "--all", "--yes", "--open")
		found, problems, err := c.outcomes()
		must(c, err)
		missing := ""
		c.mu.Lock()
		for _, k := range slices.Sorted(maps.Keys(c.parcels)) {
			p, o := c.parcels[k], outcome{}
			if found[k] != nil {
				o = *found[k]
			}
			if p.doubt {
				o.free, o.freeReports = o.free+1, o.freeReports+1
				if o.local == 2 {
					o.local = 1
				}
			}
			for _, what := range judgeErrand(&p.errand, true, o) {
				if strings.HasPrefix(what, "lost") {
					missing += k + " "
				} else {
					problems = append(problems, fmt.Sprintf("%s: %s (%+v)", k, what, o))
				}
			}
		}
		c.mu.Unlock()
		if len(problems) > 0 {
			c.Errorf("%s: %s", when, strings.Join(problems, "\n"))
		}
		if missing == "" || len(problems) > 0 {
			return
		}
		if time.Now().After(end) {
			first, _, _ := strings.Cut(missing, " ")
			c.Errorf("%s: lost: %s\n%s\n%s", when, missing, c.p.say("trace", first+"@a.example"), c.p.say("queue", "list"))
			return
		}
	}
}

// count says what was done.
func (c *courier) count(cycles int) {
	found, _, err := c.outcomes()
	must(c, err)
	taken, reported, repeated, unanswered := 0, 0, 0, 0
	for k, o := range found {
		taken += min(1, o.takes+o.local)
		reported += min(1, o.failed)
		if strings.Contains(k, " lost.") {
			unanswered += max(0, o.takes-1)
		} else {
			repeated += max(0, o.takes-1)
		}
	}
	c.Logf("relaying and kill -9: %d cycles, %d letters acknowledged (%d into the spool) for %d recipients: %d delivered, %d reported; lost 0, duplicated 0; "+
		"repeated as SC6 lets: %d where the connection broke after the answer, %d after a lost answer", cycles, c.letters, c.spooled, len(c.parcels),
		taken, reported, repeated, unanswered)
}

// look collects what is found of letters.
type look struct {
	outcomes map[string]*outcome
	problems []string
}

func newLook() *look { return &look{outcomes: map[string]*outcome{}} }

func (l *look) of(tag, rcpt string) *outcome {
	k := key(tag, rcpt)
	if l.outcomes[k] == nil {
		l.outcomes[k] = &outcome{}
	}
	return l.outcomes[k]
}

func (l *look) report(abouts []about, free bool) {
	for _, b := range abouts {
		o := l.of(b.tag, b.rcpt)
		o.why += " " + b.why
		switch b.action {
		case "failed":
			o.failed++
		case "delayed":
			o.delayed++
		default:
			o.other++
		}
		if free {
			o.freeReports++
		}
	}
}

// mailbox takes in the messages of a user.
func (l *look) mailbox(user string, texts []string) {
	for _, text := range texts {
		tag, problem := examine([]byte(text))
		if problem != "" {
			l.problems = append(l.problems, user+": "+problem)
		}
		if tag == "report" {
			l.report(aboutsOf([]byte(text)), false)
		} else {
			l.of(tag, user+"@b.example").local++
		}
	}
}

// abroad takes in what others took; untils say when mail may go. The lock of a is
// held.
func (l *look) abroad(a *abroad, untils map[string]time.Time) {
	for _, t := range a.takes {
		if t.problem != "" {
			l.problems = append(l.problems, t.rcpt+": "+t.problem)
		}
		if t.tag == "report" {
			l.report(t.about, t.free)
			continue
		}
		o := l.of(t.tag, t.rcpt)
		o.takes++
		if t.free {
			o.free++
		}
		if !t.old {
			o.late++
		}
		o.early = o.early || t.at.Before(untils[key(t.tag, t.rcpt)])
	}
}

// queued takes in an item of the queue.
func (l *look) queued(tag string, it *queue.Item) {
	for _, rc := range it.Rcpts {
		if rc.State == queue.Pending || rc.Owed&queue.OwedFailed != 0 {
			o := l.of(tag, rc.Address.String())
			o.entries++
			o.queued = it.State
		}
	}
}
