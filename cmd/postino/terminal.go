package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/postino-mail/postino"
)

// isTerminal tells whether a person can answer on f.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// ask prompts for a secret without showing it.
func ask(e *env, prompt string) (string, error) {
	fmt.Fprint(e.out, prompt)
	b, err := term.ReadPassword(int(e.in.Fd()))
	fmt.Fprintln(e.out)
	if err != nil {
		return "", postino.E(postino.Invalid, "read password", "", err)
	}
	return string(b), nil
}

// size is a number of octets that reads and prints with a binary unit.
type size int64

var units = []struct {
	name string
	n    int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads "10GiB", "10 GiB" or a plain number of octets.
func (s *size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	unit := int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(n), u.n
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<62/unit {
		return fmt.Errorf("%q is no size; write it like 500MiB or 10GiB", b)
	}
	*s = size(n * unit)
	return nil
}

// String prints with one decimal of the largest unit that fits.
func (s size) String() string {
	for _, u := range units {
		if int64(s) >= u.n && u.n > 1 {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// terminalSize is the width and height of a terminal, 0 when they are not known.
func terminalSize(f *os.File) (columns, rows int) {
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}
