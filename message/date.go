package message

import (
	"bytes"
	"time"
)

// dateReader gathers what the words of a date say.
type dateReader struct {
	year, month, day       int
	hour, minute, second   int
	offset                 int // seconds east of UTC
	hasYear, hasTime, zone bool
	pm, am                 bool
}

// ParseDate reads the date of a header field: RFC 5322 §3.3 with the obsolete
// zones and years of §4.3, without or with weekday, seconds and comments, and
// the orders of asctime and ISO 8601. As RFC 5256 §2.2 wants, a zone that makes no
// sense is UTC and a time that makes none is 00:00:00; ok is false when there is
// no valid day. The time keeps the zone of the field, so that t.Date() is the
// day that IMAP's SENTON means.
func ParseDate(value []byte) (t time.Time, ok bool) {
	l := lexer{b: value}
	var d dateReader
	for words := 0; words < 16; words++ {
		for l.space(); l.peek() == ',' || l.peek() == ';'; l.space() {
			l.i++
		}
		if l.end() {
			break
		}
		at := l.i
		if w := l.until(",;("); len(w) > 0 {
			d.word(w)
		}
		if l.i == at {
			l.i++
		}
	}
	return d.time()
}

func (d *dateReader) time() (t time.Time, ok bool) {
	if d.month == 0 || d.day == 0 || !d.hasYear || d.year < 1 || d.year > 9999 {
		return t, false
	}
	if d.pm && d.hour < 12 {
		d.hour += 12
	} else if d.am && d.hour == 12 {
		d.hour = 0
	}
	if d.hour > 23 || d.minute > 59 || d.second > 60 {
		d.hour, d.minute, d.second = 0, 0, 0
	}
	zone := time.UTC
	if d.offset != 0 {
		zone = time.FixedZone("", d.offset)
	}
	if t = time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, zone); t.Day() != d.day {
		return time.Time{}, false // 31 February
	}
	return time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, d.second, 0, zone), true
}

func (d *dateReader) word(w []byte) {
	switch c := w[0]; {
	case c >= '0' && c <= '9' && bytes.IndexByte(w, ':') > 0 && bytes.IndexByte(w[:min(5, len(w))], '-') < 0:
		d.clock(w)
	case (c == '+' || c == '-') && len(w) > 1:
		d.numericZone(w)
	case c >= '0' && c <= '9':
		d.digits(w)
	default:
		d.name(w)
	}
}

// digits reads a day, a year, or both with a month: 2, 2006, 2-Jan-2006, 2006-01-02T….
func (d *dateReader) digits(w []byte) {
	n, rest := number(w)
	width := len(w) - len(rest)
	if len(rest) > 1 && (rest[0] == '-' || rest[0] == '/' || rest[0] == '.') && d.day == 0 {
		month, rest2 := number(rest[1:])
		if len(rest2) == len(rest)-1 {
			if len(rest2) >= 3 {
				month = monthOf(rest2[:3])
				rest2 = rest2[3:]
			}
		}
		if month == 0 || len(rest2) < 2 {
			return
		}
		last, tail := number(rest2[1:])
		if width == 4 {
			d.setYear(n, 4)
			n = last
		} else {
			d.setYear(last, len(rest2)-1-len(tail))
		}
		if month <= 12 && n >= 1 && n <= 31 {
			d.month, d.day = month, n
		}
		if len(tail) > 1 && (tail[0] == 'T' || tail[0] == 't') {
			d.clock(tail[1:])
		}
		return
	}
	switch {
	case width <= 2 && d.day == 0:
		if n >= 1 && n <= 31 {
			d.day = n
		}
		if len(rest) >= 3 { // "2Jan2006", or "2nd"
			if m := monthOf(rest[:3]); m > 0 {
				d.month = m
				if y, tail := number(rest[3:]); len(tail) < len(rest)-3 {
					d.setYear(y, len(rest)-3-len(tail))
				}
			}
		}
	case !d.hasYear:
		d.setYear(n, width)
	}
}

// setYear takes a year of the given number of digits (RFC 5322 §4.3).
func (d *dateReader) setYear(n, width int) {
	switch {
	case width < 2 || width > 4 || d.hasYear:
		return
	case width == 2 && n < 50:
		n += 2000
	case width <= 3:
		n += 1900
	}
	d.year, d.hasYear = n, true
}

// clock reads hour ":" minute [":" second ["." fraction]] [zone].
func (d *dateReader) clock(w []byte) {
	if d.hasTime {
		return
	}
	d.hasTime = true
	var part [3]int
	for i := range part {
		n, rest := number(w)
		if len(rest) == len(w) {
			return
		}
		part[i], w = n, rest
		if len(w) == 0 || w[0] != ':' {
			break
		}
		w = w[1:]
	}
	d.hour, d.minute, d.second = part[0], part[1], part[2]
	if len(w) > 1 && (w[0] == '.' || w[0] == ',') {
		_, w = number(w[1:])
	}
	if len(w) == 0 {
		return
	}
	if w[0] == '+' || w[0] == '-' {
		d.numericZone(w)
	} else {
		d.name(w)
	}
}

// numericZone reads "+hhmm" and "+hh:mm". Out of range it is UTC.
func (d *dateReader) numericZone(w []byte) {
	if d.zone {
		return
	}
	d.zone = true
	n, digits := 0, 0
	for _, c := range w[1:] {
		if c == ':' {
			continue
		}
		if c < '0' || c > '9' || digits == 4 {
			return
		}
		n, digits = n*10+int(c-'0'), digits+1
	}
	if digits <= 2 {
		n *= 100
	}
	if n/100 > 23 || n%100 > 59 {
		return
	}
	d.offset = n/100*3600 + n%100*60
	if w[0] == '-' {
		d.offset = -d.offset
	}
}

// name reads a month, a zone or AM and PM; weekdays say nothing new.
func (d *dateReader) name(w []byte) {
	if m := monthOf(w[:min(3, len(w))]); m > 0 && d.month == 0 {
		d.month = m
		return
	}
	var buf [4]byte
	n := 0
	for n < len(w) && n < len(buf) && (w[n]|0x20) >= 'a' && (w[n]|0x20) <= 'z' {
		buf[n] = lower(w[n])
		n++
	}
	switch string(buf[:n]) {
	case "am":
		d.am = true
	case "pm":
		d.pm = true
	}
	if d.zone {
		return
	}
	hours, ok := 0, true
	switch string(buf[:n]) { // RFC 5322 §4.3
	case "ut", "utc", "gmt", "z", "wet":
	case "est", "cdt":
		hours = -5
	case "edt", "ast":
		hours = -4
	case "cst", "mdt":
		hours = -6
	case "mst", "pdt":
		hours = -7
	case "pst":
		hours = -8
	case "cet", "met", "bst":
		hours = 1
	case "cest", "mest", "eet":
		hours = 2
	case "jst":
		hours = 9
	default:
		ok = false // among them the military zones, whose signs nobody can know
	}
	if ok && len(w) > n && (w[n] == '+' || w[n] == '-') { // "GMT+0100"
		d.numericZone(w[n:])
	} else if ok {
		d.zone, d.offset = true, hours*3600
	}
}

func monthOf(w []byte) int {
	for i, m := range [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"} {
		if equalFold(w, m) {
			return i + 1
		}
	}
	return 0
}

// number reads at most nine digits.
func number(w []byte) (n int, rest []byte) {
	i := 0
	for i < len(w) && i < 9 && w[i] >= '0' && w[i] <= '9' {
		n = n*10 + int(w[i]-'0')
		i++
	}
	return n, w[i:]
}
