package pop3

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/postino-mail/postino/message"
)

// needsUTF8 tells whether a header has characters beyond ASCII as RFC 6532 allows.
// Other octets beyond ASCII are no characters that anybody could name; they are sent
// as they are.
func needsUTF8(header []byte) bool { return !ascii(header) && utf8.Valid(header) }

func ascii(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, x := range b {
		if x >= 0x80 {
			return false
		}
	}
	return true
}

// addressFields are the fields whose addresses are replaced (RFC 6858 §2.1).
const addressFields = " bcc cc from reply-to resent-bcc resent-cc resent-from resent-sender resent-to return-path sender to "

// maxAddresses of a field are rewritten; what is beyond them is left out.
const maxAddresses = 1000

// surrogate returns the header of the surrogate of a message for clients that have
// not asked for UTF-8 (RFC 6856 §2.1, RFC 6858 §2). Fields in ASCII stay as they
// are.
func surrogate(header []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(header)+256))
	end := 0
	for f := range message.Fields(header) {
		end += len(f.Raw)
		if ascii(f.Raw) {
			out.Write(f.Raw)
			continue
		}
		// A field that cannot be written is left out (§2.4): the error of its builder
		// concerns nobody else.
		b := message.NewBuilder(out, message.BuilderOptions{})
		name := strings.ToLower(string(f.Name))
		switch {
		case !ascii(f.Name):
		case name == "subject" || name == "comments":
			b.Field(string(f.Name), message.DecodeHeader(f.Value))
		case strings.Contains(addressFields, " "+name+" "):
			b.Addresses(string(f.Name), presentable(message.ParseAddressList(f.Value, maxAddresses))...)
		case name == "content-type" || name == "content-disposition":
			mimeField(out, f.Name, f.Value)
		}
	}
	out.Write(header[min(end, len(header)):])
	return out.Bytes()
}

// presentable replaces addresses beyond ASCII by one that is nobody's, whose name
// tells what was there (RFC 6858 §2.1).
func presentable(list []message.Address) []message.Address {
	for i := range list {
		a := &list[i]
		a.Route = ""
		if ascii([]byte(a.Mailbox)) && ascii([]byte(a.Host)) {
			continue
		}
		name := a.Mailbox + "@" + a.Host
		if a.Name != "" {
			name = a.Name + " (" + name + ")"
		}
		a.Name, a.Mailbox, a.Host = name, "invalid", "internationalized-address.invalid"
	}
	return list
}

// maxParam is the longest parameter that is kept: a line has at most 998 octets
// (RFC 5322 §2.1.1).
const maxParam = 990

// mimeField writes a MIME field without the parameters that are not ASCII (RFC 6858
// §2.2); the others stay as they stand, one in a line.
func mimeField(out *bytes.Buffer, name, value []byte) {
	token, rest, _ := bytes.Cut(message.Unfold(value), []byte{';'})
	if token = bytes.TrimSpace(token); !ascii(token) || len(name)+len(token) > maxParam {
		return
	}
	out.Write(name)
	out.WriteString(": ")
	out.Write(token)
	for _, p := range splitParams(rest) {
		if p = bytes.TrimSpace(p); len(p) > 0 && len(p) <= maxParam && ascii(p) {
			out.WriteString(";\r\n ")
			out.Write(p)
		}
	}
	out.WriteString("\r\n")
}

// splitParams cuts at the semicolons outside of quotes.
func splitParams(b []byte) (list [][]byte) {
	quoted, start := false, 0
	for i := 0; i < len(b); i++ {
		switch {
		case quoted && b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == ';' && !quoted:
			list = append(list, b[start:i])
			start = i + 1
		}
	}
	if len(bytes.TrimSpace(b[start:])) > 0 {
		list = append(list, b[start:])
	}
	return list
}
