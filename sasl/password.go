package sasl

import (
	"bytes"
	"context"
)

// plain is RFC 4616: one message, authzid NUL authcid NUL passwd.
type plain struct{ exchange }

// Next asks for the message when it did not come with the command, then checks it.
func (p *plain) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := p.count(response); err != nil {
		return nil, false, err
	}
	if response == nil {
		return []byte{}, false, nil
	}
	authz, rest, ok := bytes.Cut(response, []byte{0})
	user, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 {
		return nil, false, p.fail("PLAIN message without its two NULs")
	}
	// A third NUL is a control character in the password and refused there.
	return p.password(ctx, Credentials{Authz: string(authz), User: string(user), Password: string(password)})
}

// login is the obsolete LOGIN: it asks for the name, then for the password.
// Clients look for these prompts literally, or for none at all.
type login struct {
	exchange
	user string
	have bool
}

// Next takes the name, from an initial response too, and then the password.
func (l *login) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := l.count(response); err != nil {
		return nil, false, err
	}
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case !l.have:
		if !text(string(response), MaxName) {
			return nil, false, l.fail("name is not clean text of allowed length")
		}
		l.user, l.have = string(response), true
		return []byte("Password:"), false, nil
	}
	return l.password(ctx, Credentials{User: l.user, Password: string(response)})
}

// external is EXTERNAL (RFC 4422 §A): one message, the authorisation identity or
// nothing.
type external struct{ exchange }

// Next asks for the message when it did not come with the command.
func (e *external) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := e.count(response); err != nil {
		return nil, false, err
	}
	if response == nil {
		return []byte{}, false, nil
	}
	if !text(string(response), MaxName) {
		return nil, false, e.fail("name is not clean text of allowed length")
	}
	e.ended = true
	return e.finish(e.auth.External(ctx, string(response)))
}
