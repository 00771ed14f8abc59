package imap

import (
	"context"
	"math"
	"strings"
	"time"
)

// progressKey is where the contexts that a [Session] gets hold their connection.
type progressKey struct{}

// Progress tells the client how far a long command came: done of total things, mostly
// messages; total 0: nobody knows (RFC 9585 §4). A Session calls it as often as it
// likes, from its own goroutine, with the context that it was given; between
// [FetchWriter.Begin] and End nothing is said. The client hears of it once in
// Limits.ProgressTime, which also keeps it from giving up.
func Progress(ctx context.Context, done, total int) {
	if c, ok := ctx.Value(progressKey{}).(*conn); ok {
		c.progress(done, total)
	}
}

// progress prints INPROGRESS if it is time for it. Between commands and in IDLE no
// command is under way.
func (c *conn) progress(done, total int) {
	if c.cmd == nil || c.state == notAuthenticated || c.idling.Load() || c.out.within || c.out.err != nil || time.Since(c.told) < c.lim.ProgressTime {
		return
	}
	c.told = time.Now()
	o := &c.out
	o.str(`* OK [INPROGRESS (`)
	if strings.Contains(string(c.tag), "]") { // it would end the response code
		o.str("NIL")
	} else {
		o.str(`"`)
		o.buf = append(o.buf, c.tag...)
		o.str(`"`)
	}
	// The goal is above the progress, or not known.
	known, goal := done >= 0 && done <= math.MaxUint32, total > done && total <= math.MaxUint32
	switch {
	case !known || total > 0 && !goal:
		o.str(" NIL NIL")
	case !goal:
		o.str(" ")
		o.num64(int64(done))
		o.str(" NIL")
	default:
		o.str(" ")
		o.num64(int64(done))
		o.str(" ")
		o.num64(int64(total))
	}
	o.str(")")
	o.codeEnd("Still working")
	o.flush()
}
