package mailbox

import (
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/postino-mail/postino/message"
)

// A text is indexed by its terms. Each character of a folded text is, by itself
// and wherever it stands, of one of three kinds:
//
//   - blank: ASCII that is no letter and no digit. It is not indexed.
//   - part of a word: ASCII letters and digits; letters, digits and marks of
//     scripts that set words apart. A longest run of them is a term; of a run of
//     more than maxTerm octets each window of maxTerm octets is one, each
//     beginning at most maxPiece octets behind the one before, the last one ending
//     with the run.
//   - single: ideographs, kana, Thai and the like, and all other characters, also
//     emoji and punctuation. Each is a term together with the single that
//     follows it, or alone when none does.
//
// So a text contains a piece of a word of up to maxPiece octets exactly when one
// of its terms contains it, and two singles exactly when they are a term.

const (
	maxTerm  = 64 // octets
	maxPiece = 32 // octets that always lie together in a term, wherever the windows begin
)

// The kinds of characters.
const (
	blank = iota
	part
	single
)

func kindOfASCII(c byte) int {
	if '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
		return part
	}
	return blank
}

// kindOf tells the kind of a character beyond ASCII.
func kindOf(r rune) int {
	switch {
	case r < 0xc0:
		return singleUnless(unicode.IsLetter(r) || unicode.IsNumber(r))
	case r < 0x250:
		return singleUnless(r != 0xd7 && r != 0xf7)
	case 0x300 <= r && r < 0x370:
		return part
	case 0x2e80 <= r && r < 0xa000, r == 0xfffd: // also the voice marks of kana
		return single
	case unicode.In(r, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Han, unicode.Hiragana, unicode.Katakana):
		return single
	}
	return singleUnless(unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r))
}

func singleUnless(word bool) int {
	if word {
		return part
	}
	return single
}

// runAt returns the kind of the character at the beginning of b and the length
// of the run of that kind.
func runAt(b []byte) (kind, n int) {
	for n < len(b) {
		c, k, size := b[n], 0, 1
		if c < utf8.RuneSelf {
			k = kindOfASCII(c)
		} else {
			var r rune
			r, size = utf8.DecodeRune(b[n:])
			k = kindOf(r)
		}
		if n == 0 {
			kind = k
		} else if k != kind {
			break
		}
		n += size
	}
	return kind, n
}

// eachTerm calls emit for the terms of the folded text b, which go on beyond b
// unless last is set. It returns where in b the text begins that is to stand
// before what follows. emit must not keep the term.
func eachTerm(b []byte, last bool, emit func(term []byte)) (rest int) {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf && kindOfASCII(b[i]) == blank {
			i++
			continue
		}
		kind, n := runAt(b[i:])
		end := i + n
		open := end == len(b) && !last
		switch kind {
		case part:
			for end-i > maxTerm {
				emit(b[i : i+maxTerm])
				for i += maxPiece; !utf8.RuneStart(b[i]); {
					i--
				}
			}
			if open {
				return i
			}
			emit(b[i:end])
		case single:
			for i < end {
				_, one := utf8.DecodeRune(b[i:end])
				_, two := utf8.DecodeRune(b[i+one : end])
				if two == 0 && open {
					return i
				}
				emit(b[i : i+one+two])
				i += one
			}
		}
		i = end
	}
	return len(b)
}

// tokenizer cuts texts into terms.
type tokenizer struct {
	emit   func(term []byte)
	left   int // octets of text that may still be read; below 0: a text was cut
	in     [16 << 10]byte
	folded []byte
}

// text takes a text that is not folded.
func (t *tokenizer) text(s []byte) {
	t.folded = message.Fold(t.folded[:0], s)
	t.terms(t.folded)
}

// terms takes a text that is folded.
func (t *tokenizer) terms(folded []byte) {
	if t.left -= len(folded); t.left >= 0 {
		eachTerm(folded, true, t.emit)
	}
}

// read takes a text from r.
func (t *tokenizer) read(r io.Reader) error {
	t.folded = t.folded[:0]
	held := 0
	for {
		n, err := r.Read(t.in[held:])
		n += held
		whole := n
		if err == nil {
			whole = message.WholeRunes(t.in[:n])
		}
		if t.left -= whole; t.left < 0 {
			return nil
		}
		// Pieces are folded each by itself: that may give a blank too many.
		t.folded = message.Fold(t.folded, t.in[:whole])
		held = copy(t.in[:], t.in[whole:n])
		rest := eachTerm(t.folded, err != nil, t.emit)
		t.folded = append(t.folded[:0], t.folded[rest:]...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pattern is a piece of a needle as it is looked for in a dictionary, where a
// NUL stands before and behind each term.
type pattern []byte

// patterns cuts a folded needle into patterns: in a text that contains the
// needle, each of them is in some term. Exact tells that the converse is true
// also. None means that the index does not know.
func patterns(needle []byte) (list []pattern, exact bool) {
	for i := 0; i < len(needle); {
		kind, n := runAt(needle[i:])
		run := needle[i : i+n]
		begins, ends := i == 0, i+n == len(needle) // of the needle, so the term may go on
		switch kind {
		case part:
			list = append(list, wordPattern(run, begins, ends))
			exact = begins && ends && n <= maxPiece
		case single:
			k := utf8.RuneCount(run)
			exact = begins && ends && k <= 2
			for len(run) > 0 {
				_, one := utf8.DecodeRune(run)
				_, two := utf8.DecodeRune(run[one:])
				if two > 0 || !ends || k == 1 {
					list = append(list, bounded(run[:one+two], true, two > 0 || !ends))
				}
				run = run[one:]
			}
		}
		i += n
	}
	return list, exact && len(list) == 1
}

// wordPattern is the pattern of a run of word characters: what lies within a
// word, ends one, is one, or begins one.
func wordPattern(run []byte, begins, ends bool) pattern {
	switch {
	case begins && ends:
		return bounded(run[:min(len(run), maxPiece)], false, false)
	case begins:
		return bounded(run[max(0, len(run)-maxPiece):], false, true)
	case ends:
		return bounded(run[:min(len(run), maxPiece)], true, false)
	}
	return bounded(run[:min(len(run), maxTerm)], true, true)
}

func bounded(p []byte, before, after bool) pattern {
	b := make(pattern, 0, len(p)+2)
	if before {
		b = append(b, 0)
	}
	b = append(b, p...)
	if after {
		b = append(b, 0)
	}
	return b
}
