package imap

import (
	"strconv"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// fetchMacros and fetchItems are the items without arguments (RFC 9051 §6.4.5).
var fetchMacros = map[string]FetchItem{
	"ALL":  FetchFlags | FetchInternalDate | FetchSize | FetchEnvelope,
	"FAST": FetchFlags | FetchInternalDate | FetchSize,
	"FULL": FetchFlags | FetchInternalDate | FetchSize | FetchEnvelope | FetchBody,
}

var fetchItems = map[string]FetchItem{
	"UID": FetchUID, "FLAGS": FetchFlags, "INTERNALDATE": FetchInternalDate, "RFC822.SIZE": FetchSize,
	"ENVELOPE": FetchEnvelope, "BODYSTRUCTURE": FetchBodyStructure, "MODSEQ": FetchModSeq,
	"SAVEDATE": FetchSaveDate, "EMAILID": FetchEmailID, "THREADID": FetchThreadID,
}

// fetch is FETCH and UID FETCH (RFC 9051 §6.4.5).
func (c *conn) fetch() error {
	var req FetchRequest
	var err error
	if req.Set, err = c.spNumSet(); err != nil {
		return err
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	if c.p.Peek() == '(' {
		err = c.parenthesised(func() error { return c.fetchItem(&req, false) })
	} else {
		err = c.fetchItem(&req, true)
	}
	if err == nil && req.Items == 0 && len(req.Sections) == 0 {
		err = syntax("Expected a data item")
	}
	if err == nil && c.p.Peek() == ' ' && len(c.p.Rest()) > 1 {
		c.p.Advance(1)
		err = c.fetchModifiers(&req)
	}
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if c.uid {
		req.Items |= FetchUID
	}
	req.MarkSeen = req.MarkSeen && !c.readOnly
	if req.Items&FetchModSeq != 0 {
		c.enableCondStore()
	}
	if req.MarkSeen && c.out.condstore { // RFC 7162 §3.2.4: what \Seen changes tells its UID
		req.Items |= FetchUID
	}
	w := FetchWriter{out: &c.out, modseq: req.Items&FetchModSeq != 0}
	if req.MarkSeen {
		w.track = c.tracked()
	}
	return c.limited(c.sess.Fetch(c.ctx, &w, req))
}

// fetchModifiers reads "(CHANGEDSINCE n)" (RFC 7162 §3.1.4.1), for UID FETCH also with
// VANISHED (§3.2.6) and "PARTIAL a:b" (RFC 9394 §3.3).
func (c *conn) fetchModifiers(req *FetchRequest) error {
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		switch string(label) {
		case "CHANGEDSINCE":
			if err := c.p.SP(); err != nil {
				return err
			}
			req.Items |= FetchModSeq
			if req.ChangedSince, err = c.p.Number(1<<63 - 1); err == nil && req.ChangedSince == 0 {
				err = syntax("Number out of range")
			}
		case "VANISHED":
			req.Vanished = true
			if !c.uid || !c.out.qresync {
				err = syntax("VANISHED needs UID FETCH and ENABLE QRESYNC")
			}
		case "PARTIAL":
			if !c.uid || req.Partial != nil {
				return syntax("Unknown modifier")
			}
			req.Partial, err = c.partialRange()
		default:
			err = syntax("Unknown modifier")
		}
		return err
	})
	if err == nil && req.Vanished && req.ChangedSince == 0 {
		err = syntax("VANISHED needs CHANGEDSINCE")
	}
	return err
}

// fetchItem reads one data item, or a macro where it stands alone.
func (c *conn) fetchItem(req *FetchRequest, macro bool) error {
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	if item, ok := fetchItems[string(label)]; ok {
		req.Items |= item
		return nil
	}
	s := Section{Kind: BodySection}
	seen := false
	switch string(label) {
	case "ALL", "FAST", "FULL":
		if !macro {
			return syntax("A macro stands alone")
		}
		req.Items |= fetchMacros[string(label)]
		return nil
	case "BODY":
		if c.p.Peek() != '[' {
			req.Items |= FetchBody
			return nil
		}
		seen = true
	case "PREVIEW":
		return c.previewItem(req)
	case "BODY.PEEK":
	case "BINARY":
		s.Kind, seen = BinarySection, true
	case "BINARY.PEEK":
		s.Kind = BinarySection
	case "BINARY.SIZE":
		s.Kind = BinarySizeSection
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT": // RFC 3501 §6.4.5
		switch string(label) {
		case "RFC822.HEADER":
			s.Text = SectionHeader
		case "RFC822.TEXT":
			s.Text = SectionBodyText
		}
		s.label = append(s.label, label...)
		req.Sections = append(req.Sections, s)
		req.MarkSeen = req.MarkSeen || s.Text != SectionHeader
		return nil
	default:
		return syntax("Unknown data item")
	}
	if err := c.section(&s); err != nil {
		return err
	}
	req.MarkSeen = req.MarkSeen || seen
	req.Sections = append(req.Sections, s)
	return nil
}

// previewItem reads what may follow PREVIEW: "(LAZY)" (RFC 8970 §6). Behind an item
// that stands alone there may be modifiers of FETCH instead.
func (c *conn) previewItem(req *FetchRequest) error {
	req.Items |= FetchPreview
	b := c.p.Rest()
	if len(b) < 6 || !equalFold(b[:6], " (LAZY") {
		return nil
	}
	c.p.Advance(1)
	return c.parenthesised(func() error {
		label, err := c.p.Label()
		if err == nil && string(label) != "LAZY" {
			err = syntax("Unknown modifier")
		}
		req.LazyPreview = true
		return err
	})
}

// section reads "[…]" and "<o.n>" and makes the label of the response.
func (c *conn) section(s *Section) error {
	if err := c.p.Byte('['); err != nil {
		return err
	}
	if c.p.Peek() != ']' {
		if err := parseSectionSpec(&c.p, s, c.lim); err != nil {
			return err
		}
	}
	if err := c.p.Byte(']'); err != nil {
		return err
	}
	if s.Kind != BinarySizeSection && c.p.Try('<') {
		if err := c.partial(s); err != nil {
			return err
		}
	}
	s.label = s.appendLabel(nil)
	return nil
}

// parseSectionSpec reads a section-spec (RFC 9051 §9).
func parseSectionSpec(p *wire.Parser, s *Section, lim *Limits) error {
	for p.Peek() >= '0' && p.Peek() <= '9' {
		n, err := p.Number(1<<32 - 1)
		if err != nil || n == 0 || len(s.Path) == lim.Depth {
			return syntax("Wrong part number")
		}
		s.Path = append(s.Path, uint32(n))
		if !p.Try('.') {
			return nil
		}
	}
	label, err := p.Label()
	if err != nil || s.Kind != BodySection {
		return syntax("Wrong section")
	}
	switch string(label) {
	case "HEADER":
		s.Text = SectionHeader
	case "TEXT":
		s.Text = SectionBodyText
	case "MIME":
		s.Text = SectionMIME
		if len(s.Path) == 0 {
			return syntax("MIME needs a part number")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		s.Text = SectionHeaderFields
		if len(label) > len("HEADER.FIELDS") {
			s.Text = SectionHeaderFieldsNot
		}
		if err := p.SP(); err != nil {
			return err
		}
		err := parenthesised(p, lim.Items, func() error {
			name, err := p.AString()
			s.Fields = append(s.Fields, name)
			return err
		})
		if err == nil && len(s.Fields) == 0 {
			err = syntax("Expected a field name")
		}
		return err
	default:
		return syntax("Unknown section")
	}
	return nil
}

// partial reads "o.n>".
func (c *conn) partial(s *Section) error {
	offset, err := c.p.Number(1<<63 - 1)
	if err == nil {
		err = c.p.Byte('.')
	}
	if err != nil {
		return err
	}
	length, err := c.p.Number(1<<63 - 1)
	if err == nil {
		err = c.p.Byte('>')
	}
	if err == nil && length == 0 {
		err = syntax("Empty range")
	}
	s.Partial, s.Offset, s.Length = true, int64(offset), int64(length)
	return err
}

var sectionNames = [...]string{
	SectionAll: "", SectionHeader: "HEADER", SectionHeaderFields: "HEADER.FIELDS",
	SectionHeaderFieldsNot: "HEADER.FIELDS.NOT", SectionBodyText: "TEXT", SectionMIME: "MIME",
}

// appendLabel prints how a response names the section: without PEEK, and of a
// partial range the offset only (RFC 9051 §7.5.2).
func (s *Section) appendLabel(dst []byte) []byte {
	dst = append(dst, [...]string{"BODY[", "BINARY[", "BINARY.SIZE["}[s.Kind]...)
	dst = s.appendSpec(dst, false)
	dst = append(dst, ']')
	if s.Partial {
		dst = append(dst, '<')
		dst = strconv.AppendInt(dst, s.Offset, 10)
		dst = append(dst, '>')
	}
	return dst
}

// appendSpec prints the section-spec.
func (s *Section) appendSpec(dst []byte, utf8 bool) []byte {
	for i, n := range s.Path {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(n), 10)
	}
	if s.Text != SectionAll && len(s.Path) > 0 {
		dst = append(dst, '.')
	}
	dst = append(dst, sectionNames[s.Text]...)
	for i, f := range s.Fields {
		if i == 0 {
			dst = append(dst, " ("...)
		} else {
			dst = append(dst, ' ')
		}
		dst = wire.AppendAString(dst, f, utf8)
	}
	if len(s.Fields) > 0 {
		dst = append(dst, ')')
	}
	return dst
}
