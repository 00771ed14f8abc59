package config

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
)

// Error is one thing that is wrong in a file.
type Error struct {
	File         string
	Line, Column int    // from 1; columns count octets
	Key          string // "smtp.max_size"; empty when the text is not TOML
	Text         string // what is wrong and what to write instead
}

// Error reads "postino.toml:14:9: smtp.max_sise: unknown key. Did you mean …".
func (e Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Key != "" {
		s += e.Key + ": "
	}
	return s + e.Text
}

// Errors are all errors of a file, in the order of the text.
type Errors []Error

// Error gives each error its line.
func (e Errors) Error() string {
	var lines []string
	for _, x := range e {
		lines = append(lines, x.Error())
	}
	return strings.Join(lines, "\n")
}

// finding is an error at an offset of the text.
type finding struct {
	at        int
	key, text string
}

// locate turns findings into Errors, at most maxErrors of them.
func locate(file string, text []byte, found []finding) Errors {
	sort.SliceStable(found, func(i, j int) bool { return found[i].at < found[j].at })
	var errs Errors
	line, start := 1, 0 // of the line that the walk has reached
	for i, f := range found {
		if i == maxErrors {
			last := errs[len(errs)-1]
			errs = append(errs, Error{file, last.Line, last.Column, "", fmt.Sprintf("%d more errors follow", len(found)-maxErrors)})
			break
		}
		for {
			n := bytes.IndexByte(text[start:f.at], '\n')
			if n < 0 {
				break
			}
			line++
			start += n + 1
		}
		errs = append(errs, Error{file, line, f.at - start + 1, f.key, f.text})
	}
	return errs
}

// meant finds the name that was probably meant, or "". Of two as near, the one
// as long as what was written is taken.
func meant(got string, names []string) (best string) {
	limit := 1 + len(got)/3
	least := 2*limit + 2
	for _, n := range names {
		d := distance(got, n, limit)
		if d > limit {
			continue
		}
		d *= 2
		if len(n) != len(got) {
			d++
		}
		if d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is how many letters are to be added, left out, changed or swapped
// with their neighbour to make b of a; more than limit is limit+1.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var before, last, row [65 + 32]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit+1)
}
