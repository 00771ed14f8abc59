package mailauth

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/postino-mail/postino/message"
)

// header is a raw header with a chain of fields for each name, from the last to
// the first: signatures name them in that order (RFC 6376 §5.4.2).
type header struct {
	fields []headerField
	last   map[string]int // by name in lower case
	// fault tells why a signature of this header proves nothing: programs may read
	// it in different ways. Empty when there is nothing.
	fault string
}

type headerField struct {
	message.Field
	prev int // the field of this name before it, or -1
}

// parseHeader reads a raw header of at most max fields.
func parseHeader(raw []byte, max int) *header {
	h := &header{last: make(map[string]int, 32)}
	for f := range message.Fields(raw) {
		if len(h.fields) == max {
			h.fault = "the header has too many fields"
			break
		}
		h.fault = cmp.Or(h.fault, fieldFault(&f))
		hf := headerField{f, -1}
		key := strings.ToLower(string(f.Name))
		if i, ok := h.last[key]; ok {
			hf.prev = i
		}
		h.last[key] = len(h.fields)
		h.fields = append(h.fields, hf)
	}
	if h.count("from") > 1 {
		h.fault = cmp.Or(h.fault, "the message has several From fields") // RFC 5322 §3.6
	}
	return h
}

// fieldFault tells what is wrong with a field; "" when nothing is.
func fieldFault(f *message.Field) string {
	if len(f.Name) == 0 {
		return "the header has a line that is no field"
	}
	if bytes.IndexByte(f.Raw, 0) >= 0 {
		return "the header has a NUL"
	}
	for rest := f.Raw; ; {
		i := bytes.IndexByte(rest, '\r')
		if i < 0 {
			return ""
		}
		if i+1 == len(rest) || rest[i+1] != '\n' {
			return "the header has a CR that ends no line"
		}
		rest = rest[i+1:]
	}
}

// at is the position of the last field of a name in lower case, -1 without one.
func (h *header) at(name string) int {
	if i, ok := h.last[name]; ok {
		return i
	}
	return -1
}

func (h *header) count(name string) int {
	n := 0
	for i := h.at(name); i >= 0; i = h.fields[i].prev {
		n++
	}
	return n
}

// all returns the positions of the fields of a name, from the top, at most max.
func (h *header) all(name string, max int) (list []int, more bool) {
	n := h.count(name)
	for i := h.at(name); i >= 0; i = h.fields[i].prev {
		list = append(list, i)
	}
	slices.Reverse(list)
	if n > max {
		return list[:max], true
	}
	return list, false
}

// pick calls use for each field that the names of an h= tag choose: for each
// name the last one not chosen yet; a name without one is nothing (RFC 6376
// §5.4.2). Names are in lower case. own is the field of the signature, which h=
// never means (RFC 6376 §3.5); nil when it is not in the header yet.
func (h *header) pick(names []string, own *headerField, use func(raw []byte)) {
	next := make(map[string]int, len(names))
	for _, name := range names {
		i, seen := next[name]
		if !seen {
			i = h.at(name)
		}
		if i >= 0 && &h.fields[i] == own {
			i = own.prev
		}
		if i >= 0 {
			use(h.fields[i].Raw)
			i = h.fields[i].prev
		}
		next[name] = i
	}
}

// unique are the fields of which a message has at most one (RFC 5322 §3.6, RFC
// 2045 §3): of a second one nobody knows which a reader sees.
var unique = [...]string{"from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to",
	"references", "mime-version", "content-type", "content-transfer-encoding", "content-disposition"}

// unsigned returns a unique field that is signed, but not each time it appears
// (RFC 6376 §8.15); "" without one.
func (h *header) unsigned(names []string) string {
	for _, u := range unique {
		signed := 0
		for _, n := range names {
			if n == u {
				signed++
			}
		}
		if signed > 0 && h.count(u) > signed {
			return u
		}
	}
	return ""
}
