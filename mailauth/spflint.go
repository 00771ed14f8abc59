package mailauth

import (
	"context"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// SPFLint is what the administrator of a domain should know of its SPF record.
type SPFLint struct {
	// Record is the text, fit for logs; empty without exactly one.
	Record string
	// Lookups is how many terms ask the DNS when all of them are evaluated, those
	// of other domains included: 10 are allowed. Voids is how many of them lead
	// nowhere: 2 are allowed (RFC 7208 §4.6.4).
	Lookups, Voids int
	Problems       []Problem
	// Err is of kind NotFound without a record, Transient when something could not
	// be looked up now.
	Err error
}

// maxLintLookups ends the walk: what is to be told is told by then.
const maxLintLookups = 50

// LintSPF reads the record of a domain and those that it leads to.
func LintSPF(ctx context.Context, q *Inquiry, domain string) SPFLint {
	l := spfLinter{q: q, pages: []spfPage{{domain: domain, up: -1}}}
	for i := 0; i < len(l.pages) && l.lint.Lookups <= maxLintLookups; i++ {
		l.page(ctx, i)
	}
	if l.lint.Lookups > 10 {
		l.problem(-1, true, "v", 0, "the record needs "+strconv.Itoa(l.lint.Lookups)+" lookups, of which receivers do 10 and then refuse it")
	}
	if l.lint.Voids > 2 {
		l.problem(-1, true, "v", 0, strconv.Itoa(l.lint.Voids)+" names in the record lead nowhere; receivers allow 2 and then refuse it")
	}
	return l.lint
}

type spfLinter struct {
	q     *Inquiry
	lint  SPFLint
	pages []spfPage
}

// spfPage is the record of a domain. The first one is at hand; others are what the
// term tag at the octet at of the first one leads to.
type spfPage struct {
	domain string
	up     int // the page that leads here
	tag    string
	at     int
}

// problem tells of a page; those of other domains at the term that leads there.
func (l *spfLinter) problem(page int, isError bool, tag string, at int, text string) {
	if page > 0 {
		p := l.pages[page]
		text = "in the record of " + p.domain + ", at " + tag + ": " + text
		tag, at = p.tag, p.at
	}
	l.lint.Problems = append(l.lint.Problems, Problem{isError, postino.Printable(tag), at, postino.Printable(text)})
}

func (l *spfLinter) page(ctx context.Context, i int) {
	a, err := l.q.Lookup(ctx, l.pages[i].domain, dns.TypeTXT)
	var found []string
	if err == nil {
		for _, t := range a.TXT {
			if isSPF(t) {
				found = append(found, t)
			}
		}
	}
	switch {
	case err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Invalid):
		l.lint.Err = err
		return
	case len(found) > 1:
		l.problem(i, true, "v", 0, "there are several SPF records, and so none counts")
		return
	case len(found) == 0 && i == 0:
		l.lint.Err = postino.E(postino.NotFound, "look up SPF record", l.pages[0].domain, err)
		return
	case len(found) == 0:
		l.problem(i, true, "v", 0, "there is no SPF record")
		return
	}
	r, problems := ParseSPF(found[0])
	if i == 0 {
		l.lint.Record = r.Text
	}
	for _, p := range problems {
		// What other domains advise themselves is not ours to judge.
		if i == 0 || p.Error || strings.HasPrefix(p.Text, "this lets the whole world") {
			l.problem(i, p.Error, p.Tag, p.At, p.Text)
		}
	}
	for _, t := range r.Terms {
		if t.Name == "all" {
			return // nobody looks further, nor at redirect=
		}
		l.term(ctx, i, &t)
	}
}

// term counts a term and goes where it leads, unless macros say where.
func (l *spfLinter) term(ctx context.Context, page int, t *SPFTerm) {
	kind := dns.TypeA
	switch t.Name {
	case "include", "redirect", "exists", "a":
	case "mx":
		kind = dns.TypeMX
	case "ptr":
		l.lint.Lookups++
		return
	default:
		return
	}
	if l.lint.Lookups++; l.lint.Lookups > maxLintLookups {
		return
	}
	target := t.Domain
	if target == "" {
		target = l.pages[page].domain
	}
	if strings.Contains(target, "%") {
		return
	}
	target = spfName(target)
	if t.Name == "include" || t.Name == "redirect" {
		l.lead(page, t, target)
		return
	}
	_, err := l.q.Lookup(ctx, target, kind)
	if kind == dns.TypeA && t.Name == "a" && postino.Is(err, postino.NotFound) {
		_, err = l.q.Lookup(ctx, target, dns.TypeAAAA)
	}
	switch {
	case postino.Is(err, postino.NotFound), postino.Is(err, postino.Invalid):
		l.lint.Voids++
		l.problem(page, false, t.Text, t.At, "this name leads nowhere")
	case err != nil:
		l.lint.Err = err
	}
}

// lead adds the record of a domain.
func (l *spfLinter) lead(page int, t *SPFTerm, target string) {
	for up := page; up >= 0; up = l.pages[up].up {
		if spfName(l.pages[up].domain) == target {
			l.problem(page, true, t.Text, t.At, "the record leads to itself")
			return
		}
	}
	next := spfPage{domain: target, up: page, tag: t.Text, at: t.At}
	if page > 0 {
		next.tag, next.at = l.pages[page].tag, l.pages[page].at
	}
	l.pages = append(l.pages, next)
}
