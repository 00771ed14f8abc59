package smtp

import (
	"crypto/tls"
	"errors"
	"os"
	"time"
)

// glance is how long Alive waits where it cannot just look.
const glance = time.Millisecond

// quiet tells whether the transport has neither ended nor brought anything.
// What a TLS peer sends between calls is its farewell too.
func (c *Client) quiet() bool {
	raw := c.raw
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if idle, known := peek(raw); known {
		return idle
	}
	if c.raw.SetReadDeadline(time.Now().Add(glance)) != nil {
		return false
	}
	err := c.wire.read()
	return errors.Is(err, os.ErrDeadlineExceeded)
}
