package reports

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

var (
	errLarge   = errors.New("it is too large")
	errRatio   = errors.New("it unpacks to too much")
	errNothing = errors.New("there is no report in it")
)

// Reports are what one message or file holds.
type Reports struct {
	DMARC    []*Aggregate
	TLS      []*TLSReport
	Feedback []*Feedback
}

// Len is how many reports there are.
func (r *Reports) Len() int { return len(r.DMARC) + len(r.TLS) + len(r.Feedback) }

// ReadReports finds the reports in a message: aggregate reports for DMARC and for
// TLS, packed or not, whatever the types of their parts say; or a feedback report.
// The error is of kind Invalid when there is none that can be read, Full beyond a
// limit (MA8).
func ReadReports(r io.Reader, lim ReadLimits) (*Reports, error) {
	raw, err := readMessage(r, lim.withDefaults())
	if err != nil {
		return nil, err
	}
	x := message.Parse(raw, message.Limits{})
	if f := feedback(raw, x); f != nil {
		return &Reports{Feedback: []*Feedback{f}}, nil
	}
	u := newUnpacker(lim)
	for i := range x.Parts {
		part := &x.Parts[i]
		if part.Multipart() || part.Message() || u.full() {
			continue
		}
		u.look(partBody(raw, part), 0)
	}
	return u.result()
}

// ReadFile finds the reports in a file: a message, an archive, or a report as it
// is. Errors are as for ReadReports.
func ReadFile(r io.Reader, lim ReadLimits) (*Reports, error) {
	raw, err := readMessage(r, lim.withDefaults())
	if err != nil {
		return nil, err
	}
	if formOf(raw) == 0 {
		return ReadReports(bytes.NewReader(raw), lim)
	}
	u := newUnpacker(lim)
	u.look(raw, 0)
	return u.result()
}

// unpacker looks into octets for reports and never unpacks more than its limits
// allow in all.
type unpacker struct {
	lim     ReadLimits
	left    int64 // octets that may still be unpacked
	entries int   // files that may still be looked at
	out     Reports
	err     error // why something that looked like a report is none
}

func newUnpacker(lim ReadLimits) *unpacker {
	lim = lim.withDefaults()
	return &unpacker{lim: lim, left: lim.Unpacked, entries: lim.Entries}
}

// full tells that nothing more is to be looked at.
func (u *unpacker) full() bool { return postino.Is(u.err, postino.Full) }

func (u *unpacker) result() (*Reports, error) {
	switch {
	case u.full(): // of what is beyond the limits a part counts as little as the whole
		return nil, u.err
	case u.out.Len() > 0:
		return &u.out, nil
	case u.err != nil:
		return nil, u.err
	}
	return nil, postino.E(postino.Invalid, "read report", "", errNothing)
}

// The forms that octets may have.
const (
	gzipForm = 'g'
	zipForm  = 'z'
	xmlForm  = 'x'
	jsonForm = 'j'
)

// formOf tells by their beginning what octets are, 0 when they are none of these.
// What a part or a file calls itself says nothing.
func formOf(b []byte) byte {
	switch {
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		return gzipForm
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		return zipForm
	}
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case bytes.HasPrefix(b, []byte("<?xml")), bytes.HasPrefix(b, []byte("<feedback")):
		return xmlForm
	case bytes.HasPrefix(b, []byte("{")):
		return jsonForm
	}
	return 0
}

// look reads the report in b, or unpacks it. It calls itself no deeper than
// lim.Nested.
func (u *unpacker) look(b []byte, depth int) {
	var err error
	switch formOf(b) {
	case gzipForm:
		err = u.gunzip(b, depth)
	case zipForm:
		err = u.unzip(b, depth)
	case xmlForm:
		var a *Aggregate
		if a, err = ParseAggregate(bytes.NewReader(b), u.lim); err == nil {
			u.out.DMARC = append(u.out.DMARC, a)
		}
	case jsonForm:
		var t *TLSReport
		if t, err = ParseTLSReport(bytes.NewReader(b), u.lim); err == nil {
			u.out.TLS = append(u.out.TLS, t)
		}
	}
	if err != nil && !u.full() {
		u.err = err
	}
}

func (u *unpacker) gunzip(b []byte, depth int) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return postino.E(postino.Invalid, "unpack report", "", err)
	}
	return u.inner(z, int64(len(b)), depth)
}

func (u *unpacker) unzip(b []byte, depth int) error {
	// The directory of an archive is read as a whole: its length is bounded by
	// that of the archive.
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return postino.E(postino.Invalid, "unpack report", "", err)
	}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") || u.full() {
			continue
		}
		if u.entries--; u.entries < 0 {
			return postino.E(postino.Full, "unpack report", "", fmt.Errorf("more than %d files", u.lim.Entries))
		}
		in, err := f.Open()
		if err != nil {
			return postino.E(postino.Invalid, "unpack report", "", err)
		}
		err = u.inner(in, min(int64(f.CompressedSize64), int64(len(b))), depth)
		in.Close() // of memory
		if err != nil {
			return err
		}
	}
	return nil
}

// inner unpacks what takes packed octets and looks at it. The size that an archive
// states is not believed.
func (u *unpacker) inner(r io.Reader, packed int64, depth int) error {
	if depth >= u.lim.Nested {
		return postino.E(postino.Full, "unpack report", "", fmt.Errorf("archives are nested more than %d deep", u.lim.Nested))
	}
	room := min(u.left, max(64<<10, packed*u.lim.Ratio))
	b, err := io.ReadAll(io.LimitReader(r, room+1))
	if int64(len(b)) > room {
		return postino.E(postino.Full, "unpack report", "", errRatio)
	}
	if err != nil {
		return postino.E(postino.Invalid, "unpack report", "", err)
	}
	u.left -= int64(len(b))
	u.look(b, depth+1)
	return nil
}
