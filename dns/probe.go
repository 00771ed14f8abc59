package dns

import (
	"context"
	"errors"
	"fmt"

	"github.com/postino-mail/postino"
)

// The names that Probe asks for unless told otherwise: a zone that is signed,
// and one whose operator keeps its chain of trust broken for such tests.
const (
	ProbeSigned = "ietf.org"
	ProbeBogus  = "dnssec-failed.org"
)

// ErrNotValidating is wrapped by the error of Probe about a server whose AD
// bit means nothing.
var ErrNotValidating = errors.New("the name server does not validate (DNSSEC)")

// Probe tests the servers whose AD bit counts: each must call the signed name
// Secure and refuse the bogus one; "" stands for ProbeSigned and ProbeBogus.
// The answers of a server that fails are Unknown from then on, until a later
// Probe finds it fit; what a server that cannot be reached says keeps its
// standing. The cache is not asked, and forgets what was held on the word of
// a server that failed.
//
// The error joins what is wrong with each server, of kind Denied wrapping
// ErrNotValidating, or Transient. Without such servers there is none to test,
// and the error is Denied.
func (s *Stub) Probe(ctx context.Context, signed, bogus string) error {
	if signed == "" {
		signed = ProbeSigned
	}
	if bogus == "" {
		bogus = ProbeBogus
	}
	var all []error
	tested := false
	for _, server := range s.opts.Servers {
		if !server.validates() {
			continue
		}
		tested = true
		err := s.probe(ctx, server, signed, bogus)
		switch {
		case errors.Is(err, ErrNotValidating):
			s.unfit.Store(server.Addr, true)
			s.cache.entries.InvalidateAll()
		case err == nil:
			s.unfit.Delete(server.Addr)
		}
		if err != nil {
			all = append(all, err)
		}
	}
	if !tested {
		return postino.E(postino.Denied, "probe name servers", "", fmt.Errorf("none is trusted: %w", ErrNotValidating))
	}
	return errors.Join(all...)
}

// probe tests one server. It was trusted to start with, so the AD bit that is
// looked at is that of the message.
func (s *Stub) probe(ctx context.Context, server Server, signed, bogus string) error {
	const op = "probe name server"
	ctx, cancel := context.WithTimeout(ctx, 2*s.opts.Timeout)
	defer cancel()
	object := server.Addr.String()
	m, err := s.fetch(ctx, server, signed, TypeA, withEDNS)
	if err != nil {
		return postino.E(postino.Transient, op, object, err)
	}
	if _, err := extract(m, signed, TypeA); err != nil && !postino.Is(err, postino.NotFound) {
		return postino.E(postino.Transient, op, object, err)
	}
	if !m.AuthenticatedData {
		return postino.E(postino.Denied, op, object, fmt.Errorf("%s is not called secure: %w", signed, ErrNotValidating))
	}
	m, err = s.fetch(ctx, server, bogus, TypeA, withEDNS)
	if err != nil {
		return postino.E(postino.Transient, op, object, err)
	}
	if _, err := extract(m, bogus, TypeA); err == nil || postino.Is(err, postino.NotFound) {
		return postino.E(postino.Denied, op, object, fmt.Errorf("%s is not refused: %w", bogus, ErrNotValidating))
	}
	return nil
}

// distrusted tells whether the server failed the last Probe.
func (s *Stub) distrusted(server Server) bool {
	_, failed := s.unfit.Load(server.Addr)
	return failed
}
