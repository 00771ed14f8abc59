package imap

import (
	"slices"
	"strings"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// language is what texts for people are written in.
type language uint8

// The languages, i-default being the one before the client chose (RFC 5255 §3.1).
const (
	byDefault language = iota
	english
	italian
	romanian
)

var languageTags = [...]string{byDefault: "i-default", english: "en", italian: "it", romanian: "ro"}

// languageCommand is LANGUAGE (RFC 5255 §3.2).
func (c *conn) languageCommand() error {
	ranges, err := c.optionalStrings()
	if err != nil {
		return err
	}
	if len(ranges) == 0 {
		c.out.str("* LANGUAGE (")
		c.out.str(strings.Join(languageTags[:], " "))
		c.out.str(")\r\n")
		return nil
	}
	for _, r := range ranges {
		if l, ok := lookupLanguage(r); ok {
			return c.speak(l)
		}
	}
	return &Error{Text: "Unsupported language"}
}

// speak changes the language; the response is in it already, and namespaces that
// have a name in it are told with it (RFC 5255 §3.4).
func (c *conn) speak(l language) error {
	c.out.language = l
	c.out.str("* LANGUAGE (")
	c.out.str(languageTags[l])
	c.out.str(")\r\n")
	if c.state == notAuthenticated {
		return nil
	}
	return c.printNamespaces()
}

// lookupLanguage finds a language for a range: the longest beginning of it that is a
// tag (RFC 4647 §3.4). "default" is what the administrator prefers, and "*" any.
func lookupLanguage(r string) (language, bool) {
	r = strings.ToLower(r)
	if r == "default" || r == "*" {
		return byDefault, true
	}
	for r != "" {
		if i := slices.Index(languageTags[:], r); i >= 0 {
			return language(i), true
		}
		r = r[:max(0, strings.LastIndexByte(r, '-'))]
	}
	return 0, false
}

// optionalStrings reads what strings stand up to the end of the command.
func (c *conn) optionalStrings() (out []string, err error) {
	for c.p.Try(' ') {
		s, err := c.p.AString()
		if err == nil && len(out) == c.lim.Items {
			err = syntax("Too many items")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, c.end()
}

// translate returns a text of the table in the client's language. Texts that the
// table lacks, such as those of a [Session], stay as they are.
func (l language) translate(s string) string {
	if l < italian {
		return s
	}
	if t, ok := texts[s]; ok {
		return t[l-italian]
	}
	if head, octet, ok := strings.Cut(s, " '"); ok { // what the parser expected
		if t, ok := texts[head]; ok {
			return t[l-italian] + " '" + octet
		}
	}
	return s
}

// text prints a text for people.
func (o *output) text(s string) { o.str(o.language.translate(s)) }

// codeEnd prints the end of a response code, a text and the end of the line.
func (o *output) codeEnd(text string) {
	o.str("] ")
	o.text(text)
	o.str("\r\n")
}

// translation prints what a namespace is called in the client's language. It is in
// modified UTF-7 unless names are in UTF-8 (RFC 5255 §3.4).
func (o *output) translation(prefix string) {
	name, rest, _ := strings.Cut(prefix, delimiter)
	t := o.language.translate(name)
	if t == name {
		return
	}
	o.str(` "TRANSLATION" (`)
	o.mailbox(t + prefix[len(name):len(prefix)-len(rest)] + rest)
	o.str(")")
}

// collations are the comparators, the default first (RFC 5255 §4.4).
var collations = []string{"i;unicode-casemap", "i;ascii-casemap", "i;octet"}

// comparator is COMPARATOR (RFC 5255 §4.7).
func (c *conn) comparator() error {
	orders, err := c.optionalStrings()
	if err != nil {
		return err
	}
	active, matches := c.collation, []string(nil)
	for _, order := range orders {
		if strings.EqualFold(order, "default") {
			order = collations[0]
		}
		for _, name := range collations {
			if matchWildcard(order, name) && !slices.Contains(matches, name) {
				matches = append(matches, name)
			}
		}
	}
	switch {
	case len(orders) == 0:
		if active == "" {
			active = collations[0]
		}
	case len(matches) == 0:
		return &Error{Code: "BADCOMPARATOR", Text: "No such comparator"}
	default:
		if active = matches[0]; active == collations[0] {
			c.collation = ""
		} else {
			c.collation = active
		}
	}
	c.out.str("* COMPARATOR ")
	c.out.buf = wire.AppendAString(c.out.buf, active, false)
	if len(matches) > 1 {
		for i, name := range matches {
			c.out.str([]string{" (", " "}[min(i, 1)])
			c.out.buf = wire.AppendAString(c.out.buf, name, false)
		}
		c.out.str(")")
	}
	c.out.str("\r\n")
	return nil
}

// matchWildcard matches a collation-order in which "*" stands for anything, at one
// place (RFC 4790 §3.2).
func matchWildcard(order, name string) bool {
	order = strings.ToLower(order)
	head, tail, wild := strings.Cut(order, "*")
	if !wild {
		return order == name
	}
	return len(name) >= len(head)+len(tail) && strings.HasPrefix(name, head) && strings.HasSuffix(name, tail)
}
