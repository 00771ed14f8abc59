package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type checkCmd struct {
	store
	Domains  []string      `arg:"" optional:"" name:"domain" help:"Domains to check, also those of others; none: this server and all its domains."`
	Zone     bool          `help:"Print the DNS records that the domains should have, as zone files."`
	JSON     bool          `help:"Print JSON."`
	Watch    bool          `help:"Check again and again until nothing is to be fixed."`
	Interval time.Duration `help:"Time between two checks of --watch." default:"10s"`

	skip []string // areas that a watch need not look at again
}

// Help is shown below the flags.
func (*checkCmd) Help() string {
	return "Exit codes: 0 nothing is to be fixed, 3 something is, 75 something could not be told.\n\n" +
		"Examples:\n\n  postino check\n\n  postino check example.org --watch\n\n  postino check --zone example.org > example.org.zone"
}

// Run checks once, or until all is well.
func (c *checkCmd) Run(e *env) error {
	if c.Zone {
		return c.zone(e)
	}
	if c.Interval < time.Second {
		c.Interval = time.Second
	}
	if c.Watch {
		return c.watch(e)
	}
	p := &checkPrinter{out: e.out, color: colored(e.out)}
	reports, err := c.reports(e, func(s app.CheckStep) {
		if !c.JSON {
			p.step(s)
		}
	})
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(e, checkResult{1, reports}); err != nil {
			return err
		}
	} else {
		p.summary(reports)
	}
	return outcome(reports)
}

// checkResult is what --json prints: {"version": 1, "reports": […]}.
type checkResult struct {
	Version int               `json:"version"`
	Reports []app.CheckReport `json:"reports"`
}

func (c *checkCmd) reports(e *env, step func(app.CheckStep)) (reports []app.CheckReport, err error) {
	ctx := app.WithProgress(e.ctx, func(b json.RawMessage) {
		var s app.CheckStep
		if json.Unmarshal(b, &s) == nil {
			step(s)
		}
	})
	err = c.call(&env{ctx: ctx, in: e.in, out: e.out, err: e.err}, "check", app.CheckQuery{Domains: c.Domains, Skip: c.skip}, &reports)
	return reports, err
}

func (c *checkCmd) zone(e *env) error {
	var zones []app.CheckZone
	if err := c.call(e, "check.zone", app.CheckQuery{Domains: c.Domains}, &zones); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, zones)
	}
	for i := range zones {
		text := zones[i].Text()
		if i > 0 {
			text = append([]byte{'\n'}, text...)
		}
		if _, err := e.out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// count is how many findings have a status.
func count(reports []app.CheckReport, s app.CheckStatus) (n int) {
	for i := range reports {
		n += reports[i].Count(s)
	}
	return n
}

// outcome ends the command as the reports say.
func outcome(reports []app.CheckReport) error {
	switch {
	case count(reports, app.CheckFix) > 0:
		return checked{errors.New("something is to be fixed")}
	case count(reports, app.CheckUnknown) > 0:
		return exitError{exitTemp, errors.New("something could not be told; try again")}
	}
	return nil
}

// checkPrinter writes findings for people.
type checkPrinter struct {
	out    io.Writer
	color  bool
	domain *string
	area   string
}

// step writes a finding, and before it what it belongs to when that is new.
func (p *checkPrinter) step(s app.CheckStep) {
	if p.domain == nil || *p.domain != s.Domain {
		name := s.Domain
		if name == "" {
			name = "This server"
		}
		if p.domain != nil {
			fmt.Fprintln(p.out)
		}
		fmt.Fprintln(p.out, name)
		p.domain, p.area = &s.Domain, ""
	}
	area := s.Finding.Area
	if area == p.area {
		area = ""
	} else {
		p.area = area
	}
	fmt.Fprintf(p.out, "  %-12s %s\n", area, p.row(&s.Finding))
	p.records(&s.Finding)
}

// row is the line of a finding without its area.
func (p *checkPrinter) row(f *app.CheckFinding) string {
	w := statusWord(f.Status)
	pad := strings.Repeat(" ", max(0, 6-len(w)))
	text := f.Text
	if f.Status != app.CheckOK && f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	return p.paint(f.Status, w) + pad + "  " + text
}

// statusWord is a status as people read it; what could not be told says so itself.
func statusWord(s app.CheckStatus) string {
	switch s {
	case app.CheckOK:
		return "OK"
	case app.CheckFix:
		return "FIX"
	case app.CheckAdvice:
		return "advice"
	}
	return "?"
}

// paint colours a word.
func (p *checkPrinter) paint(s app.CheckStatus, w string) string {
	if !p.color {
		return w
	}
	color := "35"
	switch s {
	case app.CheckOK:
		color = "32"
	case app.CheckFix:
		color = "31;1"
	case app.CheckAdvice:
		color = "33"
	}
	return "\x1b[" + color + "m" + w + "\x1b[0m"
}

// records writes what is to be published for a finding.
func (p *checkPrinter) records(f *app.CheckFinding) {
	const indent = "                         "
	for i := range f.Records {
		r := &f.Records[i]
		if r.Replaces != "" {
			fmt.Fprintf(p.out, "%sthere is  %s\n", indent, postino.Printable(r.Replaces))
		}
		fmt.Fprintf(p.out, "%spublish   %s\n", indent, postino.Printable(r.String()))
	}
}

func (p *checkPrinter) summary(reports []app.CheckReport) {
	fmt.Fprintf(p.out, "\n%d OK, %d to fix, %d advice, %d could not be told\n", count(reports, app.CheckOK),
		count(reports, app.CheckFix), count(reports, app.CheckAdvice), count(reports, app.CheckUnknown))
}

// colored tells whether colours are welcome: on a terminal, and unless the user
// said otherwise (https://no-color.org).
func colored(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// watch checks until nothing is to be fixed and everything could be told. The first
// report is written whole, then what has changed.
func (c *checkCmd) watch(e *env) error {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	again := time.NewTicker(c.Interval)
	defer again.Stop()
	s := screen{out: e.out}
	if f, ok := e.out.(*os.File); ok && isTerminal(f) {
		s.columns, s.rows = terminalSize(f)
	}
	p := checkPrinter{color: colored(e.out)}
	for {
		reports, err := c.reports(&env{ctx: ctx, in: e.in, out: e.out, err: e.err}, func(app.CheckStep) {})
		if err == nil {
			c.skip = c.settle(s.last, reports)
		}
		switch {
		case ctx.Err() != nil && s.shown != nil:
			return outcome(s.last)
		case err != nil && !postino.Is(err, postino.Transient): // the server may be starting again
			return err
		case err == nil && c.JSON:
			if err := printJSON(e, checkResult{1, reports}); err != nil {
				return err
			}
			s.shown, s.last = []string{}, reports
		case err == nil:
			s.show(p.lines(reports), reports)
		}
		if err == nil && outcome(reports) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return outcome(s.last)
		case <-again.C:
		}
	}
}

// settle puts what was not looked at again in its place, and says what need not be
// next time: visits to the relay and questions to blocklists that found all well.
func (c *checkCmd) settle(last, reports []app.CheckReport) (skip []string) {
	if len(reports) == 0 || reports[0].Domain != "" {
		return nil
	}
	for _, area := range []string{"Relay", "Blocklists"} {
		from := &reports[0]
		if slices.Contains(c.skip, area) {
			from = &last[0]
		}
		well := true
		var found []app.CheckFinding
		for _, f := range from.Findings {
			if f.Area == area {
				found = append(found, f)
				well = well && f.Status == app.CheckOK
			}
		}
		// These areas are the last ones: in turn to the end is in order.
		rest := slices.DeleteFunc(slices.Clone(reports[0].Findings), func(f app.CheckFinding) bool { return f.Area == area })
		reports[0].Findings = append(rest, found...)
		if well && len(found) > 0 {
			skip = append(skip, area)
		}
	}
	return skip
}

// lines are reports as step and summary write them.
func (p checkPrinter) lines(reports []app.CheckReport) []string {
	var b bytes.Buffer
	p.out = &b
	for i := range reports {
		for _, f := range reports[i].Findings {
			p.step(app.CheckStep{Domain: reports[i].Domain, Finding: f})
		}
	}
	p.summary(reports)
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// screen shows lines and later only those that changed: in their place on a
// terminal that has room for all, else below.
type screen struct {
	out           io.Writer
	columns, rows int // of the terminal; 0 for none
	shown         []string
	last          []app.CheckReport
}

func (s *screen) show(lines []string, reports []app.CheckReport) {
	old := s.shown
	s.shown, s.last = lines, reports
	switch {
	case old == nil:
		fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	case s.fits(old, lines):
		s.repaint(old, lines)
	default:
		had := map[string]bool{}
		for _, l := range old {
			had[l] = true
		}
		for _, l := range lines {
			if !had[l] {
				fmt.Fprintln(s.out, l)
			}
		}
	}
}

// fits tells whether the old lines are all on the screen and the new ones take
// their places.
func (s *screen) fits(old, lines []string) bool {
	if s.rows == 0 || len(old) != len(lines) {
		return false
	}
	all := 0
	for i := range lines {
		if s.height(old[i]) != s.height(lines[i]) {
			return false
		}
		all += s.height(lines[i])
	}
	return all < s.rows
}

// height is how many rows a line takes; colours take no room.
func (s *screen) height(line string) int {
	n := utf8.RuneCountInString(line)
	for rest := line; ; {
		_, after, ok := strings.Cut(rest, "\x1b[")
		if !ok {
			return max(1, (n+s.columns-1)/max(1, s.columns))
		}
		code, text, _ := strings.Cut(after, "m")
		n, rest = n-len("\x1b[m")-len(code), text
	}
}

func (s *screen) repaint(old, lines []string) {
	up := 0
	for i := len(lines) - 1; i >= 0; i-- {
		up += s.height(lines[i])
		if lines[i] != old[i] {
			fmt.Fprintf(s.out, "\x1b[%dA\r\x1b[2K%s\x1b[K\x1b[%dB\r", up, lines[i], up-s.height(lines[i])+1)
		}
	}
}
