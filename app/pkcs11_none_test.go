//go:build !pkcs11

package app

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

func TestNoPKCS11(t *testing.T) {
	c := configured(t, "[pkcs11]\nmodule = \"/m.so\"\ntoken = \"mail\"\n")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if _, err := c.Options(log, "test"); !postino.Is(err, postino.Invalid) || !strings.Contains(err.Error(), "-tags pkcs11") {
		t.Errorf("a node: %v", err)
	}
	if _, err := c.OpenStores(log); !postino.Is(err, postino.Invalid) || !strings.Contains(err.Error(), "-tags pkcs11") {
		t.Errorf("a command: %v", err)
	}
}
