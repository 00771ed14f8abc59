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
