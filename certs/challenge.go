package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// challenges are the answers that an authority may come for now.
type challenges struct {
	mu     sync.Mutex
	tokens map[string]string // token → key authorization
	certs  map[string]*tls.Certificate
}

// certificate is what TLS-ALPN-01 shows for a name (RFC 8737 §3), nil without a
// challenge.
func (c *challenges) certificate(name string) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.certs[strings.ToLower(name)]
}

// Challenge is the answer to HTTP-01: the text at
// /.well-known/acme-challenge/TOKEN (RFC 8555 §8.3).
func (s *Source) Challenge(token string) (text string, ok bool) {
	s.proof.mu.Lock()
	defer s.proof.mu.Unlock()
	text, ok = s.proof.tokens[token]
	return text, ok
}

// solvers are the ways to prove that we hold a name, by challenge type.
func (a *ACME) solvers() map[string]acmez.Solver {
	all := map[string]acmez.Solver{}
	if a.opts.HTTP01 {
		all[acme.ChallengeTypeHTTP01] = httpSolver{&a.opts.Source.proof}
	}
	if a.opts.TLSALPN01 {
		all[acme.ChallengeTypeTLSALPN01] = alpnSolver{&a.opts.Source.proof}
	}
	if a.opts.DNS01 != nil {
		all[acme.ChallengeTypeDNS01] = dnsSolver{a}
	}
	return all
}

type httpSolver struct{ c *challenges }

func (s httpSolver) Present(_ context.Context, ch acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.tokens == nil {
		s.c.tokens = map[string]string{}
	}
	s.c.tokens[ch.Token] = ch.KeyAuthorization
	return nil
}

func (s httpSolver) CleanUp(_ context.Context, ch acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.tokens, ch.Token)
	return nil
}

type alpnSolver struct{ c *challenges }

func (s alpnSolver) Present(_ context.Context, ch acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(ch)
	if err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.certs == nil {
		s.c.certs = map[string]*tls.Certificate{}
	}
	s.c.certs[strings.ToLower(ch.Identifier.Value)] = cert
	return nil
}

func (s alpnSolver) CleanUp(_ context.Context, ch acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.certs, strings.ToLower(ch.Identifier.Value))
	return nil
}

// Updater changes DNS. *dns.Updater is one.
type Updater interface {
	AddTXT(ctx context.Context, name, value string, ttl time.Duration) error
	RemoveTXT(ctx context.Context, name, value string) error
}

// dnsSolver puts a TXT record beside the name (RFC 8555 §8.4).
type dnsSolver struct{ a *ACME }

// challengeTTL is short, as the record lives for minutes.
const challengeTTL = time.Minute

func (s dnsSolver) Present(ctx context.Context, ch acme.Challenge) error {
	name, err := s.at(ctx, ch)
	if err != nil {
		return err
	}
	return s.a.opts.DNS01.AddTXT(ctx, name, ch.DNS01KeyAuthorization(), challengeTTL)
}

// Wait lets the servers of the zone learn the record from the one that we told.
func (s dnsSolver) Wait(ctx context.Context, _ acme.Challenge) error {
	select {
	case <-time.After(s.a.opts.DNSWait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s dnsSolver) CleanUp(ctx context.Context, ch acme.Challenge) error {
	name, err := s.at(ctx, ch)
	if err != nil {
		return err
	}
	return s.a.opts.DNS01.RemoveTXT(ctx, name, ch.DNS01KeyAuthorization())
}

// at is where the record goes: a CNAME may lead to a zone that is made for it.
func (s dnsSolver) at(ctx context.Context, ch acme.Challenge) (string, error) {
	name := ch.DNS01TXTRecordName()
	if s.a.opts.DNS == nil {
		return name, nil
	}
	alias, err := s.a.opts.DNS.Lookup(ctx, name, dns.TypeCNAME)
	switch {
	case err == nil && len(alias.Hosts) == 1:
		return alias.Hosts[0], nil
	case err == nil || postino.Is(err, postino.NotFound):
		return name, nil
	case errors.Is(err, context.Canceled):
		return "", err
	}
	s.a.obs.log.Warn("where the challenge goes is not known, taking its own name", "name", name, "err", err)
	return name, nil
}
