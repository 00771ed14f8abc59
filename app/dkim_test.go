package app

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// configured reads a configuration with more lines.
func configured(t *testing.T, more string) *Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "postino.toml")
	text := "[server]\nhostname = \"mx.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\n[tls]\nself_signed = true\n" + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A token that this program cannot use, or whose PIN is not there, is an error at
// the start and not when the first domain is added.
func TestTokenConfig(t *testing.T) {
	c := configured(t, "[pkcs11]\nmodule = \"/m.so\"\ntoken = \"mail\"\npin_file = \"nowhere\"\n")
	if _, err := c.signing(); !postino.Is(err, postino.Invalid) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a PIN that is not there: %v", err)
	}
	c = configured(t, "[dkim]\nrotate = \"0s\"\ndns_server = \"192.0.2.53\"\ndns_key = \"hmac-sha256:postino:c2VjcmV0\"\n")
	s, err := c.signing()
	if err != nil || s.Records == nil || s.Rotate != 0 || s.Hold == 0 {
		t.Errorf("signing is %+v, %v", s, err)
	}
	c = configured(t, "[dkim]\ndns_server = \"192.0.2.53\"\ndns_key = \"md5:postino:c2VjcmV0\"\n")
	if _, err := c.OpenStores(slog.New(slog.NewTextHandler(io.Discard, nil))); !postino.Is(err, postino.Invalid) {
		t.Errorf("a key of another algorithm: %v", err)
	}
}
