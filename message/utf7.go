package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// utf7 decodes UTF-7 (RFC 2152). There is no encoder: nobody should make more of it.
type utf7 struct{}

func (utf7) NewDecoder() *encoding.Decoder {
	return &encoding.Decoder{Transformer: new(utf7Decoder)}
}

func (utf7) NewEncoder() *encoding.Encoder {
	return &encoding.Encoder{Transformer: transform.Discard}
}

// utf7Decoder holds the bits of a base64 run and a surrogate that waits for its pair.
type utf7Decoder struct {
	shifted bool
	empty   bool // nothing came since "+"
	bits    uint32
	n       uint
	high    rune
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 3*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += len(d.octet(dst[nDst:nDst], src[nSrc]))
		nSrc++
	}
	if atEOF && d.shifted {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += len(d.unpaired(dst[nDst:nDst]))
		d.shifted = false
	}
	return nDst, nSrc, nil
}

// octet appends what the next octet completes.
func (d *utf7Decoder) octet(out []byte, c byte) []byte {
	if !d.shifted {
		switch {
		case c == '+':
			d.shifted, d.empty, d.bits, d.n = true, true, 0, 0
		case c < utf8.RuneSelf:
			out = append(out, c)
		default:
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		return out
	}
	if v := base64Values[c]; v < 64 {
		d.empty = false
		d.bits, d.n = d.bits<<6|uint32(v), d.n+6
		if d.n >= 16 {
			d.n -= 16
			out = d.unit(out, rune(d.bits>>d.n&0xffff))
		}
		return out
	}
	out = d.unpaired(out)
	d.shifted = false
	switch {
	case c == '-' && d.empty:
		return append(out, '+')
	case c == '-':
		return out
	}
	return d.octet(out, c) // not shifted any more: this goes one level deep
}

// unit appends a UTF-16 code unit.
func (d *utf7Decoder) unit(out []byte, r rune) []byte {
	if d.high != 0 {
		high := d.high
		d.high = 0
		if pair := utf16.DecodeRune(high, r); pair != utf8.RuneError {
			return utf8.AppendRune(out, pair)
		}
		out = utf8.AppendRune(out, utf8.RuneError)
	}
	if 0xd800 <= r && r < 0xdc00 {
		d.high = r
		return out
	}
	return utf8.AppendRune(out, r)
}

func (d *utf7Decoder) unpaired(out []byte) []byte {
	if d.high != 0 {
		d.high = 0
		return utf8.AppendRune(out, utf8.RuneError)
	}
	return out
}
