package reports

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// readTexts reads a language as the file has it: a text is a string or plural forms.
func readTexts(t *testing.T, tag language.Tag) map[string]any {
	t.Helper()
	b, err := textFiles.ReadFile("texts/" + tag.String() + ".json")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]any{}
	if err := json.Unmarshal(b, &texts); err != nil {
		t.Fatal(err)
	}
	return texts
}

// Every text exists in every language, with the same places to fill and every
// plural form that a number can need.
func TestTexts(t *testing.T) {
	forms := map[plural.Form]string{plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many", plural.Other: "other"}
	places := func(s string) []string {
		var all []string
		for _, p := range []string{"{{.Subject}}", "{{.Date}}", "{{.Host}}", "{{.Name}}", "{{.Address}}", "{{.PluralCount}}"} {
			if n := strings.Count(s, p); n > 0 {
				all = append(all, fmt.Sprint(p, n))
			}
		}
		if strings.Count(s, "{{") != len(all) {
			all = append(all, "others")
		}
		return all
	}
	english := readTexts(t, language.English)
	for _, tag := range languages() {
		texts := readTexts(t, tag)
		if want, got := slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(texts)); !slices.Equal(got, want) {
			t.Errorf("%s: keys\n got %q\nwant %q", tag, got, want)
		}
		for id, text := range texts {
			var all []string
			switch text := text.(type) {
			case string:
				all = []string{text}
				if e, ok := english[id].(string); !ok || !slices.Equal(places(text), places(e)) {
					t.Errorf("%s %s: places differ from English", tag, id)
				}
			case map[string]any:
				for n := range 1100 {
					form := forms[plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0)]
					if s, _ := text[form].(string); s == "" {
						t.Fatalf("%s %s: no form %s for %d", tag, id, form, n)
					}
				}
				for _, s := range text {
					all = append(all, s.(string))
				}
				if got := newSpeaker(tag.String()).count(id, 42); got == id || id != "expanded" && id != "more" && !strings.Contains(got, "42") {
					t.Errorf("%s %s: says %q", tag, id, got)
				}
			}
			for _, s := range all {
				if s == "" || strings.ContainsAny(s, "şţŞŢ") { // with cedilla they are Turkish
					t.Errorf("%s %s: %q", tag, id, s)
				}
			}
		}
	}
}

// Every id that the code asks for exists.
func TestAskedTexts(t *testing.T) {
	for _, tag := range languages() {
		s := newSpeaker(tag.String())
		ids := []string{"subject.mixed", "subject.none", "about", "about.undated", "about.untitled", "about.unknown", "date", "weekdays", "months", "until", "trying", "words", "words.own", "attached.full", "attached.headers", "attached.cut", "footer"}
		for _, a := range actions() {
			ids = append(ids, "subject."+a.String())
			if s.count(a.String(), 1) == a.String() {
				t.Errorf("%s: no %s", tag, a)
			}
		}
		for class := range strings.SplitSeq("2 4 5", " ") {
			for subject := range 10 {
				for detail := range 40 {
					why := reason(fmt.Sprintf("%s.%d.%d", class, subject, detail))
					ids = append(ids, "reason."+why)
					if class != "2" {
						ids = append(ids, "advice."+why)
					}
				}
			}
		}
		for code := 200; code < 600; code++ {
			ids = append(ids, "reason."+replyReason(fmt.Sprint(code)))
		}
		if n, m := len(strings.Fields(s.say("weekdays", nil))), len(strings.Fields(s.say("months", nil))); n != 7 || m != 12 {
			t.Errorf("%s: %d weekdays, %d months", tag, n, m)
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			if _, err := s.loc.Localize(&i18n.LocalizeConfig{MessageID: id}); err != nil {
				t.Errorf("%s %s: %v", tag, id, err)
			}
		}
	}
}

func TestStatusText(t *testing.T) {
	for _, tt := range []struct{ code, lang, want string }{
		{"5.2.2", "en", "The mailbox is full."},
		{"5.2.2", "it-CH", "La casella è piena."},
		{"4.2.2", "ro-RO", "Căsuța poștală este plină."},
		{"5.1.1", "fr", "There is no such mailbox."},
		{"5.1.1", "not a tag at all, and far too long for one", "There is no such mailbox."},
		{" 550 5.1.1 no such user", "", "There is no such mailbox."},
		{"550-5.7.26 unauthenticated", "it", "Il server del destinatario non ha potuto verificare che il messaggio venga dal tuo dominio."},
		{"552", "", "The mailbox is full."},
		{"554 5.7.1 spam", "", "The recipient's server refused the message by its own rules."},
		{"550 2.1.1 contradiction", "", "The message was not accepted, without a reason that we know."},
		{"450 4.7.1 greylisted", "", "The recipient's server asked us to come back later."},
		{"250 2.0.0 ok", "", "The message was accepted."},
		{"5.99.999", "", "The message was not accepted, without a reason that we know."},
		{"connection refused", "en", ""}, {"", "en", ""}, {"5", "en", ""}, {"5.", "en", ""}, {"5.1", "", ""}, {"5.1.", "", ""}, {"5.1.1234", "", ""}, {"55.1.1", "", ""}, {"5.1.1x", "", ""}, {"999", "", ""}, {"550x", "", ""}, {"55", "", ""},
	} {
		if got := StatusText(tt.code, tt.lang); got != tt.want {
			t.Errorf("%q %q: %q, want %q", tt.code, tt.lang, got, tt.want)
		}
	}
}

func BenchmarkStatusText(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		StatusText("550 5.1.1 no such user", "it")
	}
}

// A status that says nothing gives way to the reply.
func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		r    DSNRcpt
		want string
	}{
		{DSNRcpt{Action: Failed, Status: "5.0.0", Diagnostic: "550 5.1.1 no"}, "unknown"},
		{DSNRcpt{Action: Failed, Diagnostic: "552 over quota"}, "full"},
		{DSNRcpt{Action: Failed, Diagnostic: "no route"}, "other"},
		{DSNRcpt{Action: Failed, Status: "5.4.6", Diagnostic: "550 5.1.1 no"}, "loop"},
		{DSNRcpt{Action: Failed, Status: "2.0.0"}, "other"},
		{DSNRcpt{Action: Failed, Status: "4.4.7"}, "expired"},
		{DSNRcpt{Action: Delivered, Status: "2.0.0"}, "ok"},
	} {
		if got := tt.r.why(); got != tt.want {
			t.Errorf("%+v: %s", tt.r, got)
		}
	}
}

// G6: what is shown has one line and a bounded length, whatever comes in.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		" a \r\n\tb ": "a b", "\x1b[0m": `\x1b[0m`, "\u202eabc": `\u{0202e}abc`, "1234567890123456789012345678901234567890x": "1234567890123456789012345678901234567...",
		strings.Repeat("é", 30): strings.Repeat("é", 18) + "...", strings.Repeat(" ", 1000) + "x": "...",
	} {
		if got := clean(in, 40); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
