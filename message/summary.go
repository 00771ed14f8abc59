package message

import (
	"bytes"
	"strings"
	"time"
)

// maxReferences is how many message ids a summary keeps of one field: the
// newest, which stand last.
const maxReferences = 200

// Summary is what a mailbox keeps of a header for threads, sorting and searching.
// The fields that need decoding are decoded when asked for: they point into the
// header given to [Summarize].
type Summary struct {
	// MessageID without angle brackets; empty when missing.
	MessageID string
	// InReplyTo are the ids of that field.
	InReplyTo []string
	// References are the ancestors, oldest first: of the field References or, when it
	// has none, the first id of In-Reply-To (RFC 5256 §3).
	References []string
	// Base is the base subject (RFC 5256 §2.1); Reply tells that the subject has the
	// marks of a reply or forward.
	Base  string
	Reply bool
	// Sent is the date of the message in its own zone; zero when there is none,
	// where RFC 5256 §2.2 takes INTERNALDATE.
	Sent time.Time

	subject, from, sender, replyTo []byte
	to, cc, bcc                    [][]byte
}

// Summarize reads a raw header.
func Summarize(header []byte) *Summary {
	s := new(Summary)
	seen := uint32(0)
	var references []string
	for f := range Fields(header) {
		bit := sawBit(f.Name)
		switch bit {
		case sawTo:
			s.to = append(s.to, f.Value)
		case sawCc:
			s.cc = append(s.cc, f.Value)
		case sawBcc:
			s.bcc = append(s.bcc, f.Value)
		}
		if bit == 0 || seen&bit != 0 {
			continue // the first one counts
		}
		seen |= bit
		switch bit {
		case sawSubject:
			s.subject = f.Value
		case sawFrom:
			s.from = f.Value
		case sawSender:
			s.sender = f.Value
		case sawReplyTo:
			s.replyTo = f.Value
		case sawDate:
			s.Sent, _ = ParseDate(f.Value)
		case sawMessageID:
			s.MessageID = messageID(f.Value)
		case sawInReplyTo:
			s.InReplyTo = ParseMessageIDs(f.Value, maxReferences)
		case sawReferences:
			references = ParseMessageIDs(f.Value, maxReferences)
		}
	}
	if s.References = references; len(references) == 0 && len(s.InReplyTo) > 0 {
		s.References = s.InReplyTo[:1]
	}
	s.Base, s.Reply = BaseSubject(s.Subject())
	return s
}

// Subject returns the decoded subject.
func (s *Summary) Subject() string { return DecodeHeader(s.subject) }

// From returns the authors.
func (s *Summary) From() []Address { return ParseAddressList(s.from, 0) }

// Sender returns the sender; empty when the field is missing.
func (s *Summary) Sender() []Address { return ParseAddressList(s.sender, 0) }

// ReplyTo returns where replies go; empty when the field is missing.
func (s *Summary) ReplyTo() []Address { return ParseAddressList(s.replyTo, 0) }

// To returns the addresses of all To fields.
func (s *Summary) To() []Address { return addresses(s.to) }

// Cc returns the addresses of all Cc fields.
func (s *Summary) Cc() []Address { return addresses(s.cc) }

// Bcc returns the addresses of all Bcc fields.
func (s *Summary) Bcc() []Address { return addresses(s.bcc) }

func addresses(values [][]byte) (out []Address) {
	var lim Limits
	left := lim.withDefaults().Addresses
	for _, v := range values {
		if left <= len(out) {
			break
		}
		out = append(out, ParseAddressList(v, left-len(out))...)
	}
	return out
}

// messageID reads a Message-ID field, which some senders write without brackets.
func messageID(value []byte) string {
	if ids := ParseMessageIDs(value, 1); len(ids) > 0 {
		return ids[0]
	}
	if v := Unfold(value); bytes.IndexByte(v, '@') > 0 && !bytes.ContainsAny(v, " \t<>") {
		return string(v)
	}
	return ""
}

// ParseMessageIDs reads the message ids of References, In-Reply-To or
// Message-ID, without angle brackets, comments, white space and needless quotes
// (RFC 5256 §3 compares them so). What stands between them is passed over (RFC
// 5322 §4.5.4). Of more than max, zero for 200, it returns the last ones.
func ParseMessageIDs(value []byte, max int) []string {
	or(&max, maxReferences)
	var out []string
	for {
		end := bytes.IndexByte(value, '>')
		if end < 0 {
			break
		}
		id := value[:end]
		value = value[end+1:]
		if start := bytes.LastIndexByte(id, '<'); start >= 0 {
			if s := normalID(id[start+1:]); s != "" {
				out = append(out, s)
			}
		}
	}
	return out[len(out)-min(len(out), max):]
}

// normalID takes white space and the quotes of a quoted-string away.
func normalID(b []byte) string {
	if !bytes.ContainsAny(b, " \t\r\n\"\\") {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(b):
			i++
			out = append(out, b[i])
		case !isSpace(c):
			out = append(out, c)
		}
	}
	return string(out)
}

// BaseSubject returns the base subject of a decoded subject, by the steps of
// RFC 5256 §2.1, and whether it was one of a reply or forward (§3).
func BaseSubject(subject string) (base string, reply bool) {
	s := strings.Join(strings.FieldsFunc(subject, func(r rune) bool { return r < 128 && isSpace(byte(r)) }), " ")
	for {
		// (2) trailers
		for {
			s = strings.TrimRight(s, " ")
			t, ok := cutSuffixFold(s, "(fwd)")
			if !ok {
				break
			}
			s, reply = t, true
		}
		// (3) to (5): leaders, and blobs as long as something is left
		for {
			s = strings.TrimLeft(s, " ")
			blobs, last := cutBlobs(s)
			if t, ok := cutRefwd(blobs); ok {
				s, reply = t, true
				continue
			}
			if blobs != "" {
				s = blobs
			} else {
				s = last
			}
			break
		}
		// (6)
		t, ok := cutPrefixFold(s, "[fwd:")
		if !ok || !strings.HasSuffix(t, "]") {
			return s, reply
		}
		s, reply = t[:len(t)-1], true
	}
}

// cutBlobs takes all subj-blobs off the front; last is s from the last of
// them on, which is the base when nothing follows.
func cutBlobs(s string) (rest, last string) {
	rest, last = s, s
	for {
		t, ok := cutBlob(rest)
		if !ok {
			return rest, last
		}
		rest, last = t, rest
	}
}

func cutBlob(s string) (string, bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	n := strings.IndexAny(s[1:], "[]")
	if n < 0 || s[1+n] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[n+2:], " "), true
}

// cutRefwd takes subj-refwd off the front.
func cutRefwd(s string) (string, bool) {
	t, ok := cutPrefixFold(s, "re")
	if !ok {
		if t, ok = cutPrefixFold(s, "fwd"); !ok {
			if t, ok = cutPrefixFold(s, "fw"); !ok {
				return s, false
			}
		}
	}
	t = strings.TrimLeft(t, " ")
	t, _ = cutBlob(t)
	return strings.CutPrefix(t, ":")
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func cutSuffixFold(s, suffix string) (string, bool) {
	n := len(s) - len(suffix)
	if n < 0 || !strings.EqualFold(s[n:], suffix) {
		return s, false
	}
	return s[:n], true
}
