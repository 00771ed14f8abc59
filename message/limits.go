package message

// Limits bounds what is made of a message. A zero field means the default that
// its comment names, never "unlimited"; beyond a limit the message stays
// readable as text or as an opaque leaf and a [Flag] tells of it (PA1, SS9).
type Limits struct {
	// Depth is how deep parts nest; the message itself is at depth 0. Default 50.
	Depth int
	// Parts counts all the parts of a message, the root included, at least 2. Default 5,000.
	Parts int
	// Params counts the parameters (with their RFC 2231 pieces) of one field. Default 128.
	Params int
	// ParamPieces counts the RFC 2231 pieces of one parameter. Default 100.
	ParamPieces int
	// Addresses counts the addresses read from one message. Default 5,000.
	Addresses int
	// HeaderBytes bounds one header block in octets. Default 512 KiB.
	HeaderBytes int64
	// FieldBytes bounds one header field in octets. Default 128 KiB.
	FieldBytes int64
	// Fields counts the fields of one header block. Default 2,000.
	Fields int
	// Boundary bounds a multipart boundary in octets (PA2). Default 250.
	Boundary int
}

// maxWords is how many encoded words are decoded in one field; the rest stays as
// it is (PA1).
const maxWords = 1000

// maxArena bounds the octets of all names and values that an index keeps.
const maxArena = 1 << 20

func or[T int | int64](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (l Limits) withDefaults() Limits {
	or(&l.Depth, 50)
	or(&l.Parts, 5000)
	l.Parts = max(l.Parts, 2) // the message and one opaque part
	or(&l.Params, 128)
	or(&l.ParamPieces, 100)
	or(&l.Addresses, 5000)
	or(&l.HeaderBytes, 512<<10)
	or(&l.FieldBytes, 128<<10)
	or(&l.Fields, 2000)
	or(&l.Boundary, 250)
	return l
}
