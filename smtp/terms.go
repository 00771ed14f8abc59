package smtp

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// The parameters that become Terms, and those like them.

var (
	replyHold       = &Reply{501, "5.5.4", "Cannot hold the message until then"}
	replyByTime     = &Reply{501, "5.5.4", "Time to return a message must be in the future"}
	replyByMin      = &Reply{555, "5.5.4", "Deliver-by time is below the minimum"}
	replyNoPriority = &Reply{250, "2.3.6", "0 is the priority, as only known clients may raise it"}
)

// maxInterval is what 9 digits of seconds hold (RFC 2852 §4, RFC 4865 §3).
const maxInterval = 999_999_999 * time.Second

// parseInterval reads 1*9DIGIT of seconds.
func parseInterval(s string) (time.Duration, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	n := time.Duration(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + time.Duration(s[i]-'0')
	}
	return n * time.Second, true
}

// readHoldFor is RFC 4865 §3, §4.2: from 1 s up, without leading zero.
func readHoldFor(v string, ext *extensions, o *MailOptions) *Reply {
	d, good := parseInterval(v)
	if !good || v[0] == '0' {
		return replyParamSyntax
	}
	if d > ext.holdFor {
		return replyHold
	}
	o.HoldUntil = ext.now.Add(d)
	return nil
}

// readHoldUntil is RFC 4865 §3, §4.2: a date in UTC, in the future and not
// later than EHLO told.
func readHoldUntil(v string, ext *extensions, o *MailOptions) *Reply {
	t, _, good := parseDateTime(v)
	if !good || v[len(v)-1]|0x20 != 'z' {
		return replyParamSyntax
	}
	if !t.After(ext.now) || t.After(ext.holdUntil) {
		return replyHold
	}
	o.HoldUntil = t
	return nil
}

// readDeliverBy is by-time ";" by-mode [by-trace] (RFC 2852 §4).
func readDeliverBy(v string, ext *extensions, o *MailOptions) *Reply {
	number, mode, _ := strings.Cut(v, ";")
	digits := strings.TrimPrefix(strings.TrimPrefix(number, "+"), "-")
	d, good := parseInterval(digits)
	if !good || len(number) > len(digits)+1 {
		return replyParamSyntax
	}
	if number[0] == '-' {
		d = -d
	}
	switch strings.ToUpper(mode) {
	case "N":
	case "NT":
		o.DeliverByTrace = true
	case "R":
		o.DeliverByReturn = true
	case "RT":
		o.DeliverByReturn, o.DeliverByTrace = true, true
	default:
		return replyParamSyntax
	}
	switch {
	case o.DeliverByReturn && d <= 0:
		return replyByTime
	case o.DeliverByReturn && d < ext.deliverByMin:
		return replyByMin
	}
	o.DeliverBy = ext.now.Add(d)
	return nil
}

// readPriority is ["-"] NZDIGIT or "0" (RFC 6710 §7). Those who are not known
// may only lower it (§4.1).
func readPriority(v string, ext *extensions, o *MailOptions) *Reply {
	n, err := strconv.ParseInt(v, 10, 8)
	if err != nil || n < -9 || n > 9 || v != strconv.FormatInt(n, 10) {
		return replyParamSyntax
	}
	if n > 0 && !ext.raise {
		ext.lowered, n = true, 0
	}
	o.Priority = int8(n)
	return nil
}

// readSolicit is a list of classes, together below 1000 octets (RFC 3865 §2.2).
// One that EHLO told to be unwanted refuses the message, with those words.
func readSolicit(v string, ext *extensions, o *MailOptions) *Reply {
	if len(v) >= 1000 {
		return replyParamSyntax
	}
	o.Solicit = strings.Split(v, ",")
	for _, class := range o.Solicit {
		if !isSolicitClass(class) {
			return replyParamSyntax
		}
	}
	for _, class := range ext.unwanted {
		if slices.ContainsFunc(o.Solicit, func(s string) bool { return strings.EqualFold(s, class) }) {
			return &Reply{550, "5.7.1", "SOLICIT=" + strings.Join(ext.unwanted, ",")} // RFC 3865 §2.4
		}
	}
	return nil
}

// isSolicitClass is "word" of RFC 3865 §2.2.
func isSolicitClass(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && (i == 0 || strings.IndexByte(".-_:", c) < 0) || i == 0 && c <= '9' {
			return false
		}
	}
	return s != ""
}

// readValidSince is date-time without fraction, and what to do where a later
// hop does not support it (RFC 7293 §3.1).
func readValidSince(v string, to *postino.Recipient) *Reply {
	date, action, more := strings.Cut(v, ";")
	t, fraction, good := parseDateTime(date)
	if !good || fraction || more && !strings.EqualFold(action, "C") && !strings.EqualFold(action, "R") {
		return replyParamSyntax
	}
	to.ValidSince, to.ValidSinceContinue = t, strings.EqualFold(action, "C")
	return nil
}

// parseDateTime reads date-time of RFC 3339 §5.6, whose shape package time does
// not insist on, and tells whether the seconds have a fraction.
func parseDateTime(s string) (t time.Time, fraction, ok bool) {
	const shape = "0000-00-00T00:00:00"
	if len(s) <= len(shape) || len(s) > 40 {
		return t, false, false
	}
	s = strings.ToUpper(s)
	for i := range len(shape) {
		digit := '0' <= s[i] && s[i] <= '9'
		if digit != (shape[i] == '0') || !digit && s[i] != shape[i] {
			return t, false, false
		}
	}
	if s[len(shape)] == ',' || s[len(s)-1] != 'Z' && (s[len(s)-5:len(s)-3] > "23" || s[len(s)-2:] > "59") {
		return t, false, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UTC(), s[len(shape)] == '.', err == nil
}
