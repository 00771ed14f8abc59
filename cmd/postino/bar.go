package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// bar shows how far long work has come: in one line on a terminal, else in lines, not
// too many.
type bar struct {
	e        *env
	terminal bool
	last     time.Time
	box      string
	width    int // of what stands on the line
}

const (
	barWidth   = 24
	drawEvery  = 200 * time.Millisecond
	printEvery = 10 * time.Second
)

func newBar(e *env) *bar {
	f, ok := e.err.(*os.File)
	return &bar{e: e, terminal: ok && isTerminal(f), last: time.Now()}
}

// show tells that of a mailbox, the at-th of boxes, done messages of total are
// through; total is -1 when it is not known.
func (b *bar) show(box string, at, boxes int, done, total, octets int64) {
	now := time.Now()
	wait := printEvery
	if b.terminal {
		wait = drawEvery
	}
	if now.Sub(b.last) < wait && (!b.terminal || b.box == box) {
		return
	}
	b.last, b.box = now, box
	text := fmt.Sprintf("%s (%d of %d): %d messages, %v", postino.Printable(box), at+1, boxes, done, size(octets))
	if total >= 0 {
		text = fmt.Sprintf("%s (%d of %d): %d of %d messages, %v", postino.Printable(box), at+1, boxes, done, total, size(octets))
	}
	if !b.terminal {
		fmt.Fprintln(b.e.err, text)
		return
	}
	if total > 0 {
		n := int(min(done, total) * barWidth / total)
		text = "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "] " + text
	}
	if r := []rune(text); len(r) > 100 {
		text = string(r[:100])
	}
	b.clear()
	fmt.Fprint(b.e.err, text)
	b.width = len([]rune(text))
}

// clear empties the line.
func (b *bar) clear() {
	if b.width > 0 {
		fmt.Fprint(b.e.err, "\r"+strings.Repeat(" ", b.width)+"\r")
		b.width = 0
	}
}
