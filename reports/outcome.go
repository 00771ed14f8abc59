package reports

import (
	"net/netip"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
)

// Disposition is what was done with a message by DMARC (RFC 9990 §3.1.1.9).
type Disposition string

// The dispositions. Of a published policy only None, Quarantine and Reject are
// used.
const (
	None       Disposition = "none" // nothing was to be done, or nothing was done
	Passed     Disposition = "pass" // it passed, and the policy would have done something
	Quarantine Disposition = "quarantine"
	Reject     Disposition = "reject"
)

// Why a disposition is not what the policy asks for (RFC 9990 §3.1.6).
const (
	LocalPolicy      = "local_policy"
	MailingList      = "mailing_list"
	TestMode         = "policy_test_mode"
	TrustedForwarder = "trusted_forwarder"
	OtherReason      = "other"
)

// Override says why a disposition is not what the policy asks for.
type Override struct {
	Type    string `json:"type"` // one of the words above
	Comment string `json:"comment,omitempty"`
}

// DKIMResult is what a signature was worth, aligned or not.
type DKIMResult struct {
	Domain   string          `json:"domain"`
	Selector string          `json:"selector,omitempty"`
	Result   mailauth.Result `json:"result"`
	Human    string          `json:"human,omitempty"` // the reason, for people
}

// SPFResult is what SPF said of the MAIL FROM identity. An empty Result: it was
// not asked.
type SPFResult struct {
	Domain string          `json:"domain,omitempty"`
	Result mailauth.Result `json:"result,omitempty"`
	Human  string          `json:"human,omitempty"`
}

// DMARCPolicy is a published policy with the defaults filled in (RFC 9990
// §3.1.1.5). What its domain does not publish may be empty.
type DMARCPolicy struct {
	Domain    string      `json:"domain"` // where the record was found
	P         Disposition `json:"p"`
	SP        Disposition `json:"sp,omitempty"`
	NP        Disposition `json:"np,omitempty"`
	ADKIM     string      `json:"adkim,omitempty"` // r or s
	ASPF      string      `json:"aspf,omitempty"`  // r or s
	FO        string      `json:"fo,omitempty"`
	Testing   string      `json:"testing,omitempty"`   // y or n
	Discovery string      `json:"discovery,omitempty"` // treewalk or psl
	Percent   string      `json:"percent,omitempty"`   // pct of the elder schema, as reports bring it
}

// DMARCOutcome is one message that DMARC judged. Domains are in lower-case
// A-labels. The collector keeps no slice of it.
type DMARCOutcome struct {
	Time   time.Time
	Source netip.Addr
	// HeaderFrom is the domain of From, EnvelopeFrom that of the reverse-path, ""
	// for the null sender. EnvelopeTo, the domain of the recipients, is put in
	// reports when it is not empty.
	HeaderFrom, EnvelopeFrom, EnvelopeTo string
	Policy                               DMARCPolicy
	// RUA are the URIs that the record names, in its order and as it writes them:
	// "mailto:dmarc@example.org!10m". Without one nothing is collected.
	RUA         []string
	Disposition Disposition
	// DKIMAligned and SPFAligned tell what passed for the domain of From.
	DKIMAligned, SPFAligned bool
	Reasons                 []Override
	DKIM                    []DKIMResult
	SPF                     SPFResult
	// Problem, when not empty, is what is wrong with the record, in words for its
	// owner (RFC 9990 §3.1.5).
	Problem string
	// Report tells that the message was itself a report to us. It is counted, but
	// alone it is no reason for a report: two servers would tell each other every
	// day of nothing but their reports.
	Report bool
}

// DMARCFailure is a message for whose failure its domain may want a report at
// once (RFC 9991).
type DMARCFailure struct {
	DMARCOutcome
	// RUF are the URIs that the record names. Records with psd=y have none (RFC
	// 9991 §2).
	RUF      []string
	MailFrom postino.Address
	// SourcePort is the client's, 0 when not known (RFC 6692).
	SourcePort uint16
	// Header is the message's as it came, up to any length: much of it is left out.
	Header []byte
	// SPFRecord is the record that SPF evaluated, when it failed.
	SPFRecord string
	// Message names the message in logs.
	Message postino.ID
}

// The types of policy that hold for a TLS connection (RFC 8460 §4.4).
const (
	PolicyTLSA = "tlsa"
	PolicySTS  = "sts"
	NoPolicy   = "no-policy-found"
)

// What can be wrong with a TLS connection or its policy (RFC 8460 §4.3).
const (
	StartTLSNotSupported = "starttls-not-supported"
	CertHostMismatch     = "certificate-host-mismatch"
	CertExpired          = "certificate-expired"
	CertNotTrusted       = "certificate-not-trusted"
	ValidationFailure    = "validation-failure"
	TLSAInvalid          = "tlsa-invalid"
	DNSSECInvalid        = "dnssec-invalid"
	DANERequired         = "dane-required"
	STSPolicyFetchError  = "sts-policy-fetch-error"
	STSPolicyInvalid     = "sts-policy-invalid"
	STSWebPKIInvalid     = "sts-webpki-invalid"
)

// TLSPolicy is what was required of a connection (RFC 8460 §4.4).
type TLSPolicy struct {
	Type   string `json:"policy-type"`   // PolicyTLSA, PolicySTS or NoPolicy
	Domain string `json:"policy-domain"` // the domain that mail was for; for TLSA the base of the records
	// Strings are the policy: the TLSA records in presentation format, or the lines
	// of the MTA-STS policy.
	Strings []string `json:"policy-string,omitempty"`
	// MX are the patterns of an MTA-STS policy.
	MX []string `json:"mx-host,omitempty"`
}

// TLSOutcome is one attempt to connect to a server of another domain. The
// collector keeps no slice of it.
type TLSOutcome struct {
	Time time.Time
	// Domain is the one that mail was for: its record _smtp._tls is asked, and
	// that domain gets the report. Empty: that of the policy.
	Domain string
	Policy TLSPolicy
	// Result is what went wrong, "" when nothing did. Errors that say nothing about
	// TLS (a timeout, a refused connection) are not for reports (RFC 8460 §4.3.4).
	Result string
	// Session tells that the attempt is a session of its own: it is counted in the
	// sums. A second fault of the same session has false.
	Session bool
	// Where it came from and went to; zero and empty when it did not come that far.
	SendingIP, ReceivingIP netip.Addr
	MXHost, MXHelo         string
	// Reason is the error in words or as a code: "failure-reason-code".
	Reason string
	// Report tells that the connection carried nothing but a report of ours: as in
	// DMARCOutcome.
	Report bool
}
