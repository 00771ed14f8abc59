package dns

import (
	"context"
	"errors"
	"fmt"

	"github.com/postino-mail/postino"
)

// The names that servers are tested with unless told otherwise: a zone that is
// signed, and one whose operator keeps its chain of trust broken for such tests.
const (
	ProbeSigned = "ietf.org"
	ProbeBogus  = "dnssec-failed.org"
)

// errNotValidating tells of a server whose AD bit means nothing.
var errNotValidating = errors.New("the name server does not validate (DNSSEC)")

// probeAD tests a server whose AD bit would count: it must call the signed name
// secure and refuse the bogus one. The error wraps errNotValidating, or is
// another one when the server did not say.
func (c *client) probeAD(ctx context.Context, server Server, signed, bogus string) error {
	const op = "probe name server"
	m, err := c.fetch(ctx, server, signed, TypeSOA, withEDNS)
	if err != nil {
		return postino.E(postino.Transient, op, server.String(), err)
	}
	if _, err := extract(m, signed, TypeSOA); err != nil && !postino.Is(err, postino.NotFound) {
		return postino.E(postino.Transient, op, server.String(), err)
	}
	if !m.AuthenticatedData {
		return postino.E(postino.Denied, op, server.String(), fmt.Errorf("%s is not called secure: %w", signed, errNotValidating))
	}
	m, err = c.fetch(ctx, server, bogus, TypeSOA, withEDNS)
	if err != nil {
		return postino.E(postino.Transient, op, server.String(), err)
	}
	if _, err := extract(m, bogus, TypeSOA); err == nil || postino.Is(err, postino.NotFound) {
		return postino.E(postino.Denied, op, server.String(), fmt.Errorf("%s is not refused: %w", bogus, errNotValidating))
	}
	return nil
}

// probeProofs tests whether a server hands out what a proof needs: signatures
// and denials. The error wraps ErrBogus when it does not, and is another one
// when the server did not say.
func (v *Validator) probeProofs(ctx context.Context, signed string) error {
	for _, t := range []Type{TypeSOA, TypeTLSA} { // the second is a denial, as a rule
		a, err := v.Lookup(ctx, signed, t)
		if a == nil {
			return err
		}
		if a.Security != Secure {
			return postino.E(postino.Denied, "probe name server", signed, fmt.Errorf("%w: called %v", ErrBogus, a.Security))
		}
	}
	return nil
}
