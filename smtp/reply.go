package smtp

import (
	"errors"
	"strings"

	"github.com/postino-mail/postino"
)

// Reply is what the server answers: code, enhanced code and text (RFC 5321
// §4.2, RFC 2034 §4). As an error it is what a [Session] wants to be said.
type Reply struct {
	// Code is 2yz to 5yz. 421 and 521 close the connection after the reply.
	Code int
	// Enhanced is "class.subject.detail" of RFC 3463, class equal to the first
	// digit of Code; empty for greetings and for replies that have none (3yz,
	// HELO and EHLO). Empty on an error reply means class.0.0.
	Enhanced string
	// Text is for people; "\n" separates lines. Octets that may not stand in a
	// reply are replaced when it is written.
	Text string
}

// Error makes a Reply usable as an error.
func (r *Reply) Error() string { return strings.TrimRight(string(r.appendTo(nil)), "\r\n") }

// success tells whether the command was carried out.
func (r *Reply) success() bool { return r.Code >= 200 && r.Code < 300 }

// closes tells whether the connection ends with this reply (RFC 5321 §3.8,
// RFC 7504 §2).
func (r *Reply) closes() bool { return r.Code == 421 || r.Code == 521 }

// maxReplyLine is what one line holds at most, CRLF included (RFC 5321
// §4.5.3.1.5).
const maxReplyLine = 512

// appendTo writes the reply with its CRLFs; a code outside 200..559 would
// break the dialogue and becomes 451.
func (r *Reply) appendTo(dst []byte) []byte {
	code, enh := r.Code, r.Enhanced
	if code < 200 || code > 559 {
		code, enh = 451, "4.3.0"
	}
	if class := byte('0' + code/100); code >= 400 && enh == "" || enh != "" && enh[0] != class {
		enh = string(class) + ".0.0" // RFC 3463 §2: the class agrees with the code
	}
	text := r.Text
	for {
		line, rest, more := strings.Cut(text, "\n")
		dst = append(dst, byte('0'+code/100), byte('0'+code/10%10), byte('0'+code%10))
		if more {
			dst = append(dst, '-')
		} else {
			dst = append(dst, ' ')
		}
		room := maxReplyLine - 6
		if enh != "" {
			dst = append(append(dst, enh...), ' ')
			room -= len(enh) + 1
		}
		dst = append(appendText(dst, line, room), '\r', '\n')
		if !more {
			return dst
		}
		text = rest
	}
}

// appendText copies at most room octets of s as printable ASCII: whatever else
// a text holds could forge a line or confuse a terminal (G6).
func appendText(dst []byte, s string, room int) []byte {
	for i := range min(len(s), room) {
		if c := s[i]; c >= ' ' && c <= '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '?')
		}
	}
	return dst
}

// kinds is the one table from error kind to reply.
var kinds = [...]Reply{
	postino.Internal:  {451, "4.3.0", "Local error in processing"},
	postino.Invalid:   {550, "5.0.0", "Request not acceptable"},
	postino.NotFound:  {550, "5.1.1", "Mailbox unavailable"},
	postino.Denied:    {550, "5.7.1", "Not permitted"},
	postino.Full:      {452, "4.3.1", "Insufficient system storage"},
	postino.Conflict:  {451, "4.3.0", "Try again later"},
	postino.Transient: {451, "4.3.0", "Try again later"},
	postino.Corrupt:   {451, "4.3.0", "Local error in processing"},
}

// ReplyFor turns an error of a Session into the reply that is sent: a *Reply
// in its chain is taken as it is, else its [postino.Kind] decides.
func ReplyFor(err error) *Reply {
	var r *Reply
	if errors.As(err, &r) {
		return r
	}
	k := postino.KindOf(err)
	if int(k) >= len(kinds) {
		k = postino.Internal
	}
	return &kinds[k]
}
