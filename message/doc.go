// Package message reads and writes mail in the Internet Message Format with
// MIME. It is the only parser of messages, headers, addresses, dates and encoded
// words in the project: all that judge, store, show or search a message see the
// same tree (G13, PA5).
//
// Flow:
//
//  1. The octets of a message pass once through an [Indexer] on their way to
//     storage. It keeps headers only and makes an [Index]: part tree, offsets,
//     line counts, structure fields, and [Flag]s for everything that readers
//     could understand in different ways.
//  2. [Index.AppendBinary] is stored beside the message, with the ENVELOPE and
//     BODYSTRUCTURE rendered once ([AppendEnvelope], [Index.AppendBodyStructure])
//     and the [Summary] that threads, sorting and searching need.
//  3. A reader decodes the index ([DecodeIndex]), finds the octets of a section
//     ([Index.Section]) and sends them as they are, or decodes them lazily:
//     [NewDecoder], [UTF8Reader], [HTMLText], [DecodeHeader], [Index.Texts], [Index.Preview].
//  4. Messages of our own are written by a [Builder].
//
// Invariants:
//
//   - Nothing is refused and no octet is altered: whatever the input, there is an
//     index, and the structure rendered from it is valid IMAP.
//   - The index does not depend on how the octets were cut into writes.
//   - Parts are in pre-order, offsets advance, children lie inside their parent.
//   - Work and memory are linear in the input; nothing recurses.
//   - What a Builder writes parses to exactly the fields and parts that were
//     given (PA6).
//
// A line ends with LF, with or without CR before it; a CR alone ends none. The
// line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1). A
// delimiter is "--", the boundary, nothing but white space; inner multiparts are
// asked first. A header ends with its empty line, or with a delimiter. Of a
// duplicated structure field or parameter the first one counts. A part that
// cannot be descended into stays a leaf: a multipart without boundary or parts
// becomes text/plain, one beyond a limit application/octet-stream; a message that
// is transfer-encoded keeps its type and has no child.
//
// Limits: [Limits] (PA1, PA2, SS9); all texts of one index ≤ 1 MiB; decoders stop
// at the size that their caller names (PA3).
//
// Standards: RFC 5322 with the obsolete forms of §4, RFC 2045–2047, 2049, 2183,
// 2231, 3282, 6532, 6854; RFC 9051 §6.4.5, §7.5.2 and RFC 3501 §7.4.2 (IMAP
// notation), RFC 3516 (BINARY), RFC 5256 §2 (base subject, sent date), RFC 5051
// (comparison), RFC 2152 (UTF-7), RFC 8970 §3.3 (previews).
package message
