package wire

import (
	"strconv"
	"time"
)

// quotedMax is the longest string that is printed quoted; longer ones go as
// literals, so that no client's line buffer overflows.
const quotedMax = 1000

// AppendString prints a string quoted, or as a literal when it holds octets that a
// quoted string cannot. With utf8 set, UTF-8 may stand in quotes (RFC 9051 §4.3).
func AppendString(dst []byte, s string, utf8 bool) []byte {
	if len(s) > quotedMax || !quotable(s, utf8) {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// AppendAString prints a string as an atom where that is possible and plain.
func AppendAString(dst []byte, s string, utf8 bool) []byte {
	if s == "" || len(s) > quotedMax {
		return AppendString(dst, s, utf8)
	}
	for i := range len(s) {
		if class[s[i]]&classAtom == 0 {
			return AppendString(dst, s, utf8)
		}
	}
	if len(s) == 3 && s[0]|0x20 == 'n' && s[1]|0x20 == 'i' && s[2]|0x20 == 'l' {
		return AppendString(dst, s, utf8) // as an atom it would be nothing
	}
	return append(dst, s...)
}

func quotable(s string, utf8 bool) bool {
	for i := range len(s) {
		c := s[i]
		if c == 0 || c == '\r' || c == '\n' || c >= 0x80 && !utf8 {
			return false
		}
	}
	return true
}

// IsAtom tells whether s can stand as an atom, as keywords must.
func IsAtom(s string) bool {
	for i := range len(s) {
		if class[s[i]]&classAtom == 0 {
			return false
		}
	}
	return s != ""
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// AppendDateTime prints a date-time in quotes (RFC 9051 §9); t's own zone is shown.
func AppendDateTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	offset /= 60
	d10 := byte(day / 10)
	if d10 == 0 {
		d10 = ' '
	} else {
		d10 += '0'
	}
	m := 3 * (int(month) - 1)
	year = min(max(year, 0), 9999)
	return append(dst, '"', d10, digit(day), '-', months[m], months[m+1], months[m+2], '-',
		digit(year/1000), digit(year/100), digit(year/10), digit(year), ' ',
		digit(hour/10), digit(hour), ':', digit(minute/10), digit(minute), ':', digit(second/10), digit(second), ' ',
		sign, digit(offset/600), digit(offset/60), digit(offset/10%6), digit(offset), '"')
}

func digit(n int) byte { return '0' + byte(n%10) }

// DateTime reads a date-time in quotes; a day of one digit may come with or
// without its space.
func (p *Parser) DateTime() (time.Time, error) {
	s, err := p.quotedField()
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", s)
	if err != nil || t.Year() < 1 {
		return time.Time{}, syntax("Malformed date-time")
	}
	return t, nil
}

// Date reads a date, with or without quotes, as midnight UTC.
func (p *Parser) Date() (time.Time, error) {
	var s string
	var err error
	if p.Peek() == '"' {
		s, err = p.quotedField()
	} else {
		var a []byte
		a, err = p.Atom()
		s = string(a)
	}
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse("2-Jan-2006", s)
	if err != nil {
		return time.Time{}, syntax("Malformed date")
	}
	return t, nil
}

func (p *Parser) quotedField() (string, error) {
	if p.Peek() != '"' {
		return "", syntax("Expected a date in quotes")
	}
	return p.quoted()
}
