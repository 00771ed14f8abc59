package sasl

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"hash"
)

// Bindings are the channel bindings of a connection (RFC 5056) by type. There is
// more than one of a type while a server changes its certificate.
type Bindings map[string][][]byte

// The types of channel bindings.
const (
	Exporter = "tls-exporter"         // RFC 9266
	EndPoint = "tls-server-end-point" // RFC 5929 §4
	Unique   = "tls-unique"           // RFC 5929 §3, TLS 1.2 only
)

// exporterLabel is that of RFC 9266 §2; the context is empty, the length 32.
const exporterLabel = "EXPORTER-Channel-Binding"

// ServerBindings are what a server may be bound by: the keys of the connection,
// and the certificates that it may have shown. The state is nil in clear.
func ServerBindings(state *tls.ConnectionState, shown []*x509.Certificate) Bindings {
	if state == nil {
		return nil
	}
	b := connectionBindings(state)
	for _, c := range shown {
		if sum := endPoint(c); sum != nil {
			b[EndPoint] = append(b[EndPoint], sum)
		}
	}
	return b
}

// clientBinding is the one that a client uses.
func clientBinding(state *tls.ConnectionState) (kind string, data []byte) {
	if state == nil {
		return "", nil
	}
	b := connectionBindings(state)
	// RFC 9266 §3.1 has made the exporter the default of TLS 1.3; before it
	// tls-unique is what all servers with -PLUS know (RFC 5802 §6.1).
	for _, kind := range []string{Unique, Exporter} {
		if len(b[kind]) > 0 {
			return kind, b[kind][0]
		}
	}
	if len(state.PeerCertificates) > 0 {
		if sum := endPoint(state.PeerCertificates[0]); sum != nil {
			return EndPoint, sum
		}
	}
	return "", nil
}

// connectionBindings come from the keys. Both need the extended master secret
// in TLS 1.2 (RFC 9266 §3), without which the exporter gives an error.
func connectionBindings(state *tls.ConnectionState) Bindings {
	b := Bindings{}
	ekm, err := state.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		return b
	}
	b[Exporter] = [][]byte{ekm}
	if state.Version == tls.VersionTLS12 && len(state.TLSUnique) > 0 {
		b[Unique] = [][]byte{state.TLSUnique}
	}
	return b
}

// endPoint is the hash of a certificate with the hash of its signature, SHA-256
// for weaker ones; nil where the standard gives none, as for Ed25519.
func endPoint(c *x509.Certificate) []byte {
	var h hash.Hash
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		h = sha256.New()
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = sha512.New384()
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = sha512.New()
	default:
		return nil
	}
	h.Write(c.Raw)
	return h.Sum(nil)
}
