package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
)

// acmeALPN is what an authority offers that looks for a challenge (RFC 8737 §6.2).
const acmeALPN = "acme-tls/1"

// maxChain bounds the chain of a client's certificate (TL1).
const maxChain = 10

// Service is what a listener needs of its TLS settings.
type Service struct {
	// ALPN are the names of the protocol; a client that offers any must offer
	// one of them (TL2). Without names what it offers is ignored.
	ALPN []string
	// ClientCAs are authorities whose certificates clients may show; nil: none are
	// asked for.
	ClientCAs *x509.CertPool
	// Challenges lets authorities see that we hold a name (TLS-ALPN-01); on port
	// 443 only.
	Challenges bool
}

// Config returns TLS settings for one listener. Each has ticket keys of its own,
// which crypto/tls changes every 24 hours, so that no service takes the tickets of
// another or of one with other client authorities (TL2).
func (s *Source) Config(svc Service) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: svc.ALPN,
		CipherSuites: []uint16{ // TLS 1.2: AEAD and forward secrecy only (RFC 9325 §4.2)
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		// RFC 9325 §4.4, and the hybrid that outlasts quantum computers first.
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384},
		GetCertificate:   s.certificate,
	}
	if svc.ClientCAs != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, svc.ClientCAs
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) > maxChain {
				return errors.New("the chain of certificates is too long")
			}
			return nil
		}
	}
	if svc.Challenges {
		proof := s.proofConfig()
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Equal(hello.SupportedProtos, []string{acmeALPN}) { // RFC 8737 §3: this one alone
				return proof, nil
			}
			return nil, nil
		}
	}
	s.bindTickets(cfg)
	return cfg
}

// bindTickets makes a ticket void when the certificates of its name change: a
// client that resumes believes what it was shown before.
func (s *Source) bindTickets(cfg *tls.Config) {
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, s.inUse.Load().mark(cs.ServerName))
		return cfg.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := cfg.DecryptTicket(ticket, cs)
		if err != nil || ss == nil {
			return nil, err
		}
		want := s.inUse.Load().mark(cs.ServerName)
		own := func(x []byte) bool { return len(x) == sha256.Size }
		if i := slices.IndexFunc(ss.Extra, own); i < 0 || !slices.Equal(ss.Extra[i], want) {
			return nil, nil
		}
		ss.Extra = slices.DeleteFunc(ss.Extra, own) // the next ticket gets a mark of its own
		return ss, nil
	}
}

// proofConfig answers those who look for a challenge.
func (s *Source) proofConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acmeALPN}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.proof.certificate(hello.ServerName); c != nil {
				return c, nil
			}
			return nil, errors.New("no challenge for this name")
		},
	}
}
