package reports

import (
	"embed"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// textFiles has one file of texts per language, with the plural forms of CLDR.
//
//go:embed texts/*.json
var textFiles embed.FS

// catalog makes a speaker of each language once; they are constant.
var catalog = sync.OnceValue(func() (c struct {
	speakers []speaker
	matcher  language.Matcher
}) {
	b := i18n.NewBundle(language.English)
	for _, tag := range languages() {
		// The files are part of the program: TestTexts reads them all.
		if _, err := b.LoadMessageFileFS(textFiles, "texts/"+tag.String()+".json"); err != nil {
			panic(err)
		}
		c.speakers = append(c.speakers, speaker{tag.String(), i18n.NewLocalizer(b, tag.String())})
	}
	c.matcher = language.NewMatcher(languages())
	return c
})

// languages are those that texts exist in; the first is for everybody else.
func languages() []language.Tag {
	return []language.Tag{language.English, language.Italian, language.Romanian}
}

// speaker says texts in one language. It may be used by several goroutines.
type speaker struct {
	tag string
	loc *i18n.Localizer
}

// newSpeaker returns the speaker for a language tag, or for English.
func newSpeaker(lang string) speaker {
	c := catalog()
	for _, s := range c.speakers {
		if s.tag == lang {
			return s
		}
	}
	if len(lang) <= 35 { // RFC 5646 §4.4.1
		if tag, err := language.Parse(lang); err == nil {
			_, i, _ := c.matcher.Match(tag)
			return c.speakers[i]
		}
	}
	return c.speakers[0]
}

// say returns a text; data fills its places.
func (s speaker) say(id string, data map[string]string) string {
	return s.localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: data})
}

// count returns a text in the plural form of n.
func (s speaker) count(id string, n int) string {
	return s.localize(&i18n.LocalizeConfig{MessageID: id, PluralCount: n})
}

func (s speaker) localize(c *i18n.LocalizeConfig) string {
	text, err := s.loc.Localize(c)
	if err != nil {
		return c.MessageID // TestTexts shows that it cannot be
	}
	return text
}

// date writes a moment in words, with its zone: the reader's may be another.
func (s speaker) date(t time.Time) string {
	zone := "UTC"
	if _, offset := t.Zone(); offset != 0 {
		zone += strings.TrimSuffix(t.Format("-07:00"), ":00") // UTC+01, UTC-03:30
	}
	return s.say("date", map[string]string{
		"Weekday": strings.Fields(s.say("weekdays", nil))[t.Weekday()],
		"Day":     strconv.Itoa(t.Day()),
		"Month":   strings.Fields(s.say("months", nil))[t.Month()-1],
		"Year":    strconv.Itoa(t.Year()),
		"Time":    t.Format("15:04"),
		"Zone":    zone,
	})
}

// actions are all actions in the order in which the text speaks of them.
func actions() []Action { return []Action{Failed, Delayed, Delivered, Relayed, Expanded} }

// subject is the subject of the report.
func (d *DSN) subject(s speaker) string {
	about := clean(d.Subject, 120)
	if about == "" {
		about = s.say("subject.none", nil)
	}
	what := d.Rcpts[0].Action.String()
	for i := range d.Rcpts {
		if d.Rcpts[i].Action != d.Rcpts[0].Action {
			what = "mixed"
		}
	}
	return s.say("subject."+what, map[string]string{"Subject": about})
}

// writer puts the readable text together.
type writer struct {
	speaker
	level // what is left of names and replies
	out   strings.Builder
}

// text is the readable part: for each action a sentence, then the recipients by
// reason, so that it stays short however many they are. attached names the text
// about what comes back.
func (d *DSN) text(s speaker, lv level, attached string) string {
	w := &writer{speaker: s, level: lv}
	w.about(d)
	for _, a := range actions() {
		var rcpts []*DSNRcpt
		for i := range d.Rcpts {
			if d.Rcpts[i].Action == a {
				rcpts = append(rcpts, &d.Rcpts[i])
			}
		}
		if len(rcpts) == 0 {
			continue
		}
		w.paragraph("", s.count(a.String(), len(rcpts)))
		for _, g := range byReason(rcpts) {
			w.group(a, g)
		}
	}
	if attached != "" {
		w.paragraph("", s.say("attached."+attached, nil))
	}
	w.paragraph("", s.say("footer", map[string]string{"Host": clean(d.ReportingMTA, 255)}))
	return w.out.String()
}

func (w *writer) about(d *DSN) {
	subject, id := clean(d.Subject, 120), "about"
	switch {
	case subject == "" && d.Arrival.IsZero():
		id = "about.unknown"
	case subject == "":
		id = "about.untitled"
	case d.Arrival.IsZero():
		id = "about.undated"
	}
	w.paragraph("", w.say(id, map[string]string{"Subject": subject, "Date": w.date(d.Arrival)}))
}

// byReason groups recipients by the plain words about them.
func byReason(rcpts []*DSNRcpt) [][]*DSNRcpt {
	at := map[string]int{}
	var all [][]*DSNRcpt
	for _, r := range rcpts {
		why := r.why()
		i, ok := at[why]
		if !ok {
			i, at[why] = len(all), len(all)
			all = append(all, nil)
		}
		all[i] = append(all[i], r)
	}
	return all
}

// group writes the recipients of one reason and what there is to say about them.
func (w *writer) group(a Action, g []*DSNRcpt) {
	shown := min(len(g), w.names)
	w.names -= shown
	for _, r := range g[:shown] {
		w.line("    ", clean(r.name(), 320))
	}
	if rest := len(g) - shown; rest > 0 {
		w.line("    ", w.count("more", rest))
	}
	w.out.WriteByte('\n')
	if a != Failed && a != Delayed {
		return
	}
	why := g[0].why()
	w.paragraph("    ", w.say("reason."+why, nil))
	w.quote(g)
	if a == Failed {
		w.paragraph("    ", w.say("advice."+why, nil))
		return
	}
	var until time.Time
	for _, r := range g {
		if r.WillRetryUntil.After(until) {
			until = r.WillRetryUntil
		}
	}
	if until.IsZero() {
		w.paragraph("    ", w.say("trying", nil))
	} else {
		w.paragraph("    ", w.say("until", map[string]string{"Date": w.date(until)}))
	}
}

// quote gives the exact words of remote servers, at most three of a group.
func (w *writer) quote(g []*DSNRcpt) {
	var said []string
	last := ""
	for _, r := range g {
		if len(said) == 3 || w.said == 0 {
			break
		}
		words, head := clean(r.Diagnostic, 500), w.say("words.own", nil)
		host := clean(r.RemoteMTA, 255)
		switch {
		case words == "":
			continue
		case host != "" && replyCode(words) != "":
			head = w.say("words", map[string]string{"Host": host})
		case host != "":
			words = host + ": " + words // what we found, not what it said
		}
		if slices.Contains(said, words) {
			continue
		}
		said = append(said, words)
		w.said--
		if head != last {
			w.line("    ", head)
			last = head
		}
		w.line("      ", words)
	}
	if len(said) > 0 {
		w.out.WriteByte('\n')
	}
}

// name is how the text calls a recipient: as its sender did, if that is known.
func (r *DSNRcpt) name() string {
	if typ, address, ok := strings.Cut(r.Original, ";"); ok && address != "" && (r.Final.IsNull() || strings.EqualFold(typ, "rfc822") || strings.EqualFold(typ, "utf-8")) {
		return address
	}
	return r.Final.Unicode()
}

func (w *writer) paragraph(indent, text string) {
	w.line(indent, text)
	w.out.WriteByte('\n')
}

// line writes text in lines of at most 76 characters, cut at spaces.
func (w *writer) line(indent, text string) {
	for part := range strings.SplitSeq(text, "\n") {
		col := 0
		for word := range strings.FieldsSeq(part) {
			n := utf8.RuneCountInString(word)
			switch {
			case col == 0:
				w.out.WriteString(indent)
				col = len(indent)
			case col+1+n > 76:
				w.out.WriteString("\n" + indent)
				col = len(indent)
			default:
				w.out.WriteByte(' ')
				col++
			}
			w.out.WriteString(word)
			col += n
		}
		w.out.WriteByte('\n')
	}
}
