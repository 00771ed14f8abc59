package tlspolicy

import (
	"crypto/x509"
	"errors"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/fetch"
)

// Result is how a connection went in the words of reports (RFC 8460 §4.3).
type Result string

// The results. The empty one is success.
const (
	Success           Result = ""
	NoSTARTTLS        Result = "starttls-not-supported"
	HostMismatch      Result = "certificate-host-mismatch"
	Expired           Result = "certificate-expired"
	NotTrusted        Result = "certificate-not-trusted"
	ValidationFailure Result = "validation-failure"
	TLSAInvalid       Result = "tlsa-invalid"
	DNSSECInvalid     Result = "dnssec-invalid"
	DANERequired      Result = "dane-required"
	STSFetchError     Result = "sts-policy-fetch-error"
	STSInvalid        Result = "sts-policy-invalid"
	STSWebPKIInvalid  Result = "sts-webpki-invalid"
)

// Classify says which result an error of STARTTLS, of a handshake or of the
// verification of a certificate is.
func Classify(err error) Result {
	var (
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		ext     x509.UnhandledCriticalExtension
		sig     x509.ConstraintViolationError
	)
	switch {
	case err == nil:
		return Success
	case errors.Is(err, ErrNoTLSA), errors.As(err, &host): // RFC 8460 §4.3.1: the constraints of the policy
		return HostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired
	case errors.As(err, &invalid), errors.As(err, &unknown), errors.As(err, &ext), errors.As(err, &sig), errors.Is(err, ErrLongChain):
		return NotTrusted
	}
	return ValidationFailure
}

// classifyFetch says which result an error of FetchSTS is.
func classifyFetch(err error) Result {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, fetch.ErrCertificate):
		return STSWebPKIInvalid
	case postino.Is(err, postino.Invalid):
		return STSInvalid
	}
	return STSFetchError
}
