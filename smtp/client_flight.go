package smtp

// Sizes of a flight: what is sent without waiting for replies.
const (
	// flightMax is how many octets of commands go out before replies are read;
	// the replies to so few fit into any window (RFC 2920 §3.1). More commands
	// are written while replies are read.
	flightMax = 2 << 10
	// A small message goes in one piece, with Options.OneFlight along with its
	// envelope. It must fit into one buffer even if every line end doubles.
	smallBody     = 12 << 10
	smallEnvelope = 6 << 10
	smallRcpts    = 8
)

// flight sends the whole envelope, with DATA if that comes next or with the
// content if it is small, and hears what there is to the envelope (RFC 2920 §3.1).
func (t *sending) flight(small, content bool) error {
	c := t.c
	limit := bufferSize
	if small {
		limit = smallEnvelope // the content lies behind
	}
	b, owed := t.buf[:0:limit], c.owed
	if owed {
		b = append(b, "RSET\r\n"...)
	}
	c.begin()
	b = t.appendMail(b)
	b, next := t.appendRcpts(b, 0, flightMax)
	var rest chan error
	switch {
	case next < t.n && !small:
		rest = make(chan error, 1)
		go func() { rest <- t.writeRest(b, next) }()
	default:
		b, _ = t.appendRcpts(b, next, 1<<30)
		if b = t.appendLast(b); content {
			b = t.join(b)
		}
		if err := t.write(b); err != nil {
			c.lost(err)
		} else {
			t.sent = content
		}
	}
	err := t.hearEnvelope(owed)
	if rest == nil {
		return err
	}
	// After an error the connection is closed, so that the writer ends too.
	if werr := <-rest; err == nil && werr != nil {
		c.lost(werr)
	}
	return err
}

// appendRcpts appends RCPT commands from number k on until b is limit long.
func (t *sending) appendRcpts(b []byte, k, limit int) ([]byte, int) {
	for ; k < t.n && len(b) < limit; k++ {
		b = t.appendRcpt(b, &t.m.Envelope.Rcpts[t.rcpt(k)])
	}
	return b, k
}

// appendLast appends what ends a flight: DATA, or nothing when a BDAT follows.
func (t *sending) appendLast(b []byte) []byte {
	if t.chunked || t.probe {
		return b
	}
	return append(b, "DATA\r\n"...)
}

// join puts BDAT and the small content behind the commands.
func (t *sending) join(b []byte) []byte {
	text := t.body.buf
	b = appendBdat(b, len(text), true)
	if len(b) > smallEnvelope { // it has left the buffer
		return append(b, text...)
	}
	n := copy(t.buf[len(b):], text)
	return t.buf[:len(b)+n]
}

// writeRest sends b and the recipients from number k on.
func (t *sending) writeRest(b []byte, k int) error {
	for {
		if err := t.write(b); err != nil {
			return err
		}
		if k == t.n {
			return nil
		}
		if b, k = t.appendRcpts(b[:0], k, bufferSize/2); k == t.n {
			b = t.appendLast(b)
		}
	}
}
