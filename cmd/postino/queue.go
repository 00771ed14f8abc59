package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type queueCmd struct {
	List    queueListCmd    `cmd:"" help:"Show what waits, by destination and reason; message by message when something is chosen."`
	Show    queueShowCmd    `cmd:"" help:"Show one item: each recipient, the last words of the other side, the next attempt."`
	Top     queueTopCmd     `cmd:"" help:"Show the destinations that mail is going to now, and how they do."`
	Hold    queueHoldCmd    `cmd:"" help:"Set mail aside until it is released."`
	Release queueReleaseCmd `cmd:"" help:"Let held mail go on, now."`
	Retry   queueRetryCmd   `cmd:"" help:"Try mail now that would be tried later."`
	Reroute queueRerouteCmd `cmd:"" help:"Ask the routes again where mail goes."`
	Remove  queueRemoveCmd  `cmd:"" help:"Take mail off the queue. It is lost."`
}

// queueFilter chooses items of the queue.
type queueFilter struct {
	IDs       []string      `arg:"" optional:"" name:"id" help:"Ids of items."`
	State     string        `help:"Only these: new, waiting, held, parked." placeholder:"STATE"`
	Dest      string        `help:"Only mail for this destination: a domain, or route/NAME." placeholder:"DEST"`
	Sender    string        `help:"Only mail of this sender, an address or a part of it." placeholder:"TEXT"`
	Recipient string        `help:"Only mail for this recipient, an address or a part of it." placeholder:"TEXT"`
	Domain    string        `help:"Only mail with a recipient in this domain." placeholder:"DOMAIN"`
	Reason    string        `help:"Only mail about which the last words contain this." placeholder:"TEXT"`
	Older     time.Duration `help:"Only mail that came at least so long ago, 2h." placeholder:"TIME"`
}

func (f *queueFilter) filter() app.QueueFilter {
	return app.QueueFilter{IDs: f.IDs, State: f.State, Dest: f.Dest, Sender: f.Sender, Recipient: f.Recipient, Domain: f.Domain, Reason: f.Reason, Older: f.Older}
}

// all tells whether nothing is chosen.
func (f *queueFilter) all() bool {
	return len(f.IDs) == 0 && f.State+f.Dest+f.Sender+f.Recipient+f.Domain+f.Reason == "" && f.Older == 0
}

type queueListCmd struct {
	store
	listFlags
	queueFilter
	Items bool `help:"List messages even when nothing is chosen."`
	Limit int  `help:"At most so many lines." default:"100"`
}

func (c *queueListCmd) Run(e *env) error {
	if c.all() && !c.Items {
		return c.groups(e)
	}
	f := c.filter()
	f.Limit = c.Limit
	var out []app.QueueItem
	if err := c.call(e, "queue.list", f, &out); err != nil {
		return err
	}
	return c.table(e, out, "ID\tSTATE\tAGE\tTRIES\tNEXT TRY\tSIZE\tFROM\tTO\tLAST WORDS", func(w io.Writer) {
		for _, it := range out {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", it.ID, it.State, ago(it.Received), it.Attempts, when(it.Next),
				octets(it.Size), reversePath(it.From), recipients(it), postino.Printable(words(it)))
		}
	})
}

// Help shows examples.
func (*queueListCmd) Help() string {
	return "Examples:\n\n  postino queue list\n\n  postino queue list --dest example.com --older 1h"
}

// groups shows the queue by destination and reason.
func (c *queueListCmd) groups(e *env) error {
	var out []app.QueueGroup
	if err := c.call(e, "queue.summary", c.Limit, &out); err != nil {
		return err
	}
	if len(out) == 0 && !c.JSON {
		return said(e, "The queue is empty.")
	}
	return c.table(e, out, "DESTINATION\tSTATE\tMESSAGES\tSIZE\tOLDEST\tNEXT TRY\tREASON", func(w io.Writer) {
		for _, g := range out {
			dest := g.Dest
			if dest == "" {
				dest = g.Transport
			}
			reason := postino.Printable(g.Reason)
			if text := app.StatusText(g.Reason); text != "" && reason != "" {
				reason += " (" + text + ")"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", dest, g.State, g.Count, octets(g.Octets), ago(g.Oldest), when(g.NextDue), dash(reason))
		}
	})
}

type queueShowCmd struct {
	store
	ID   string `arg:"" help:"Id of the item."`
	JSON bool   `help:"Print JSON."`
}

func (c *queueShowCmd) Run(e *env) error {
	var out []app.QueueItem
	if err := c.call(e, "queue.list", app.QueueFilter{IDs: []string{c.ID}}, &out); err != nil {
		return err
	}
	if len(out) == 0 {
		return postino.E(postino.NotFound, "show", c.ID, fmt.Errorf("no such item"))
	}
	it := out[0]
	if c.JSON {
		return printJSON(e, it)
	}
	fmt.Fprintf(e.out, "%s  %s  from %s  %s  via %s %s\n", it.ID, it.State, reversePath(it.From), octets(it.Size), it.Transport, it.Dest)
	fmt.Fprintf(e.out, "  accepted %s, tried %d times, next try %s, given up %s\n", stamp(it.Received), it.Attempts, stamp(it.Next), stamp(it.Expires))
	if it.Reason != "" {
		fmt.Fprintf(e.out, "  %s\n", postino.Printable(it.Reason))
	}
	for _, r := range it.Rcpts {
		fmt.Fprintf(e.out, "  %s  %s\n", r.Address, r.State)
		if r.Reply == "" {
			continue
		}
		who := "here"
		if r.Remote != "" {
			who = r.Remote
		}
		fmt.Fprintf(e.out, "    %s  %s: %s\n", stamp(r.Last), who, postino.Printable(r.Reply))
		if text := app.StatusText(r.Reply); text != "" {
			fmt.Fprintf(e.out, "    that means: %s\n", text)
		}
	}
	return said(e, "The whole story: postino trace %s", it.Message)
}

type queueTopCmd struct {
	store
	listFlags
	Limit int `help:"At most so many destinations." default:"20"`
}

func (c *queueTopCmd) Run(e *env) error {
	var out []app.QueueSite
	if err := c.call(e, "queue.top", c.Limit, &out); err != nil {
		return err
	}
	return c.table(e, out, "DESTINATION\tNOW\tLIMIT\tREADY\tHEALTH\tUNTIL\tLAST WORDS", func(w io.Writer) {
		for _, s := range out {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", s.Dest, s.InFlight, s.Limit, s.Ready, s.Health, when(s.Until), dash(postino.Printable(s.Words)))
		}
	})
}

// queueChange is what all commands that change the queue have in common.
type queueChange struct {
	store
	queueFilter
	All  bool `help:"All mail, if nothing is chosen."`
	Yes  bool `short:"y" help:"Do not ask."`
	JSON bool `help:"Print JSON."`
}

// run counts, asks, and acts.
func (c *queueChange) run(e *env, op, verb, done string, a app.QueueAction) error {
	if c.all() && !c.All {
		return postino.E(postino.Invalid, verb, "", fmt.Errorf("say which mail: ids, --dest, --sender, … or --all"))
	}
	a.QueueFilter = c.filter()
	if len(c.IDs) == 0 && !c.Yes {
		a.DryRun = true
		var found app.QueueDone
		if err := c.call(e, op, a, &found); err != nil {
			return err
		}
		if found.Matched == 0 {
			return said(e, "nothing of the kind is on the queue")
		}
		if !isTerminal(e.in) {
			return postino.E(postino.Invalid, verb, "", fmt.Errorf("that is %s, %s; say --yes", messages(found.Matched), octets(found.Octets)))
		}
		fmt.Fprintf(e.err, "%s %s, %s? [y/N] ", verb, messages(found.Matched), octets(found.Octets))
		answer, err := firstLine(e.in)
		if err != nil {
			return err
		}
		if !strings.EqualFold(answer, "y") {
			return said(e, "aborted, no changes made")
		}
		a.DryRun = false
	}
	if isTerminal(e.in) {
		e = &env{ctx: app.WithProgress(e.ctx, func(b json.RawMessage) {
			var d app.QueueDone
			if json.Unmarshal(b, &d) == nil {
				fmt.Fprintf(e.err, "\r%d of %d seen ", d.Changed, d.Seen)
			}
		}), in: e.in, out: e.out, err: e.err}
		defer fmt.Fprint(e.err, "\r")
	}
	var out app.QueueDone
	if err := c.call(e, op, a, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if out.Busy > 0 {
		return said(e, "%s %s, %d more in delivery right now", messages(out.Changed), done, out.Busy)
	}
	return said(e, "%s %s", messages(out.Changed), done)
}

type queueHoldCmd struct {
	queueChange
	Why string `help:"Reason to be kept with the mail." default:"held by the administrator" placeholder:"TEXT"`
}

// Help shows an example.
func (*queueHoldCmd) Help() string {
	return "Example: postino queue hold --sender newsletter@example.org --why \"complaints\""
}

func (c *queueHoldCmd) Run(e *env) error {
	return c.run(e, "queue.hold", "Hold", "held", app.QueueAction{Why: c.Why})
}

type queueReleaseCmd struct{ queueChange }

// Help shows an example.
func (*queueReleaseCmd) Help() string { return "Example: postino queue release --state held" }

func (c *queueReleaseCmd) Run(e *env) error {
	return c.run(e, "queue.release", "Release", "released", app.QueueAction{})
}

type queueRetryCmd struct {
	queueChange
	Open bool `help:"Also forget that a destination could not be reached."`
}

// Help shows an example.
func (*queueRetryCmd) Help() string { return "Example: postino queue retry --dest example.com --open" }

func (c *queueRetryCmd) Run(e *env) error {
	return c.run(e, "queue.retry", "Retry", "due now", app.QueueAction{Open: c.Open})
}

type queueRerouteCmd struct{ queueChange }

// Help shows an example.
func (*queueRerouteCmd) Help() string { return "Example: postino queue reroute --domain example.com" }

func (c *queueRerouteCmd) Run(e *env) error {
	return c.run(e, "queue.reroute", "Reroute", "rerouted", app.QueueAction{})
}

type queueRemoveCmd struct {
	queueChange
	Why string `help:"Reason to be kept in the story." default:"removed by the administrator" placeholder:"TEXT"`
}

// Help shows an example.
func (*queueRemoveCmd) Help() string { return "Example: postino queue remove 1m8021qtt0000" }

func (c *queueRemoveCmd) Run(e *env) error {
	return c.run(e, "queue.remove", "Remove", "removed", app.QueueAction{Why: c.Why})
}

type probeCmd struct {
	store
	Address string `arg:"" help:"Address that mail would go to."`
	JSON    bool   `help:"Print a JSON value for each step."`
}

// Help shows an example.
func (*probeCmd) Help() string { return "Example: postino probe someone@example.com" }

// Run shows each step of a delivery and sends nothing.
func (c *probeCmd) Run(e *env) error {
	failed := false
	ctx := app.WithProgress(e.ctx, func(b json.RawMessage) {
		var s app.ProbeStep
		if json.Unmarshal(b, &s) != nil {
			return
		}
		if s.Kind == "verdict" && s.Severity != "ok" {
			failed = true
		}
		if c.JSON {
			fmt.Fprintf(e.out, "%s\n", b)
			return
		}
		mark := map[string]string{"ok": "ok  ", "info": "    ", "warning": "warn", "failed": "FAIL"}[string(s.Severity)]
		fmt.Fprintf(e.out, "%s  %-9s %s", mark, s.Kind, postino.Printable(s.Text))
		if s.Took >= time.Millisecond {
			fmt.Fprintf(e.out, "  (%s)", s.Took.Round(time.Millisecond))
		}
		fmt.Fprintln(e.out)
	})
	if err := c.call(&env{ctx: ctx, in: e.in, out: e.out, err: e.err}, "probe", app.Named{Name: c.Address}, nil); err != nil {
		return err
	}
	if failed {
		return checked{errors.New("mail would not be delivered")}
	}
	return nil
}

// Words for tables.

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(time.Since(t))
}

func when(t time.Time) string {
	d := time.Until(t)
	switch {
	case t.IsZero():
		return "-"
	case d <= 0:
		return "now"
	}
	return "in " + span(d)
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func octets(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func reversePath(a string) string {
	if a == "" {
		return "<>"
	}
	return a
}

// recipients names the first recipient and counts the others.
func recipients(it app.QueueItem) string {
	if n := len(it.Rcpts); n > 1 {
		return fmt.Sprintf("%s +%d", it.Rcpts[0].Address, n-1)
	}
	return it.Rcpts[0].Address
}

// words are the last ones about an item.
func words(it app.QueueItem) string {
	if it.Reason != "" {
		return it.Reason
	}
	for _, r := range it.Rcpts {
		if r.Reply != "" {
			return r.Reply
		}
	}
	return "-"
}
