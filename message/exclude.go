package message

import (
	"bytes"
	"strings"
)

// A search of many messages finds nothing in most of them. [Matcher.Excludes]
// knows that of a plain message from its raw octets, with no decoding: a word of
// the needle, letters and digits only, stays one run of octets in all texts of a
// message in ASCII without encodings. Only what HTML leaves out can join two
// runs, and only a character reference can make one from something else.

const (
	minWord   = 3
	maxWord   = 32 // of a longer word the beginning will do
	maxSplits = 16 // places in a text where a word may be torn, before giving up
)

// longestWord returns the longest run of ASCII letters and digits in a folded
// text, at most maxWord octets of it; nil when all are shorter than minWord.
func longestWord(needle []byte) (word []byte) {
	for i := 0; i < len(needle); i++ {
		start := i
		for i < len(needle) && isWord(needle[i]) {
			i++
		}
		if i-start > len(word) {
			word = needle[start:i]
		}
	}
	if len(word) < minWord {
		return nil
	}
	return word[:min(len(word), maxWord)]
}

// isWord tells whether c is a digit or an upper case letter.
func isWord(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' }

// upper folds an ASCII letter as [Fold] does.
func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// Excludes tells for certain that the text is in none of the texts that
// [Index.Texts] finds in raw, the octets that x is the index of. False means
// that they must be read.
func (m *Matcher) Excludes(x *Index, raw []byte) bool {
	if m.word == nil || x.Flags&(FlagNUL|FlagBareCR) != 0 || x.Size != int64(len(raw)) ||
		!isASCII(raw) || bytes.IndexByte(raw, 0x1b) >= 0 || containsFolded(raw, m.word) {
		return false
	}
	for i := range x.Parts {
		p := &x.Parts[i]
		// A file name may be pieced together or spelled with escapes. The word
		// decides, since blanks of the text may match what stands around the name.
		if bytes.Contains(raw[p.HeaderStart:p.BodyStart], []byte("=?")) || bytes.Contains(Fold(nil, []byte(p.Filename())), m.word) {
			return false
		}
		if p.Type != "text" && p.Type != "message" {
			continue
		}
		switch p.Encoding {
		case "", "7bit", "8bit", "binary":
		default:
			return false
		}
		switch p.Param("charset") {
		case "", "utf-8", "UTF-8", "us-ascii", "US-ASCII":
		default:
			return false
		}
		if (p.Subtype == "html" || p.Subtype == "xhtml+xml") && mayJoin(raw[p.BodyStart:p.End], m.word) {
			return false
		}
	}
	return true
}

// byRarity orders letters and digits from the rare ones to the common ones.
const byRarity = "QZXJ9786543201KVBPYGFWMUCLDRHSNIOATE"

// Rarest returns the place of the octet of a folded text that is likely to be the
// rarest in other texts, 0 for no text: what is best looked for first.
func Rarest(text []byte) (at int) {
	least := len(byRarity)
	for i, c := range text {
		// The last octet of a character beyond ASCII differs more than its first.
		if n := strings.IndexByte(byRarity, c); n <= least {
			at, least = i, n
		}
	}
	return at
}

// containsFolded tells whether word, in upper case, is in b in any case.
func containsFolded(b, word []byte) bool {
	at := Rarest(word)
	if len(b) < len(word) {
		return false
	}
	lead := b[at : len(b)-len(word)+at+1] // where that octet may be
	return containsAt(b, word, lead, word[at]) || word[at] >= 'A' && containsAt(b, word, lead, word[at]+('a'-'A'))
}

// containsAt looks for word in b at each c in lead; the first octet of lead is
// where c is when word begins b.
func containsAt(b, word, lead []byte, c byte) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(lead[i:], c)
		if n < 0 {
			return false
		}
		if i += n; commonFolded(b[i:], word) == len(word) {
			return true
		}
	}
}

// commonFolded returns how many octets of word, in upper case, b begins with.
func commonFolded(b, word []byte) int {
	n := 0
	for n < len(b) && n < len(word) && upper(b[n]) == word[n] {
		n++
	}
	return n
}

// mayJoin tells whether the text of the HTML in b may have a word that is not
// in b: joined across what is left out, which reaches from a < to a >, or spelled
// with a character reference, or with the text of an image.
func mayJoin(b, word []byte) bool {
	if len(b) >= maxToken || containsFolded(b, []byte("<IMG")) || hasReference(b) {
		return true
	}
	splits := 0
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '<')
		if n < 0 {
			return false
		}
		i += n
		for k := 1; k < len(word) && k <= i; k++ {
			if upper(b[i-1]) != word[k-1] || commonFolded(b[i-k:i], word[:k]) < k {
				continue
			}
			if splits++; splits > maxSplits || goesOn(b[i:], word[k:]) {
				return true
			}
		}
	}
}

// goesOn tells whether behind one of the > in b there is rest, or a piece of it
// up to the next <.
func goesOn(b, rest []byte) bool {
	for {
		n := bytes.IndexByte(b, '>')
		if n < 0 {
			return false
		}
		b = b[n+1:]
		n = commonFolded(b, rest)
		if n == len(rest) || n > 0 && n < len(b) && b[n] == '<' {
			return true
		}
	}
}

// hasReference tells whether b has a character reference other than some
// frequent ones that stand for no letter and no digit.
func hasReference(b []byte) bool {
	for {
		n := bytes.IndexByte(b, '&')
		if n < 0 {
			return false
		}
		b = b[n+1:]
		end := bytes.IndexByte(b[:min(len(b), 8)], ';')
		if end < 0 {
			return true
		}
		switch string(b[:end]) {
		case "nbsp", "amp", "lt", "gt", "quot", "apos", "#39", "#160", "mdash", "ndash", "lsquo", "rsquo",
			"ldquo", "rdquo", "hellip", "bull", "middot", "laquo", "raquo", "copy", "euro":
		default:
			return true
		}
	}
}
