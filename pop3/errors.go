package pop3

import (
	"errors"

	"github.com/postino-mail/postino"
)

// Error is a refusal with a response code of its own (RFC 2449 §8).
type Error struct {
	code string // without brackets
	text text
}

// What a [Session] may answer beside the classes of package postino.
var (
	// ErrInUse: another session has locked the maildrop (RFC 2449 §8.1.2).
	ErrInUse = &Error{"IN-USE", textInUse}
	// ErrLoginDelay: the user logged in too short a time ago (RFC 2449 §8.1.1).
	ErrLoginDelay = &Error{"LOGIN-DELAY", textLoginDelay}
	// ErrInsecure: this login needs TLS.
	ErrInsecure = &Error{"AUTH", textNeedTLS}
)

// Error gives code and text in English.
func (e *Error) Error() string {
	if e.code == "" {
		return texts[english][e.text]
	}
	return "[" + e.code + "] " + texts[english][e.text]
}

// Refusals of the engine itself.
var (
	errSyntax      = &Error{"", textSyntax}
	errUnknown     = &Error{"", textUnknown}
	errLogInFirst  = &Error{"", textLogInFirst}
	errLoggedIn    = &Error{"", textLoggedIn}
	errNoMessage   = &Error{"", textNoMessage}
	errDeleted     = &Error{"", textDeleted}
	errGone        = &Error{"", textGone}
	errUserFirst   = &Error{"", textUserFirst}
	errMechanism   = &Error{"", textNoMechanism}
	errCancelled   = &Error{"", textCancelled}
	errLanguage    = &Error{"", textNoLanguage}
	errNotOffered  = &Error{"", textNotOffered}
	errCredentials = &Error{"AUTH", textDenied}
	errUserLimit   = &Error{"SYS/TEMP", textTooMany}
	errBusy        = &Error{"SYS/TEMP", textTooMany}
)

// refusals is the one table from the class of an error to the reply (RFC 3206 §4):
// SYS/TEMP where trying again may help, SYS/PERM where somebody must look.
var refusals = [...]*Error{
	postino.Internal:  {"SYS/PERM", textInternal},
	postino.Invalid:   errSyntax,
	postino.NotFound:  errGone,
	postino.Denied:    errCredentials,
	postino.Full:      {"SYS/TEMP", textFull},
	postino.Conflict:  ErrInUse,
	postino.Transient: {"SYS/TEMP", textTransient},
	postino.Corrupt:   {"SYS/PERM", textCorrupt},
}

// refusalFor says how an error is answered.
func refusalFor(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return refusals[postino.KindOf(err)]
}

// isFault tells whether an error means trouble in the server.
func isFault(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return false
	}
	switch postino.KindOf(err) {
	case postino.Internal, postino.Corrupt, postino.Transient:
		return true
	}
	return false
}
