package mailauth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"time"
)

// tag is one of a tag list (RFC 6376 §3.2): its value without white space around,
// and where what stands between "=" and ";" lies in the list.
type tag struct {
	name       string
	value      []byte
	start, end int
}

type tagList []tag

const maxTags = 64

var (
	errTagSyntax = errors.New("the tag list is malformed")
	errTagTwice  = errors.New("a tag appears twice")
	errTagMany   = errors.New("too many tags")
)

const fws = " \t\r\n"

// parseTags reads a tag list.
func parseTags(b []byte) (tagList, error) {
	var list tagList
	for at := 0; at < len(b); {
		end := len(b)
		if i := bytes.IndexByte(b[at:], ';'); i >= 0 {
			end = at + i
		}
		spec := b[at:end]
		if len(bytes.Trim(spec, fws)) == 0 {
			// Only the last ";" may have nothing behind it.
			if len(bytes.Trim(b[at:], fws)) == 0 {
				break
			}
			return nil, errTagSyntax
		}
		eq := bytes.IndexByte(spec, '=')
		if eq < 0 {
			return nil, errTagSyntax
		}
		name := bytes.Trim(spec[:eq], fws)
		if !tagName(name) {
			return nil, errTagSyntax
		}
		if len(list) == maxTags {
			return nil, errTagMany
		}
		if _, twice := list.get(string(name)); twice {
			return nil, errTagTwice // RFC 6376 §3.2: invalid as a whole
		}
		list = append(list, tag{string(name), bytes.Trim(spec[eq+1:], fws), at + eq + 1, end})
		at = end + 1
	}
	return list, nil
}

func tagName(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= lower(c) && lower(c) <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(b) > 0
}

func (l tagList) get(name string) (value []byte, ok bool) {
	for i := range l {
		if l[i].name == name {
			return l[i].value, true
		}
	}
	return nil, false
}

// text is the value of a tag, or def when it is absent.
func (l tagList) text(name, def string) string {
	if v, ok := l.get(name); ok {
		return string(v)
	}
	return def
}

// list splits a value at colons.
func (l tagList) list(name string) []string {
	v, ok := l.get(name)
	if !ok {
		return nil
	}
	var items []string
	for item := range bytes.SplitSeq(v, []byte{':'}) {
		items = append(items, string(bytes.Trim(item, fws)))
	}
	return items
}

// base64 decodes a value in which white space may be anywhere (RFC 6376 §2.10).
func (l tagList) base64(name string) ([]byte, error) {
	v, _ := l.get(name)
	v = withoutSpace(v)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(v)))
	n, err := base64.StdEncoding.Strict().Decode(out, v)
	return out[:n], err
}

func withoutSpace(v []byte) []byte {
	if !bytes.ContainsAny(v, fws) {
		return v
	}
	out := make([]byte, 0, len(v))
	for _, b := range v {
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			out = append(out, b)
		}
	}
	return out
}

// number reads a decimal number of at most 18 digits; -1 when it is absent.
func (l tagList) number(name string) (int64, error) {
	v, ok := l.get(name)
	if !ok {
		return -1, nil
	}
	for _, b := range v {
		if b < '0' || b > '9' {
			return 0, errTagSyntax
		}
	}
	if len(v) > 18 {
		return 0, errTagSyntax
	}
	return strconv.ParseInt(string(v), 10, 64)
}

// time reads seconds since 1970; the zero time when it is absent. Twelve digits
// are what RFC 6376 §3.5 asks to be understood.
func (l tagList) time(name string) (time.Time, error) {
	n, err := l.number(name)
	if err != nil || n < 0 {
		return time.Time{}, err
	}
	return time.Unix(min(n, 1e12-1), 0).UTC(), nil
}
