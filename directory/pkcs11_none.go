//go:build !pkcs11

package directory

import (
	"errors"

	"github.com/postino-mail/postino"
)

// OpenPKCS11 is Invalid: this program was built without PKCS #11.
func OpenPKCS11(o PKCS11) (Token, error) {
	return nil, postino.E(postino.Invalid, "open token", o.Label,
		errors.New("this program cannot use tokens; build it with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/postino"))
}
