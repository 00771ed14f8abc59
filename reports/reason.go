package reports

import "strings"

// enhanced returns the enhanced status code at the start of s, "5.1.1", or
// nothing (RFC 3463 §2: class "." subject "." detail).
func enhanced(s string) string {
	n, dots, digits := 0, 0, 0
	for n < len(s) {
		c := s[n]
		if c == '.' && digits > 0 && dots < 2 {
			dots, digits = dots+1, 0
		} else if '0' <= c && c <= '9' && digits < 3 {
			digits++
		} else {
			break
		}
		n++
	}
	if dots != 2 || digits == 0 || s[1] != '.' || s[0] != '2' && s[0] != '4' && s[0] != '5' {
		return ""
	}
	if n < len(s) && s[n] != ' ' && s[n] != '\t' {
		return ""
	}
	return s[:n]
}

// Code returns the enhanced status code that s, a whole reply or words of our own,
// begins with; of a reply only one that agrees with its number. Else nothing.
func Code(s string) string {
	s = strings.TrimSpace(s)
	if e := enhanced(s); e != "" {
		return e
	}
	number := replyCode(s)
	if number == "" {
		return ""
	}
	if e := enhanced(strings.TrimLeft(s[3:], " -")); e != "" && e[0] == number[0] {
		return e
	}
	return ""
}

// reason names the text that tells in plain words what a status code means, by
// the registry that RFC 5248 §2 set up: RFC 3463 §3 and its later entries.
func reason(code string) string {
	class, rest := code[0], code[2:]
	if class == '2' {
		return "ok"
	}
	if class == '4' {
		switch rest {
		case "7.0", "7.1":
			return "later" // greylisting, mostly
		case "2.0":
			return "busy"
		}
	}
	switch rest {
	case "1.1", "1.3", "1.4", "1.0":
		return "unknown"
	case "1.6":
		return "moved"
	case "1.2", "1.10", "4.4": // RFC 7505 §4.2: 1.10 is a null MX
		return "domain"
	case "1.7", "1.8", "1.9", "7.27": // RFC 7505 §4.2: 7.27, the sender has one
		return "sender"
	case "2.1", "2.0":
		return "disabled"
	case "2.2":
		return "full"
	case "2.3", "3.4":
		return "size"
	case "2.4":
		return "list"
	case "3.0", "3.1", "3.2", "3.5", "4.5":
		return "busy"
	case "4.0", "4.1", "4.2", "4.3":
		return "unreachable"
	case "4.6", "4.8":
		return "loop"
	case "4.7": // RFC 2852 §4 too
		return "expired"
	case "5.3":
		return "many"
	case "6.7", "6.8", "6.9", "6.10": // RFC 6531 §4.4
		return "utf8"
	case "7.2":
		return "members"
	case "7.4", "7.10", "7.11", "7.30": // RFC 8689 §8: 7.30
		return "tls"
	case "7.17", "7.18", "7.19": // RFC 7293 §5
		return "owner"
	case "7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.29": // RFC 7372 §3, RFC 8616
		return "identity"
	case "7.28":
		return "flood"
	}
	switch rest[0] {
	case '3', '6':
		return "content"
	case '5':
		return "protocol"
	case '7':
		return "policy"
	}
	return "other"
}

// replyReason is reason for a reply without an enhanced code: what RFC 5321
// §4.2.3 says about its number, where that is more than nothing.
func replyReason(code string) string {
	switch code {
	case "421", "450", "451", "452":
		return "busy"
	case "521", "556": // RFC 7504
		return "domain"
	case "552":
		return "full"
	case "553":
		return "unknown"
	case "530", "534", "535", "538", "554":
		return "policy"
	}
	if code[0] == '2' {
		return "ok"
	}
	return "other"
}

// StatusText tells in the language of the tag, English when there is none, what
// a code means: "The mailbox is full." It takes an enhanced status code, or a
// whole reply that has or lacks one; without any code it returns nothing.
func StatusText(code, lang string) string {
	if s := Code(code); s != "" {
		return newSpeaker(lang).say("reason."+reason(s), nil)
	}
	reply := replyCode(strings.TrimSpace(code))
	if reply == "" {
		return ""
	}
	return newSpeaker(lang).say("reason."+replyReason(reply), nil)
}

// why is the reason of a recipient: by its status, or by the reply where the
// status says nothing.
func (r *DSNRcpt) why() string {
	s := r.status()
	if strings.HasSuffix(s, ".0.0") && s[0] != '2' {
		words := clean(r.Diagnostic, maxValue)
		if code := replyCode(words); code != "" {
			if e := Code(words); e != "" {
				return reason(e)
			}
			return replyReason(code)
		}
	}
	if s[0] == '2' && (r.Action == Failed || r.Action == Delayed) {
		return "other" // a success that is none
	}
	return reason(s)
}
