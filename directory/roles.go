package directory

import "github.com/postino-mail/postino"

// RoleAddress tells whether an address belongs to a role and not to a person
// (RFC 2142 §3 to §7, without sub-address): whether it changed hands does not
// matter then (RFC 7293 §5.1).
func RoleAddress(a postino.Address) bool {
	switch fold(a.Local) {
	case "info", "marketing", "sales", "support",
		"abuse", "noc", "security",
		"postmaster", "hostmaster", "usenet", "news", "webmaster", "www", "uucp", "ftp":
		return true
	}
	return false
}

// ReportAddress tells whether an address is one that reports come to: what other
// servers have seen of our mail (DMARC, TLS, complaints), and what comes back of
// our own reports. Without a user or an alias of that name the server itself reads
// them.
func ReportAddress(a postino.Address) bool {
	switch fold(a.Local) {
	case "dmarc-reports", "tls-reports", "abuse-reports":
		return true
	}
	return false
}
