package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/postino-mail/postino/mailauth"
)

// Record is a DNS record to publish, its fields apart as the forms of providers
// have them.
type Record struct {
	// Name is absolute, in lower case, without the final dot.
	Name string `json:"name"`
	Type string `json:"type"`
	TTL  int    `json:"ttl"` // seconds
	// Priority is that of MX and SRV, nil for others.
	Priority *uint16 `json:"priority,omitempty"`
	// Value is what follows in a zone file, names with their final dot; of TXT it
	// is the text, neither quoted nor split.
	Value string `json:"value"`
	// Replaces is the text of the record that this one takes the place of.
	Replaces string `json:"replaces,omitempty"`
	// Note says what people should know: who can publish it.
	Note string `json:"note,omitempty"`
}

// ttl is what records are given; an hour lets mistakes be mended soon.
const ttl = 3600

// String is a line of a zone file (RFC 1035 §5.1).
func (r Record) String() string {
	return fmt.Sprintf("%s. %d IN %s %s", r.Name, r.TTL, r.Type, r.Data())
}

// Data is what stands behind the type in a zone file.
func (r Record) Data() string {
	switch {
	case r.Type == "TXT":
		return mailauth.ZoneText(r.Value)
	case r.Priority != nil:
		return strconv.Itoa(int(*r.Priority)) + " " + r.Value
	}
	return r.Value
}

// AppendZone appends the records as text of the zone origin. What lies in other
// zones, such as PTR, is there as a comment: whoever holds them publishes it.
func AppendZone(dst []byte, origin string, records []Record) []byte {
	dst = fmt.Appendf(dst, "$ORIGIN %s.\n", origin)
	for _, r := range records {
		if !Within(r.Name, origin) {
			continue
		}
		if r.Replaces != "" {
			dst = fmt.Appendf(dst, "; in place of %s\n", mailauth.ZoneText(r.Replaces))
		}
		dst = fmt.Appendf(dst, "%s\n", r)
	}
	for first, i := true, 0; i < len(records); i++ {
		r := &records[i]
		if Within(r.Name, origin) {
			continue
		}
		if first {
			dst = append(dst, "; in other zones:\n"...)
			first = false
		}
		dst = fmt.Appendf(dst, "; %s", r)
		if r.Note != "" {
			dst = fmt.Appendf(dst, " ; %s", r.Note)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// Within tells whether a name is a zone or below it.
func Within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}
