package imap

import (
	"bytes"
	"io"
)

var errHeaderUTF8 = &Error{Code: "CANNOT", Text: "Octets above 127 in the header need ENABLE UTF8=ACCEPT"}

// asciiHeader passes a message on and fails at an octet above 127 in its header:
// so messages are refused that a client sends without having enabled UTF-8
// (RFC 9755 §4). What follows the header is not looked at.
type asciiHeader struct {
	w    io.Writer
	line bool // the present line has something
	done bool // the header is over
}

// Write implements io.Writer.
func (h *asciiHeader) Write(p []byte) (int, error) {
	for rest := p; !h.done && len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		for _, b := range line {
			if b >= 0x80 {
				return 0, errHeaderUTF8
			}
			h.line = h.line || b != '\r'
		}
		h.done = ended && !h.line
		h.line = h.line && !ended
		rest = after
	}
	return h.w.Write(p)
}
