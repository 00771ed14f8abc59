package message

import (
	"encoding/binary"

	"github.com/postino-mail/postino"
)

// indexVersion begins every stored index. Decoders read all versions so far.
const indexVersion = 1

// dictionary holds the texts that most indexes repeat; they are stored as a
// number. It belongs to version 1: never change it, only give a new version a new one.
var dictionary = [...]string{
	"", "text", "plain", "html", "multipart", "mixed", "alternative", "related",
	"signed", "report", "application", "octet-stream", "pdf", "image", "png", "jpeg",
	"gif", "message", "rfc822", "delivery-status", "charset", "utf-8", "UTF-8", "us-ascii",
	"iso-8859-1", "boundary", "name", "filename", "format", "flowed", "7bit", "8bit",
	"quoted-printable", "base64", "binary", "inline", "attachment", "type", "text/html", "protocol",
	"micalg", "method", "calendar", "x-pkcs7-signature", "pkcs7-signature", "delsp", "yes", "size",
}

// AppendBinary appends the stored form of the index: a version octet, then
// variable-length integers and texts. It is canonical: equal indexes give
// equal octets. The raw header of the message is not part of it.
func (x *Index) AppendBinary(dst []byte) []byte {
	params, tags := 0, 0
	for i := range x.Parts {
		params += len(x.Parts[i].Params) + len(x.Parts[i].DispositionParams)
		tags += len(x.Parts[i].Language)
	}
	dst = append(dst, indexVersion)
	for _, v := range [...]uint64{uint64(x.Size), uint64(x.Flags), uint64(len(x.Parts)), uint64(params), uint64(tags)} {
		dst = binary.AppendUvarint(dst, v)
	}
	at := int64(0)
	for i := range x.Parts {
		p := &x.Parts[i]
		dst = binary.AppendUvarint(dst, uint64(i-p.Parent))
		dst = binary.AppendUvarint(dst, uint64(p.HeaderStart-at))
		at = p.HeaderStart
		dst = binary.AppendUvarint(dst, uint64(p.BodyStart-p.HeaderStart))
		dst = binary.AppendUvarint(dst, uint64(p.End-p.BodyStart))
		dst = binary.AppendUvarint(dst, uint64(p.Lines))
		dst = binary.AppendUvarint(dst, uint64(p.Flags))
		for _, s := range [...]string{p.Type, p.Subtype, p.Encoding, p.ID, p.Description, p.MD5, p.Location, p.Disposition, p.envelope} {
			dst = appendText(dst, s)
		}
		dst = appendParamList(dst, p.Params)
		dst = appendParamList(dst, p.DispositionParams)
		dst = binary.AppendUvarint(dst, uint64(len(p.Language)))
		for _, t := range p.Language {
			dst = appendText(dst, t)
		}
	}
	return dst
}

func appendParamList(dst []byte, params []Param) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(params)))
	for i := range params {
		p := &params[i]
		dst = appendText(dst, p.Name)
		ext := byte(0)
		if p.Extended {
			ext = 1
		}
		dst = appendText(append(dst, ext), p.Value)
	}
	return dst
}

// appendText appends twice the place in the dictionary, or the text after
// twice its length plus one.
func appendText(dst []byte, s string) []byte {
	if k := dictionaryIndex(s); k >= 0 {
		return binary.AppendUvarint(dst, uint64(k)<<1)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s))<<1|1)
	return append(dst, s...)
}

func dictionaryIndex(s string) int {
	if len(s) > 17 {
		return -1
	}
	for k := range dictionary {
		if dictionary[k] == s {
			return k
		}
	}
	return -1
}

// decoder reads the stored form. Once something is wrong all reads give zero.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) fail() { d.s, d.bad = "", true }

// number reads an integer of at most max.
func (d *decoder) number(max uint64) uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if i == 9 && c > 1 || c == 0 && i > 0 || v > max {
				break // too large, or not the shortest form
			}
			d.s = d.s[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

func (d *decoder) text() string {
	v := d.number(1 << 40)
	if v&1 == 0 {
		if v>>1 >= uint64(len(dictionary)) {
			d.fail()
			return ""
		}
		return dictionary[v>>1]
	}
	if v >>= 1; v > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	s := d.s[:v]
	d.s = d.s[v:]
	if dictionaryIndex(s) >= 0 {
		d.fail() // not canonical
	}
	return s
}

// DecodeIndex reads what [Index.AppendBinary] wrote. It allocates a handful of
// times whatever the number of parts. Octets that do not verify give
// [postino.Corrupt], a version from the future [postino.Invalid].
func DecodeIndex(b []byte) (*Index, error) {
	const op = "decode message index"
	if len(b) == 0 {
		return nil, postino.E(postino.Corrupt, op, "", nil)
	}
	if b[0] != indexVersion {
		return nil, postino.E(postino.Invalid, op, "of a newer version", nil)
	}
	d := decoder{s: string(b[1:])}
	x := &Index{Size: int64(d.number(1 << 60)), Flags: Flag(d.number(uint64(flagEnd) - 1))}
	// A part takes at least 18 octets, a parameter 3, a tag 1: the counts cannot ask for
	// more memory than the input justifies.
	parts := d.number(uint64(len(d.s) / 18))
	params := make([]Param, 0, d.number(uint64(len(d.s)/3)))
	tags := make([]string, 0, d.number(uint64(len(d.s))))
	x.Parts = make([]Part, parts)
	at := int64(0)
	for i := range x.Parts {
		params, tags = d.part(x, i, &at, params, tags)
	}
	if d.bad || len(d.s) > 0 || parts == 0 || len(params) != cap(params) || len(tags) != cap(tags) {
		return nil, postino.E(postino.Corrupt, op, "", nil)
	}
	x.link()
	return x, nil
}

func (d *decoder) part(x *Index, i int, at *int64, params []Param, tags []string) ([]Param, []string) {
	p := &x.Parts[i]
	p.Parent = i - int(d.number(uint64(i)+1))
	end := x.Size
	if p.Parent >= 0 && p.Parent < i {
		end = x.Parts[p.Parent].End
	} else if i > 0 || p.Parent != -1 {
		d.fail()
		p.Parent = -1
	}
	span := func(from int64) int64 { return from + int64(d.number(uint64(max(0, end-from)))) }
	p.HeaderStart = span(*at)
	*at = p.HeaderStart
	p.BodyStart = span(p.HeaderStart)
	p.End = span(p.BodyStart)
	p.Lines = int64(d.number(uint64(p.End - p.BodyStart)))
	p.Flags = Flag(d.number(uint64(flagEnd) - 1))
	for _, s := range [...]*string{&p.Type, &p.Subtype, &p.Encoding, &p.ID, &p.Description, &p.MD5, &p.Location, &p.Disposition, &p.envelope} {
		*s = d.text()
	}
	if i > 0 && !d.bad && !x.mayHold(p.Parent, p.HeaderStart, i) {
		d.fail()
	}
	p.Params, params = d.params(params)
	p.DispositionParams, params = d.params(params)
	n := int(d.number(uint64(cap(tags) - len(tags))))
	for range n {
		tags = append(tags, d.text())
	}
	if n > 0 {
		p.Language = tags[len(tags)-n : len(tags) : len(tags)]
	}
	return params, tags
}

// mayHold tells whether the part at position parent can have the part at
// position i as its next child: a multipart many, a message one.
func (x *Index) mayHold(parent int, start int64, i int) bool {
	p := &x.Parts[parent]
	if start < p.BodyStart {
		return false
	}
	if p.Message() {
		return i == parent+1
	}
	// Pre-order: the parent is the part before or one above it.
	for j := i - 1; j != parent; j = x.Parts[j].Parent {
		if j < 0 {
			return false
		}
	}
	return p.Multipart()
}

func (d *decoder) params(all []Param) (list, _ []Param) {
	n := int(d.number(uint64(cap(all) - len(all))))
	for range n {
		p := Param{Name: d.text()}
		if d.s == "" || d.s[0] > 1 {
			d.fail()
		} else {
			p.Extended, d.s = d.s[0] == 1, d.s[1:]
		}
		p.Value = d.text()
		all = append(all, p)
	}
	if n == 0 {
		return nil, all
	}
	return all[len(all)-n : len(all) : len(all)], all
}

// knownEncoding tells whether Decode knows the transfer encoding.
func knownEncoding(enc string) bool {
	switch enc {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return true
	}
	return false
}
