package main

import (
	"fmt"
	"strings"

	"github.com/postino-mail/postino"
)

// sendmailArgs is what a command line in the style of sendmail(8) asks for.
type sendmailArgs struct {
	mode   byte   // of -b: 'm' send, 's' SMTP on stdin and stdout, 'p' list the queue, 'i' aliases; 'q' run the queue
	config string // -C, -c

	extract  bool    // -t
	dots     bool    // -i, -oi: a line with a single dot does not end the input
	sender   *string // -f, -r: as given, may be empty
	fullName string  // -F
	notify   postino.DSNNotify
	ret      postino.DSNReturn
	envID    string
	body     postino.Body
	verbose  bool
	rcpts    []string
}

// sendmailFlag is one letter: whether it has a value, and what it does.
type sendmailFlag struct {
	value byte // 'n' none, 'y' in the same word or the next, 'o' in the same word or none
	set   func(a *sendmailArgs, value string) error
}

func ignored(*sendmailArgs, string) error { return nil }

// sendmailFlags are the flags of sendmail(8) as Sendmail, Postfix and Exim have
// them. Those that tune another program, or that only that program's own parts give
// to each other, are taken and mean nothing: programs pass them by habit.
func sendmailFlags() map[byte]sendmailFlag {
	flag := func(set func(a *sendmailArgs)) sendmailFlag {
		return sendmailFlag{'n', func(a *sendmailArgs, _ string) error { set(a); return nil }}
	}
	text := func(set func(a *sendmailArgs, v string)) sendmailFlag {
		return sendmailFlag{'y', func(a *sendmailArgs, v string) error { set(a, v); return nil }}
	}
	sender := text(func(a *sendmailArgs, v string) { a.sender = &v })
	config := text(func(a *sendmailArgs, v string) { a.config = v })
	return map[byte]sendmailFlag{
		'b': {'y', setMode},
		'i': flag(func(a *sendmailArgs) { a.dots = true }),
		't': flag(func(a *sendmailArgs) { a.extract = true }),
		'v': flag(func(a *sendmailArgs) { a.verbose = true }),
		'f': sender,
		'r': sender,
		'F': text(func(a *sendmailArgs, v string) { a.fullName = v }),
		'N': {'y', setNotify},
		'R': {'y', setReturn},
		'V': text(func(a *sendmailArgs, v string) { a.envID = v }),
		'B': {'y', setBody},
		'C': config,
		'c': config,
		'o': {'y', setOption},
		'O': {'y', setLongOption},
		'q': {'o', func(a *sendmailArgs, _ string) error {
			if a.mode == 'm' { // with -bd it is how often, and -bd is refused
				a.mode = 'q'
			}
			return nil
		}},

		'A': {'y', ignored}, 'D': {'y', ignored}, 'h': {'y', ignored}, 'L': {'y', ignored}, 'M': {'y', ignored},
		'p': {'y', ignored}, 'X': {'y', ignored},
		'd': {'o', ignored}, 'e': {'o', ignored}, 'Q': {'o', ignored},
		'G': {'n', ignored}, 'I': {'n', ignored}, 'm': {'n', ignored}, 'n': {'n', ignored},
		's': {'n', ignored}, 'T': {'n', ignored}, 'U': {'n', ignored}, 'x': {'n', ignored},
	}
}

// parseSendmail reads a command line. Flags and recipients may be mixed; what
// follows "--" are recipients. Flags without values may share a word, the last of
// them may have a value.
func parseSendmail(args []string) (*sendmailArgs, error) {
	a := &sendmailArgs{mode: 'm'}
	flags := sendmailFlags()
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			a.rcpts = append(a.rcpts, args...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			a.rcpts = append(a.rcpts, word)
			continue
		}
		for word = word[1:]; word != ""; {
			letter := word[0]
			f, ok := flags[letter]
			if !ok {
				return nil, fmt.Errorf("unknown flag -%c", letter)
			}
			word = word[1:]
			value := ""
			switch {
			case f.value == 'n':
			case word != "" || f.value == 'o':
				value, word = word, ""
			case len(args) == 0:
				return nil, fmt.Errorf("flag -%c needs a value", letter)
			default:
				value, args = args[0], args[1:]
			}
			if err := f.set(a, value); err != nil {
				return nil, fmt.Errorf("flag -%c: %w", letter, err)
			}
		}
	}
	return a, nil
}

func setMode(a *sendmailArgs, v string) error {
	switch v {
	case "m", "s", "p", "i":
		a.mode = v[0]
		return nil
	case "d", "D":
		return fmt.Errorf("b%s: the server is started with \"postino serve\"", v)
	}
	return fmt.Errorf("mode %q is not known", v)
}

// setNotify reads "never", or "success", "failure" and "delay" with commas.
func setNotify(a *sendmailArgs, v string) error {
	words := map[string]postino.DSNNotify{"never": postino.DSNNever, "success": postino.DSNSuccess, "failure": postino.DSNFailure, "delay": postino.DSNDelay}
	a.notify = 0
	for word := range strings.SplitSeq(strings.ToLower(v), ",") {
		n, ok := words[strings.TrimSpace(word)]
		if !ok {
			return fmt.Errorf("%q is none of never, success, failure, delay", word)
		}
		a.notify |= n
	}
	if a.notify&postino.DSNNever != 0 && a.notify != postino.DSNNever {
		return fmt.Errorf("never excludes the others")
	}
	return nil
}

func setReturn(a *sendmailArgs, v string) error {
	switch strings.ToLower(v) {
	case "full":
		a.ret = postino.DSNReturnFull
	case "hdrs":
		a.ret = postino.DSNReturnHeaders
	default:
		return fmt.Errorf("%q is neither full nor hdrs", v)
	}
	return nil
}

func setBody(a *sendmailArgs, v string) error {
	switch strings.ToUpper(v) {
	case "7BIT":
		a.body = postino.Body7Bit
	case "8BITMIME":
		a.body = postino.Body8BitMIME
	default:
		return fmt.Errorf("%q is neither 7BIT nor 8BITMIME", v)
	}
	return nil
}

// setOption is -o with the options of one letter that Sendmail 8.6 had.
func setOption(a *sendmailArgs, v string) error {
	if v != "" && v[0] == 'i' {
		a.dots = true
	}
	return nil
}

// setLongOption is -O Name=value.
func setLongOption(a *sendmailArgs, v string) error {
	name, value, _ := strings.Cut(v, "=")
	if strings.EqualFold(name, "IgnoreDots") && !strings.HasPrefix(strings.ToLower(value), "f") {
		a.dots = true
	}
	return nil
}
