package smtp

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// Replies of MAIL and RCPT that do not depend on the client's text.
var (
	replyParamSyntax  = &Reply{501, "5.5.4", "Syntax error in parameters"}
	replyParamUnknown = &Reply{555, "5.5.4", "Parameter not recognized or not implemented"}
	replyParamTwice   = &Reply{501, "5.5.4", "Parameter given twice"}
	replyTooBig       = &Reply{552, "5.3.4", "Message size exceeds fixed limit"}
)

// extensions says which optional parameters were announced, and their bounds.
type extensions struct {
	dsn, binary, auth     bool
	requireTLS, rrvs      bool
	deliverBy, priority   bool
	raise                 bool          // priorities above 0 are believed
	solicit               bool          // SOLICIT is announced
	unwanted              []string      // with these classes
	deliverByMin, holdFor time.Duration // holdFor 0: not announced
	holdUntil             time.Time     // the latest date that EHLO told
	size                  int64         // largest message
	now                   time.Time
	lowered               bool // out: a priority was not believed
}

// nextParam takes one esmtp-param off s, which is empty or begins with a space
// (RFC 5321 §4.1.2, RFC 6531 §3.3 for UTF-8 in values). A parameter without a
// value has the value "". more is false at the end, ok false on bad syntax.
func nextParam(s string) (key, value, rest string, more, ok bool) {
	trimmed := strings.TrimLeft(s, " ")
	if trimmed == "" {
		return "", "", "", false, true
	}
	if trimmed == s {
		return "", "", "", false, false
	}
	param, rest := trimmed, ""
	if i := strings.IndexByte(trimmed, ' '); i >= 0 {
		param, rest = trimmed[:i], trimmed[i:]
	}
	key, value, hasValue := strings.Cut(param, "=")
	for i := range len(key) {
		if c := key[i]; !isAlnum(c) && (c != '-' || i == 0) {
			return "", "", "", false, false
		}
	}
	if key == "" || hasValue && value == "" || strings.IndexByte(value, '=') >= 0 {
		return "", "", "", false, false
	}
	return key, value, rest, true, true
}

// parseMailParams reads what follows the path of MAIL; nil is success. (It and
// parseRcptParams call no function by its value: what they fill stays on the
// stack.)
func parseMailParams(s string, ext *extensions, o *MailOptions) *Reply {
	for seen := uint32(0); ; {
		key, value, rest, more, ok := nextParam(s)
		switch {
		case !ok:
			return replyParamSyntax
		case !more && !o.DeliverBy.IsZero() && o.HoldUntil.After(o.DeliverBy):
			return replyParamSyntax // RFC 4865 §5.2.2
		case !more:
			return nil
		}
		id, r := readMailParam(key, value, ext, o)
		if r != nil {
			return r
		}
		if seen&(1<<id) != 0 {
			return replyParamTwice
		}
		seen |= 1 << id
		s = rest
	}
}

// parseRcptParams reads what follows the path of RCPT; nil is success.
func parseRcptParams(s string, ext *extensions, to *postino.Recipient) *Reply {
	for seen := uint32(0); ; {
		key, value, rest, more, ok := nextParam(s)
		switch {
		case !ok:
			return replyParamSyntax
		case !more:
			return nil
		}
		id, r := readRcptParam(key, value, ext, to)
		if r != nil {
			return r
		}
		if seen&(1<<id) != 0 {
			return replyParamTwice
		}
		seen |= 1 << id
		s = rest
	}
}

// readMailParam is the table of the parameters of MAIL: their numbers, whether
// they were announced, and who reads them.
func readMailParam(key, v string, ext *extensions, o *MailOptions) (id int, r *Reply) {
	on := false
	switch strings.ToUpper(key) {
	case "SIZE":
		id, on, r = 0, true, readSize(v, ext, o)
	case "BODY":
		id, on, r = 1, true, readBody(v, ext, o)
	case "SMTPUTF8":
		id, on, r = 2, true, readFlag(v, &o.SMTPUTF8)
	case "RET":
		id, on, r = 3, ext.dsn, readRet(v, o)
	case "ENVID":
		id, on, r = 4, ext.dsn, readEnvID(v, o)
	case "AUTH":
		id, on, r = 5, ext.auth, readSubmitter(v, o)
	case "REQUIRETLS":
		id, on, r = 6, ext.requireTLS, readFlag(v, &o.RequireTLS)
	case "HOLDFOR":
		id, on, r = 7, ext.holdFor > 0, readHoldFor(v, ext, o)
	case "HOLDUNTIL":
		id, on, r = 7, ext.holdFor > 0, readHoldUntil(v, ext, o) // one of them only (RFC 4865 §4.2)
	case "BY":
		id, on, r = 8, ext.deliverBy, readDeliverBy(v, ext, o)
	case "MT-PRIORITY":
		id, on, r = 9, ext.priority, readPriority(v, ext, o)
	case "SOLICIT":
		id, on, r = 10, ext.solicit, readSolicit(v, ext, o)
	}
	if !on {
		return id, replyParamUnknown
	}
	return id, r
}

// readRcptParam is the table of the parameters of RCPT.
func readRcptParam(key, v string, ext *extensions, to *postino.Recipient) (id int, r *Reply) {
	on := false
	switch strings.ToUpper(key) {
	case "NOTIFY":
		id, on, r = 0, ext.dsn, readNotify(v, to)
	case "ORCPT":
		id, on, r = 1, ext.dsn, readORcpt(v, to)
	case "RRVS":
		id, on, r = 2, ext.rrvs, readValidSince(v, to)
	}
	if !on {
		return id, replyParamUnknown
	}
	return id, r
}

// syntax is the reply to a value that is good or not.
func syntax(good bool) *Reply {
	if good {
		return nil
	}
	return replyParamSyntax
}

func readFlag(v string, to *bool) *Reply {
	*to = true
	return syntax(v == "")
}

func readSize(v string, ext *extensions, o *MailOptions) *Reply {
	n, good := parseSize(v)
	if good && n > ext.size {
		return replyTooBig // RFC 1870 §6.1
	}
	o.Size = n
	return syntax(good)
}

func readBody(v string, ext *extensions, o *MailOptions) *Reply {
	switch {
	case strings.EqualFold(v, "7BIT"):
		o.Body = postino.Body7Bit
	case strings.EqualFold(v, "8BITMIME"):
		o.Body = postino.Body8BitMIME
	case strings.EqualFold(v, "BINARYMIME") && ext.binary:
		o.Body = postino.BodyBinaryMIME
	case v != "":
		return replyParamUnknown
	default:
		return replyParamSyntax
	}
	return nil
}

func readRet(v string, o *MailOptions) *Reply {
	switch {
	case strings.EqualFold(v, "FULL"):
		o.Ret = postino.DSNReturnFull
	case strings.EqualFold(v, "HDRS"):
		o.Ret = postino.DSNReturnHeaders
	default:
		return replyParamSyntax
	}
	return nil
}

func readEnvID(v string, o *MailOptions) *Reply { // RFC 3461 §4.4
	text, good := decodeXtext(v)
	o.EnvID = text
	return syntax(good && len(v) <= 100)
}

func readSubmitter(v string, o *MailOptions) *Reply {
	a, good := parseSubmitter(v)
	o.Auth, o.HasAuth = a, true
	return syntax(good)
}

func readNotify(v string, to *postino.Recipient) *Reply {
	set, good := parseNotify(v)
	to.Notify = set
	return syntax(good)
}

func readORcpt(v string, to *postino.Recipient) *Reply {
	text, good := parseORcpt(v)
	to.ORcpt = text
	return syntax(good)
}

// parseSize reads 1*20DIGIT (RFC 1870 §3). What does not fit into 63 bits is
// as large as can be (SS5).
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 20 || s[0] < '0' || s[0] > '9' { // ParseInt takes a sign
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// parseSubmitter reads the value of AUTH=: xtext of a mailbox or of "<>"
// (RFC 4954 §5).
func parseSubmitter(s string) (postino.Address, bool) {
	text, ok := decodeXtext(s)
	if !ok || text == "<>" {
		return postino.Address{}, ok
	}
	a, err := postino.ParseAddress(text)
	return a, err == nil
}

// parseNotify reads NEVER or a list of conditions (RFC 3461 §4.1).
func parseNotify(s string) (postino.DSNNotify, bool) {
	var set postino.DSNNotify
	for part := range strings.SplitSeq(s, ",") {
		var one postino.DSNNotify
		switch {
		case strings.EqualFold(part, "NEVER"):
			one = postino.DSNNever
		case strings.EqualFold(part, "SUCCESS"):
			one = postino.DSNSuccess
		case strings.EqualFold(part, "FAILURE"):
			one = postino.DSNFailure
		case strings.EqualFold(part, "DELAY"):
			one = postino.DSNDelay
		}
		if one == 0 || set&one != 0 {
			return 0, false
		}
		set |= one
	}
	return set, set&postino.DSNNever == 0 || set == postino.DSNNever
}

// parseORcpt reads addr-type ";" address (RFC 3461 §4.2), where the type utf-8
// has its own escapes (RFC 6533 §3), and returns it decoded. Postfix codes the
// octets of an internationalized address as xtext and calls it rfc822: that is
// understood as utf-8, for else its mail would be refused.
func parseORcpt(s string) (string, bool) {
	kind, coded, ok := strings.Cut(s, ";")
	if !ok || len(s) > 500 || kind == "" || coded == "" {
		return "", false
	}
	for i := range len(kind) {
		if c := kind[i]; !isAlnum(c) && c != '-' {
			return "", false
		}
	}
	var text string
	switch {
	case strings.EqualFold(kind, "utf-8"):
		text, ok = decodeUTF8Address(coded)
	case strings.EqualFold(kind, "rfc822"):
		if text, ok = decodeXtextUTF8(coded); !isASCII(text) {
			kind = "utf-8"
		}
	default:
		text, ok = decodeXtext(coded)
	}
	return kind + ";" + text, ok
}
