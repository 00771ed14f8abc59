package message

import "strings"

// Flag is a set of things about a message that readers could understand in
// different ways, or that a limit cut short (PA4). It is stored with the index:
// a bit never changes its meaning.
type Flag uint32

const (
	// FlagNUL: a NUL octet somewhere in the message.
	FlagNUL Flag = 1 << iota
	// FlagBareCR: a CR that no LF follows.
	FlagBareCR
	// FlagBareLF: a LF that no CR precedes; it still ends a line.
	FlagBareLF
	// FlagLongLine: a line of more than 998 octets (RFC 5322 §2.1.1).
	FlagLongLine
	// Flag8BitHeader: octets above 127 in a header (RFC 6532).
	Flag8BitHeader
	// FlagNonUTF8Header: octets in a header that are not UTF-8.
	FlagNonUTF8Header
	// Flag8BitBody: octets above 127 outside of headers.
	Flag8BitBody
	// FlagBadHeader: a header line that is neither field nor continuation; it is passed over.
	FlagBadHeader
	// FlagNoBlankLine: a header that the end of its part ended, not an empty line.
	FlagNoBlankLine
	// FlagDuplicateField: Content-Type, -Transfer-Encoding, -Disposition, -ID or
	// MIME-Version twice in one header; the first one counts.
	FlagDuplicateField
	// FlagDuplicateOriginator: From, Sender, Reply-To, Date, Subject, Message-ID, To, Cc,
	// Bcc, In-Reply-To or References twice in one message header (RFC 5322 §3.6).
	FlagDuplicateOriginator
	// FlagBadType: a Content-Type that is not type "/" subtype; read as text/plain.
	FlagBadType
	// FlagBadParam: a parameter without value, quoting or numbering as RFC 2045 and 2231 want.
	FlagBadParam
	// FlagDuplicateParam: the same parameter twice; the first one counts.
	FlagDuplicateParam
	// FlagConflictingName: several file or parameter names of one part that differ.
	FlagConflictingName
	// FlagNoBoundary: a multipart without a usable boundary; read as text/plain.
	FlagNoBoundary
	// FlagNoParts: a multipart in which no delimiter stood; read as text/plain.
	FlagNoParts
	// FlagNoEndBoundary: a multipart that was not closed.
	FlagNoEndBoundary
	// FlagBoundaryJunk: a line that begins with a delimiter but goes on; read as content.
	FlagBoundaryJunk
	// FlagBoundaryReuse: a multipart with the boundary of one around it.
	FlagBoundaryReuse
	// FlagAfterEnd: a delimiter after the close delimiter; read as epilogue.
	FlagAfterEnd
	// FlagUnknownEncoding: a Content-Transfer-Encoding that nobody knows; the body is opaque.
	FlagUnknownEncoding
	// FlagEncodedContainer: a multipart or message/rfc822 that claims base64 or
	// quoted-printable (RFC 2045 §6.4). A multipart is read as it stands, a message stays a leaf.
	FlagEncodedContainer
	// FlagHeaderLimit: the message header is over a limit of SS9: SMTP refuses it.
	FlagHeaderLimit
	// FlagLimit: a limit of PA1 or PA2 made a part opaque or dropped values.
	FlagLimit
	// FlagExtendedBoundary: a boundary written with RFC 2231, which few readers expect.
	FlagExtendedBoundary

	flagEnd
)

// Index is what one pass over a message finds out. It is read only once made
// and safe for use by several goroutines.
type Index struct {
	// Size is the size of the message in octets.
	Size int64
	// Flags is the union of the flags of the message and of its parts.
	Flags Flag
	// Parts is the part tree in pre-order. Parts[0] is the message itself. The
	// children of a multipart are its body parts; the only child of a
	// message/rfc822 or message/global part is the message in it, whose header
	// begins where the body of the part begins.
	Parts []Part

	header []byte
}

// Header returns the raw header of the message with its empty line, at most
// [Limits.HeaderBytes], when the index comes from an [Indexer]; an index that
// was decoded has none.
func (x *Index) Header() []byte { return x.header }

// HeaderTooLarge tells whether the message header is over a limit of SS9
// (size, field size, field count), for which SMTP answers 552 5.3.4.
func (x *Index) HeaderTooLarge() bool { return x.Flags&FlagHeaderLimit != 0 }

// Part is a node of the part tree. Offsets count octets from the start of the
// message. Text values are as they stand in the header: unfolded and unquoted,
// RFC 2047 not decoded; names and tokens are in lower case.
type Part struct {
	// HeaderStart, BodyStart and End bound the header with its empty line,
	// [HeaderStart, BodyStart), and the body, [BodyStart, End).
	HeaderStart, BodyStart, End int64
	// Lines counts the line ends in the body.
	Lines int64
	// Parent is the position of the parent in Parts, -1 for the message itself.
	Parent int
	// Next is the position in Parts after the last descendant.
	Next int
	// Flags of this part alone.
	Flags Flag
	// Type and Subtype of the media type as it is to be treated: see the flags
	// for what differs from the header.
	Type, Subtype string
	// Params of the media type, in order.
	Params []Param
	// ID is Content-ID with its angle brackets; Description, MD5 and Location
	// are the fields of those names. Empty when absent.
	ID, Description, MD5, Location string
	// Encoding is Content-Transfer-Encoding; empty when absent, which means 7bit.
	Encoding string
	// Disposition and its parameters (RFC 2183); empty when absent.
	Disposition       string
	DispositionParams []Param
	// Language lists the tags of Content-Language (RFC 3282).
	Language []string

	// envelope is the ENVELOPE of the message that begins with this part, in IMAP
	// notation; kept for messages inside messages since BODYSTRUCTURE shows it.
	envelope string
}

// Param is a parameter of a structured field.
type Param struct {
	// Name in lower case, without RFC 2231 signs.
	Name string
	// Value joined from its pieces. When Extended it is UTF-8, otherwise the
	// octets of the header, unquoted.
	Value string
	// Extended tells that RFC 2231 gave the value with a charset.
	Extended bool
}

// Param returns the value of a media type parameter, empty when absent. The
// name is in lower case.
func (p *Part) Param(name string) string { return lookup(p.Params, name) }

func lookup(params []Param, name string) string {
	for i := range params {
		if params[i].Name == name {
			return params[i].Value
		}
	}
	return ""
}

// Is tells whether the part has the media type, given in lower case.
func (p *Part) Is(typ, subtype string) bool { return p.Type == typ && p.Subtype == subtype }

// Multipart tells whether the part has body parts.
func (p *Part) Multipart() bool { return p.Type == "multipart" }

// Message tells whether the part is of a type that carries a message.
func (p *Part) Message() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

// Size is the size of the body in octets, not decoded.
func (p *Part) Size() int64 { return p.End - p.BodyStart }

// Charset returns the charset parameter in lower case, "us-ascii" for text without one.
func (p *Part) Charset() string {
	if c := p.Param("charset"); c != "" {
		return strings.ToLower(c)
	}
	return "us-ascii"
}

// Filename returns the decoded name that the sender proposes for the part,
// from Content-Disposition or else the name parameter of the media type
// (RFC 2183 §2.3). It may hold anything: clean it before use as a file name.
func (p *Part) Filename() string {
	for _, q := range [...]struct {
		params []Param
		name   string
	}{{p.DispositionParams, "filename"}, {p.Params, "name"}} {
		for _, v := range q.params {
			if v.Name != q.name || v.Value == "" {
				continue
			}
			if v.Extended {
				return v.Value
			}
			// RFC 2047 forbids encoded words here, but senders write them.
			return DecodeHeader([]byte(v.Value))
		}
	}
	return ""
}

// HasChildren tells whether parts lie inside the part at position i.
func (x *Index) HasChildren(i int) bool { return x.Parts[i].Next > i+1 }

// link fills Next from the parents; parts are in pre-order.
func (x *Index) link() {
	for i := range x.Parts {
		x.Parts[i].Next = i + 1
	}
	for i := len(x.Parts) - 1; i > 0; i-- {
		p := &x.Parts[x.Parts[i].Parent]
		p.Next = max(p.Next, x.Parts[i].Next)
	}
}
