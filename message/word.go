package message

import (
	"bytes"
	"unicode/utf8"
)

// maxCharset is the longest charset name that an encoded word may have.
const maxCharset = 64

// DecodeHeader returns an unstructured field value or a phrase as UTF-8 text on
// one line, with its encoded words decoded (RFC 2047). It is more tolerant than
// the standard where senders err: words stuck to text, sloppy base64, characters
// cut between words, white space inside words. A word with an unknown charset
// stays as it is; octets that are no UTF-8 are taken for what they most likely are.
func DecodeHeader(value []byte) string { return string(DecodeHeaderBytes(value)) }

// DecodeHeaderBytes is [DecodeHeader] for octets; the result may be value itself.
func DecodeHeaderBytes(value []byte) []byte {
	v := Unfold(value)
	if bytes.IndexByte(v, '\r') >= 0 || bytes.IndexByte(v, 0) >= 0 {
		v = appendOneLine(nil, v)
	}
	if !bytes.Contains(v, []byte("=?")) && utf8.Valid(v) {
		return v
	}
	return appendWords(make([]byte, 0, len(v)+len(v)/2), v, maxWords)
}

// word is an encoded word, cut but not decoded.
type word struct {
	charset []byte
	base64  bool
	text    []byte
	size    int // octets of the whole word
}

// parseWord reads the encoded word that begins at b, which starts with "=?".
// What it scans in vain ends before the next "=?", so that the search stays linear.
func parseWord(b []byte) (w word, ok bool) {
	rest := b[2:]
	n := bytes.IndexByte(rest[:min(len(rest), maxCharset)], '?')
	if n < 1 || len(rest) < n+4 || rest[n+2] != '?' {
		return w, false
	}
	w.charset = rest[:n]
	if bytes.ContainsAny(w.charset, " \t=") {
		return w, false
	}
	if i := bytes.IndexByte(w.charset, '*'); i > 0 {
		w.charset = w.charset[:i] // a language follows (RFC 2231 §5)
	}
	switch lower(rest[n+1]) {
	case 'b':
		w.base64 = true
	case 'q':
	default:
		return w, false
	}
	text := rest[n+3:]
	for i := 0; ; i++ {
		k := bytes.IndexByte(text[i:], '?')
		if k < 0 || i+k+1 >= len(text) {
			return w, false
		}
		i += k
		if text[i+1] == '=' {
			w.text, w.size = text[:i], 2+n+3+i+2
			return w, true
		}
		if i > 0 && text[i-1] == '=' {
			return w, false // the next word begins here
		}
	}
}

// decode appends what the word stands for, in its charset.
func (w *word) decode(dst []byte) []byte {
	if w.base64 {
		return appendBase64(dst, w.text)
	}
	for i := 0; i < len(w.text); i++ {
		switch c := w.text[i]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && i+2 < len(w.text) && unhex(w.text[i+1]) >= 0 && unhex(w.text[i+2]) >= 0:
			dst = append(dst, byte(unhex(w.text[i+1])<<4|unhex(w.text[i+2])))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendWords appends the text with at most limit words decoded.
func appendWords(dst, b []byte, limit int) []byte {
	var raw, charset []byte // decoded octets of the words in a row, and their charset
	flush := func() {
		if len(raw) > 0 {
			dst = appendOneLine(dst, AppendUTF8(nil, string(charset), raw))
			raw = raw[:0]
		}
	}
	for inRow := false; len(b) > 0; {
		// The text before the next word; a "=?" that begins none belongs to it.
		var w word
		ok := false
		n := 0
		for !ok {
			k := bytes.Index(b[n:], []byte("=?"))
			if k < 0 || limit <= 0 {
				n = len(b)
				break
			}
			n += k
			if w, ok = parseWord(b[n:]); ok && !KnownCharset(string(w.charset)) {
				ok = false
				n += w.size - 2
			}
			if !ok {
				n += 2
			}
		}
		// White space between two words is not text (RFC 2047 §6.2).
		if gap := b[:n]; !ok || !inRow || len(trimSpace(gap)) > 0 {
			flush()
			dst = AppendUTF8(dst, "", gap)
		}
		if !ok {
			break
		}
		if len(raw) > 0 && !bytes.EqualFold(charset, w.charset) {
			flush()
		}
		charset = w.charset
		raw = w.decode(raw)
		b = b[n+w.size:]
		inRow = true
		limit--
	}
	flush()
	return dst
}

// appendOneLine appends text with line ends and other controls made spaces: an
// encoded word must not bring in what a header line could not hold.
func appendOneLine(dst, text []byte) []byte {
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}
