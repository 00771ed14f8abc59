package imapd

import (
	"bytes"
	"context"
	"io"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// octets gives the sections of one message. Its octets are the prefix that
// delivery put before the stored body, then the body; the index counts from the
// start of the body.
type octets struct {
	e    *mailbox.Email
	all  io.ReaderAt
	body *mailbox.Body // what close has to close; nil when all is in memory
	ix   *message.Index
}

// octets makes the octets of a message readable.
func (s *session) octets(ctx context.Context, e *mailbox.Email) (*octets, error) {
	o := &octets{e: e}
	if e.Body != nil {
		o.all = bytes.NewReader(e.Body)
		return o, nil
	}
	body, err := s.sel.acct.OpenBody(ctx, e)
	if err != nil {
		return nil, err
	}
	o.body, o.all = body, body
	return o, nil
}

func (o *octets) close() {
	if o.body != nil {
		o.body.Close()
	}
}

// index decodes the stored index when it is first needed.
func (o *octets) index() (*message.Index, error) {
	if o.ix == nil {
		ix, err := message.DecodeIndex(o.e.Index)
		if err != nil {
			return nil, err
		}
		o.ix = ix
	}
	return o.ix, nil
}

// write sends one section, NIL when the message has none of that name.
func (o *octets) write(w *imap.FetchWriter, sec *imap.Section) error {
	if sec.Text == imap.SectionAll && len(sec.Path) == 0 {
		if sec.Kind == imap.BinarySizeSection {
			w.BinarySize(sec, o.e.Size)
			return nil
		}
		return o.writeSpan(w, sec, message.Span{End: o.e.Size})
	}
	ix, err := o.index()
	if err != nil {
		return err
	}
	path := partPath(sec.Path)
	if sec.Kind != imap.BodySection {
		if i, ok := ix.Part(path); ok {
			return o.writeDecoded(w, sec, &ix.Parts[i])
		}
		w.SectionNil(sec)
		return nil
	}
	span, ok := o.e.SectionOf(ix, path, sectionOf(sec.Text))
	if !ok {
		w.SectionNil(sec)
		return nil
	}
	if sec.Text == imap.SectionHeaderFields || sec.Text == imap.SectionHeaderFieldsNot {
		return o.writeFields(w, sec, span)
	}
	return o.writeSpan(w, sec, span)
}

func sectionOf(t imap.SectionText) message.Section {
	switch t {
	case imap.SectionHeader, imap.SectionHeaderFields, imap.SectionHeaderFieldsNot:
		return message.SectionHeader
	case imap.SectionBodyText:
		return message.SectionText
	case imap.SectionMIME:
		return message.SectionMIME
	}
	return message.SectionBody
}

// writeSpan sends octets as they are.
func (o *octets) writeSpan(w *imap.FetchWriter, sec *imap.Section, span message.Span) error {
	off, n := sec.Clip(span.Len())
	off += span.Start
	if o.e.Body != nil {
		return w.SectionBytes(sec, o.e.Body[off:off+n])
	}
	return w.Section(sec, n, io.NewSectionReader(o.all, off, n))
}

// writeFields sends the chosen fields of a header.
func (o *octets) writeFields(w *imap.FetchWriter, sec *imap.Section, span message.Span) error {
	chosen, err := o.fields(sec, span)
	if err != nil {
		return err
	}
	off, n := sec.Clip(int64(len(chosen)))
	return w.SectionBytes(sec, chosen[off:off+n])
}

// fields returns the chosen fields of a header.
func (o *octets) fields(sec *imap.Section, span message.Span) ([]byte, error) {
	header, err := o.read(span)
	if err != nil {
		return nil, err
	}
	return message.AppendHeaderFields(nil, header, sec.Fields, sec.Text == imap.SectionHeaderFieldsNot), nil
}

// read returns octets, from memory where they are there.
func (o *octets) read(span message.Span) ([]byte, error) {
	if o.e.Body != nil {
		return o.e.Body[span.Start:span.End], nil
	}
	b := make([]byte, span.Len())
	_, err := io.ReadFull(io.NewSectionReader(o.all, span.Start, span.Len()), b)
	return b, err
}

// writeDecoded sends a part without its transfer encoding, or its size (RFC 3516
// §4.3). The size comes before the octets, so a part is decoded twice.
func (o *octets) writeDecoded(w *imap.FetchWriter, sec *imap.Section, p *message.Part) error {
	decoder := func() *message.Decoder {
		raw := io.NewSectionReader(o.all, int64(len(o.e.Prefix))+p.BodyStart, p.Size())
		return message.NewDecoder(raw, p.Encoding)
	}
	r := decoder()
	if !r.Known() {
		return &imap.Error{Code: "UNKNOWN-CTE", Text: "the part's transfer encoding is unknown"}
	}
	size, err := io.Copy(io.Discard, r)
	if err != nil {
		return err
	}
	if sec.Kind == imap.BinarySizeSection {
		w.BinarySize(sec, size)
		return nil
	}
	r = decoder()
	off, n := sec.Clip(size)
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return err
	}
	return w.Section(sec, n, io.LimitReader(r, n))
}
