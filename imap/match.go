package imap

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxWildcards is how many wildcards a LIST pattern may have. One with more
// matches nothing, as RFC 9051 §6.3.9 allows; it keeps matching linear (IM3).
const maxWildcards = 50

// pattern is a canonical LIST pattern: "*" matches anything, "%" anything within
// a level (RFC 9051 §6.3.9).
type pattern struct {
	// tokens are "*", "%" and the texts between them; nil matches nothing.
	tokens []token
	// inbox matches the name INBOX, whose case does not matter.
	inbox []token
	// levels: the pattern ends with "%", so that levels of hierarchy that are no
	// mailboxes are listed too.
	levels bool
}

// token is a wildcard, or a text with the table to find it in linear time.
type token struct {
	wild byte // '*', '%' or 0
	text string
	fail []int32 // of Knuth, Morris and Pratt
}

func compilePattern(s string) pattern {
	s = norm.NFC.String(s)
	upper := strings.ToUpper(s)
	if strings.HasPrefix(upper, "INBOX"+delimiter) {
		s = "INBOX" + s[5:]
	}
	return pattern{tokens: tokenize(s), inbox: tokenize(upper), levels: strings.HasSuffix(s, "%")}
}

func tokenize(s string) (tokens []token) {
	wild := 0
	for len(s) > 0 {
		n := strings.IndexAny(s, "*%")
		switch {
		case n < 0:
			n = len(s)
			fallthrough
		case n > 0:
			tokens = append(tokens, token{text: s[:n], fail: failTable(s[:n])})
			s = s[n:]
		default:
			w := s[0]
			s = s[1:]
			last := len(tokens) - 1
			switch {
			case last >= 0 && tokens[last].wild == '*', last >= 0 && tokens[last].wild == w:
			case last >= 0 && tokens[last].wild == '%':
				tokens[last].wild = '*' // "%*" is "*"
			default:
				tokens = append(tokens, token{wild: w})
				wild++
			}
		}
	}
	if wild > maxWildcards {
		return nil
	}
	return tokens
}

func failTable(s string) []int32 {
	fail := make([]int32, len(s))
	for i, k := 1, int32(0); i < len(s); i++ {
		for k > 0 && s[i] != s[k] {
			k = fail[k-1]
		}
		if s[i] == s[k] {
			k++
		}
		fail[i] = k
	}
	return fail
}

// match tells whether the pattern matches a canonical name.
func (p *pattern) match(name string) bool {
	if name == "INBOX" {
		return matchTokens(p.inbox, name)
	}
	return matchTokens(p.tokens, name)
}

// matchTokens keeps the set of positions in name that the tokens so far can
// reach. Each token passes over the name once, so the work is the length of the name
// times at most 2*maxWildcards+1, plus the pattern.
func matchTokens(tokens []token, name string) bool {
	switch {
	case len(tokens) == 0:
		return false // an empty pattern is no name
	case len(tokens) == 1 && tokens[0].wild == '*':
		return true
	case len(tokens) == 1 && tokens[0].wild == 0:
		return tokens[0].text == name
	}
	var small [2][256]bool
	at, next := small[0][:], small[1][:]
	if len(name) >= len(small[0]) {
		at, next = make([]bool, len(name)+1), make([]bool, len(name)+1)
	}
	at, next = at[:len(name)+1], next[:len(name)+1]
	at[0] = true
	for i := range tokens {
		clear(next)
		if !tokens[i].advance(at, next, name) {
			return false
		}
		at, next = next, at
	}
	return at[len(name)]
}

// advance sets in next the positions that t leads to from those in at, and tells
// whether there is one.
func (t *token) advance(at, next []bool, name string) (any bool) {
	switch t.wild {
	case '*', '%':
		open := false
		for i := range at {
			open = open || at[i]
			next[i] = open
			any = any || open
			if t.wild == '%' && i < len(name) && name[i] == delimiter[0] {
				open = false
			}
		}
		return any
	}
	for i, k := 0, int32(0); i < len(name); i++ {
		for k > 0 && name[i] != t.text[k] {
			k = t.fail[k-1]
		}
		if name[i] == t.text[k] {
			k++
		}
		if int(k) == len(t.text) {
			if start := i + 1 - len(t.text); at[start] {
				next[i+1], any = true, true
			}
			k = t.fail[k-1]
		}
	}
	return any
}
