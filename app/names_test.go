package app

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
	"github.com/postino-mail/postino/vfs"
)

// TestNames: the node's resolver finds out what its servers can do, remembers it
// in the store, and explains answers.
func TestNames(t *testing.T) {
	w := dnstest.NewWorld(t).Behave(netip.MustParseAddr("127.0.0.1"), dnstest.Validating).
		Zone("ietf.org", dnstest.Signed(), "").Zone("dnssec-failed.org", dnstest.BogusZone(), "").
		Zone("example.org", dnstest.Signed(), "@ MX 10 mx\n")
	files := vfs.Memory()
	options := StoreOptions{Files: files, DataDir: "/data", Logger: slog.New(slog.DiscardHandler), Outward: Outward{Names: Names{Servers: []dns.Server{{Addr: w.Serve(t)}}}}}
	for run, mode := range []dns.Mode{dns.Starting, dns.Trusting} { // the second begins where the first ended
		s, err := openStores(options)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Names.Status().Mode; got != mode {
			t.Errorf("run %d begins %v, want %v", run, got, mode)
		}
		if !s.Names.Probe(t.Context()) {
			t.Errorf("run %d: %+v", run, s.Names.Status())
		}
		if a, err := s.Resolver.Lookup(t.Context(), "example.org", dns.TypeMX); err != nil || a.Security != dns.Secure {
			t.Errorf("run %d: %+v, %v", run, a, err)
		}
		out, err := operations["dns"](s, t.Context(), json.RawMessage(`{"Name":"example.org","Type":"mx"}`))
		if a, ok := out.(NameAnswer); err != nil || !ok || a.Mode != "trusting" || a.Judged != "secure" || a.Security != "bogus" || len(a.Chain) == 0 {
			t.Errorf("run %d: %+v, %v", run, out, err) // nobody signed this root with the keys of the Internet's
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
