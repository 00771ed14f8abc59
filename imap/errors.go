package imap

import (
	"errors"

	"github.com/postino-mail/postino"
)

// Error is a reply that a [Session] chose itself.
type Error struct {
	// Bad answers BAD, a fault of the client's syntax, in place of NO.
	Bad bool
	// Code is the response code without brackets (RFC 9051 §7.1), or empty.
	Code string
	// Text is for people, plain ASCII on one line.
	Text string
	// Err is the cause, for logs only.
	Err error
}

// ErrExpungeIssued answers a command on messages that another session expunged
// (RFC 9051 §7.1 EXPUNGEISSUED).
var ErrExpungeIssued = &Error{Code: "EXPUNGEISSUED", Text: "Some of the messages no longer exist"}

// Error gives the text with code.
func (e *Error) Error() string {
	s := e.Text
	if e.Code != "" {
		s = "[" + e.Code + "] " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// replies is the one table from the class of an error to the IMAP reply
// (RFC 9051 §7.1, RFC 5530 §3).
var replies = [...]Error{
	postino.Internal:  {Code: "SERVERBUG", Text: "Internal error, see the server's log"},
	postino.Invalid:   {Code: "CANNOT", Text: "This is not possible"},
	postino.NotFound:  {Code: "NONEXISTENT", Text: "No such mailbox"},
	postino.Denied:    {Code: "NOPERM", Text: "Permission denied"},
	postino.Full:      {Code: "LIMIT", Text: "A limit of the server is reached"},
	postino.Conflict:  {Code: "INUSE", Text: "Somebody else changes this, try again"},
	postino.Transient: {Code: "UNAVAILABLE", Text: "Temporary failure, try again"},
	postino.Corrupt:   {Code: "CORRUPTION", Text: "Stored data is damaged"},
}

// replyFor says how an error of the session is answered.
func replyFor(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	kind := postino.KindOf(err)
	if kind == postino.Full {
		switch { // only what the user can do something about is his quota
		case errors.Is(err, postino.ErrQuota):
			return overQuota
		case errors.Is(err, postino.ErrNoSpace):
			return noSpace
		}
	}
	return &replies[kind]
}

var (
	overQuota = &Error{Code: "OVERQUOTA", Text: "Quota exhausted"}
	noSpace   = &Error{Code: "UNAVAILABLE", Text: "The server has no space left, try later"}
)

// exists answers a name that is taken (RFC 5530 §3 ALREADYEXISTS).
func exists(err error) error {
	return withCode(err, postino.Conflict, "ALREADYEXISTS", "The mailbox exists")
}

// withCode answers errors of one kind with another code than the table's.
func withCode(err error, kind postino.Kind, code, text string) error {
	var e *Error
	if err == nil || errors.As(err, &e) || !postino.Is(err, kind) {
		return err
	}
	return &Error{Code: code, Text: text, Err: err}
}
