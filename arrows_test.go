package postino_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postino-mail/postino"

// Everyone may import the root package and metric; these are the groups that
// the table below is made of.
var (
	store    = []string{"kv", "blob", "vfs"}
	ground   = append([]string{"message", "dns", "story", "mailfile", "fetch"}, store...)
	knowHow  = []string{"mailauth", "tlspolicy", "sasl", "certs"}
	engines  = []string{"smtp", "imap", "imap/imapclient", "pop3", "jmap", "managesieve"}
	work     = []string{"queue", "mailbox", "directory", "sieve", "spam", "pec", "reports"}
	desks    = []string{"receive", "deliver", "relay", "imapd", "pop3d", "jmapd", "httpd", "transfer", "check"}
	forWire  = join([]string{"message", "dns", "fetch", "conns"}, knowHow)
	forWork  = join(ground, knowHow)
	forLedge = join(ground, knowHow, work)
	forDesks = join(forLedge, []string{"submit"}, engines)
)

// arrows is the table of allowed imports: package → what it may import of this
// module, besides the root package and metric. A package that is not here does
// not exist. All arrows point down a floor; on the ground and for the pure
// packages they are fewer than the floors would allow.
var arrows = map[string][]string{
	// Floor 0, ground.
	".":           {},
	"metric":      {},
	"message":     {},
	"dns":         {},
	"dns/dnstest": {"dns"},
	"conns":       {},      // the connections of a server, for all engines
	"fetch":       {"dns"}, // the guarded dialer: what outside data makes us connect to
	"vfs":         {},
	"kv":          {},
	"kv/lsm":      {"kv", "vfs"},
	"kv/pg":       {"kv"},
	"kv/kvtest":   {"kv"},
	"blob":        {"kv", "vfs"},
	"mailfile":    {"vfs"}, // the files of other software, and the spool of sendmail
	"story":       {"kv"},  // the events of a message are stored beside it, whoever tells them

	// Floor 1, know-how: rules of the standards, no storage.
	"mailauth":  {"message", "dns"},
	"tlspolicy": {"message", "dns", "fetch"},
	"sasl":      {},
	"certs":     {"dns", "fetch"},

	// Floor 2, engines: wire, no storage.
	"smtp":            forWire,
	"imap":            forWire,
	"pop3":            forWire,
	"imap/imapclient": join(forWire, []string{"imap"}), // for moving in from other servers
	"jmap":            forWire,
	"managesieve":     forWire,

	// Floor 2, work: mail logic, no wire.
	"queue":     forWork,
	"mailbox":   forWork,
	"directory": forWork,
	"sieve":     {"message"}, // returns a plan, performs nothing
	"spam":      forWork,
	"pec":       {"message"}, // pure decisions
	"reports":   forWork,

	// The ledge between work and desks (ADR 0004).
	"submit": forLedge,

	// Floor 3, desks: where engines and work meet.
	"receive":  forDesks,
	"deliver":  forDesks,
	"relay":    forDesks,
	"imapd":    forDesks,
	"pop3d":    forDesks,
	"jmapd":    forDesks,
	"transfer": forDesks,                                 // mail in and out: files, other servers
	"httpd":    join(forDesks, []string{"web", "conns"}), // an engine and its desk in one, as net/http is the engine
	"check":    forDesks,                                 // looks at a domain and this node from outside

	// Floor 4, wiring.
	"config":      {},
	"app":         join(forDesks, desks, []string{"config", "kv/lsm", "kv/pg"}),
	"cmd/postino": {"app", "smtp", "message", "mailfile", "vfs"}, // what sendmail reads, says and leaves

	// Beside.
	"web":          {},
	"test/interop": {}, // drives the built program from outside
	"test/memnet":  {}, // stands where the system's network would
	"test/script":  join(forDesks, desks, []string{"config", "app", "kv/lsm", "test/memnet"}),
	"test/crash":   join(forDesks, desks, []string{"config", "app", "kv/lsm", "test/memnet"}),
	"test/imap":    join(forDesks, desks, []string{"config", "app", "kv/lsm", "test/memnet"}),
	"test/sim":     join(forDesks, desks, []string{"config", "app", "kv/lsm"}),
}

// exceptions are arrows against the table, "from → to", each with its reason.
var exceptions = map[string]string{}

// testArrows are what _test.go files may import beyond the table of their
// package. Engines and know-how have no storage in their tests either.
func testArrows(dir string) []string {
	dir = owner(dir)
	switch {
	case dir == "sieve", dir == "pec":
		return nil
	case dir == "app":
		return []string{"test/memnet", "dns/dnstest"}
	case slices.Contains(engines, dir), slices.Contains(knowHow, dir), dir == "dns", dir == "fetch":
		return []string{"dns/dnstest", "test/memnet"}
	case slices.Contains(work, dir), slices.Contains(desks, dir), dir == "submit", dir == "story", dir == "blob", strings.HasPrefix(dir, "kv"):
		return []string{"kv", "kv/lsm", "kv/kvtest", "blob", "vfs", "dns/dnstest", "test/memnet"}
	}
	return nil
}

// modules says which rooms may use which third-party code (test files are free
// to use more). What is not here is not a dependency of the product.
var modules = map[string][]string{
	"github.com/cockroachdb/pebble/v2":           {"kv/lsm", "vfs"},
	"github.com/prometheus/client_golang":        {"metric"},
	"github.com/miekg/dns":                       {"dns", "dns/dnstest"},
	"blitiri.com.ar/go/spf":                      {"mailauth"},
	"github.com/caddyserver/certmagic":           {"certs"},
	"github.com/mholt/acmez/v3":                  {"certs"},
	"github.com/libdns/libdns":                   {"certs"},
	"go.uber.org/zap":                            {"certs"}, // what certmagic logs with
	"github.com/ThalesGroup/crypto11":            {"directory", "app"},
	"github.com/go-crypt/crypt":                  {"directory"},
	"github.com/xdg-go/stringprep":               {"sasl"},
	"github.com/alecthomas/kong":                 {"cmd/postino"},
	"github.com/pelletier/go-toml/v2":            {"config"},
	"github.com/coreos/go-systemd/v22":           {"app", "cmd/postino"},
	"github.com/saintfish/chardet":               {"message"},
	"github.com/klauspost/compress":              {"blob", "imap", "vfs", "kv/lsm"},
	"github.com/maypok86/otter/v2":               {"dns", "mailbox", "directory", "blob", "tlspolicy", "mailauth"},
	"github.com/nicksnyder/go-i18n/v2":           {"reports"},
	"golang.org/x/net/idna":                      {"*"},
	"golang.org/x/net/html":                      {"message", "spam"},
	"golang.org/x/net/publicsuffix":              {"mailauth"},
	"golang.org/x/text":                          {"*"},
	"golang.org/x/sync":                          {"*"},
	"golang.org/x/time/rate":                     {"*"},
	"golang.org/x/term":                          {"cmd/postino"},
	"golang.org/x/sys":                           {"vfs", "app", "cmd/postino"},
	"golang.org/x/crypto":                        {"directory", "sasl", "certs"},
	"go.uber.org/goleak":                         {"kv/kvtest"},
	"pgregory.net/rapid":                         {"kv/kvtest"},
	"github.com/emersion/go-imap/v2":             {},
	"github.com/rogpeppe/go-internal/testscript": {},
	"github.com/jackc/pgx/v5":                    {"kv/pg", "directory"},
	"github.com/go-sql-driver/mysql":             {"directory"},
	"modernc.org/sqlite":                         {"directory"},
	"database/sql":                               {"kv/pg", "directory"},
}

// rooms that may do what is forbidden elsewhere. Paths cover what is below them.
var (
	usesEnvironment = []string{"cmd"}
	usesFiles       = []string{"vfs", "config", "web", "cmd"}
	listens         = []string{"app", "dns/dnstest"} // name servers of tests
	sleeps          = []string{"test"}               // whole servers, real processes: nobody there can fake the clock
)

// dials are the rooms and files that may open connections, each with what it
// connects to. What outside data names is fetched by fetch (DN4).
var dials = map[string]string{
	"fetch":                   "the guarded dialer",
	"relay":                   "mail servers, at addresses that fetch.Guard lets through (SC7)",
	"dns":                     "name servers that the operator names, or those of zones at public addresses",
	"dns/dnstest":             "the name servers of tests, on loopback",
	"transfer":                "other mail servers that the operator names",
	"certs":                   "certificate authorities that the operator names",
	"app/control.go":          "the control socket of this node",
	"app/operations_check.go": "the listeners of this node",
	"app/internet.go":         "the made-up Internet of postino dev, on loopback",
	"cmd/postino/sendmail.go": "the listener of this node",
}

// packageComment names the file with the package comment where it is not doc.go.
var packageComment = map[string]string{
	".":  "postino.go", // the words themselves are what a newcomer opens first
	"kv": "kv.go",      // a contract of one file
}

// fileExceptions are single files that may use the OS file system, with the reason.
var fileExceptions = map[string]string{
	"app/control.go": "the name of a Unix socket is bound, removed and protected by the kernel; vfs has no sockets",
}

// blank imports allowed beside embed, "package → path", with the reason.
var blankImports = map[string]string{
	"message → github.com/emersion/go-message/charset": "gives the foreign parser, which tests compare ours with, its charsets",
}

// banned functions: import path → names. "*" is the import itself.
var (
	environment = map[string][]string{
		"flag": {"*"},
		"os":   {"Args", "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"},
	}
	files = map[string][]string{
		"os": {
			"Open", "OpenFile", "OpenRoot", "OpenInRoot", "Create", "CreateTemp", "MkdirTemp", "ReadFile", "WriteFile",
			"ReadDir", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename", "Stat", "Lstat", "Chmod", "Chown", "Chtimes",
			"Truncate", "Link", "Symlink", "Readlink", "DirFS", "CopyFS", "Chdir", "Getwd",
		},
		"io/ioutil":     {"*"},
		"path/filepath": {"Walk", "WalkDir", "Glob", "EvalSymlinks"},
		"crypto/tls":    {"LoadX509KeyPair"},
	}
	listening = map[string][]string{
		"net": {
			"Listen", "ListenConfig", "ListenIP", "ListenMulticastUDP", "ListenPacket", "ListenTCP", "ListenUDP",
			"ListenUnix", "ListenUnixgram", "FileListener",
		},
		"crypto/tls": {"Listen"},
		"net/http":   {"ListenAndServe", "ListenAndServeTLS"},
	}
	dialing = map[string][]string{
		"net": {
			"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer", "Resolver", "DefaultResolver", "LookupAddr",
			"LookupCNAME", "LookupHost", "LookupIP", "LookupMX", "LookupNS", "LookupPort", "LookupSRV", "LookupTXT", "ResolveTCPAddr",
			"ResolveUDPAddr", "ResolveIPAddr",
		},
		"crypto/tls": {"Dial", "DialWithDialer", "Dialer"},
		"net/http": {
			"Get", "Head", "Post", "PostForm", "Client", "DefaultClient", "Transport", "DefaultTransport", "ProxyFromEnvironment", "ProxyURL",
		},
		"net/smtp": {"*"},
		"net/rpc":  {"*"},
	}
)

// source is one parsed Go file.
type source struct {
	name string // path from the root, with slashes
	dir  string
	test bool // _test.go, or below test/
	file *ast.File
	fset *token.FileSet
}

func (s *source) errorf(t *testing.T, at token.Pos, format string, args ...any) {
	t.Helper()
	t.Errorf("%s:%d: %s", s.name, s.fset.Position(at).Line, fmt.Sprintf(format, args...))
}

// sources parses every Go file of this module; other modules below the root,
// testdata and hidden directories are not part of it.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." {
			_, other := os.Stat(filepath.Join(name, "go.mod"))
			if base := d.Name(); base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" || other == nil {
				return filepath.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		all = append(all, &source{
			name: name, dir: path.Dir(name), file: f, fset: fset,
			test: strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "test/"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no Go files found")
	}
	return all
}

// TestArrows holds rules 1 to 4 of the design: who may import whom.
func TestArrows(t *testing.T) {
	unknown := map[string]bool{}
	for _, s := range sources(t) {
		if _, ok := arrows[owner(s.dir)]; !ok {
			if !unknown[s.dir] {
				t.Errorf("package %s is not in the table of arrows", s.dir)
			}
			unknown[s.dir] = true
			continue
		}
		for _, spec := range s.file.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			switch {
			case to == module || strings.HasPrefix(to, module+"/"):
				checkArrow(t, s, spec, strings.TrimPrefix(strings.TrimPrefix(to, module), "/"))
			case !s.test:
				checkModule(t, s, spec, to)
			}
		}
	}
}

func checkArrow(t *testing.T, s *source, spec *ast.ImportSpec, to string) {
	t.Helper()
	if to == "" || to == "metric" || owner(to) == owner(s.dir) {
		return
	}
	if to != owner(to) && !strings.HasPrefix(s.dir, owner(to)+"/") { // as Go has it: below the parent of internal
		s.errorf(t, spec.Pos(), "%s imports %s, which is internal to %s", s.dir, to, owner(to))
		return
	}
	to = owner(to)
	allowed := arrows[owner(s.dir)]
	if s.test {
		allowed = join(allowed, testArrows(s.dir))
	}
	if !slices.Contains(allowed, to) && exceptions[s.dir+" → "+to] == "" {
		s.errorf(t, spec.Pos(), "%s must not import %s", s.dir, to)
	}
}

func checkModule(t *testing.T, s *source, spec *ast.ImportSpec, to string) {
	t.Helper()
	best := ""
	for m := range modules {
		if (to == m || strings.HasPrefix(to, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	first, _, _ := strings.Cut(to, "/")
	switch {
	case best == "" && !strings.Contains(first, "."): // the standard library
	case best == "":
		s.errorf(t, spec.Pos(), "%s is not in the list of third-party modules", to)
	case !slices.Contains(modules[best], owner(s.dir)) && !slices.Contains(modules[best], "*"):
		s.errorf(t, spec.Pos(), "%s must not import %s; only %s may", s.dir, to, strings.Join(modules[best], ", "))
	}
}

// TestTable keeps the table itself honest: it names only packages that it knows.
func TestTable(t *testing.T) {
	for from, list := range arrows {
		for _, to := range list {
			if _, ok := arrows[to]; !ok {
				t.Errorf("arrow %s → %s leads nowhere", from, to)
			}
		}
	}
	for _, e := range join(engines, knowHow) {
		for _, s := range append([]string{"story"}, store...) {
			if slices.Contains(arrows[e], s) {
				t.Errorf("%s is an engine or know-how: no %s", e, s)
			}
		}
	}
	for rule, reason := range union(exceptions, blankImports, fileExceptions, dials) {
		if len(reason) < 10 {
			t.Errorf("exception %q has no reason", rule)
		}
	}
}

// TestPackageComments wants a doc.go with the package comment in every package.
func TestPackageComments(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t) {
		want := "doc.go"
		if f, ok := packageComment[s.dir]; ok {
			want = f
		}
		ok := path.Base(s.name) == want && len(strings.TrimSpace(s.file.Doc.Text())) > 40
		has[s.dir] = has[s.dir] || ok
	}
	for _, dir := range slices.Sorted(maps.Keys(has)) {
		if !has[dir] {
			t.Errorf("package %s has no doc.go with a package comment", dir)
		}
	}
}

// TestNoEffectsOfImport holds rule 5: no init functions, no blank imports.
func TestNoEffectsOfImport(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				s.errorf(t, f.Pos(), "init function")
			}
		}
		for _, spec := range s.file.Imports {
			if spec.Name == nil || spec.Path.Value == `"embed"` {
				continue
			}
			to, _ := strconv.Unquote(spec.Path.Value)
			if spec.Name.Name == "_" && blankImports[s.dir+" → "+to] == "" {
				s.errorf(t, spec.Pos(), "blank import of %s", to)
			}
			if spec.Name.Name == "." {
				s.errorf(t, spec.Pos(), "dot import of %s", to)
			}
		}
	}
}

// TestWorldComesIn holds rule 4: environment, files and sockets are used in few
// rooms; all others get them as parameters. Tests are exempt.
func TestWorldComesIn(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if !below(s.dir, usesEnvironment) {
			forbid(t, s, environment, "flags and environment are read in cmd only")
		}
		if !below(s.dir, usesFiles) && fileExceptions[s.name] == "" {
			forbid(t, s, files, "the OS file system is reached through vfs")
		}
		if !below(s.dir, listens) {
			forbid(t, s, listening, "only app opens listening sockets")
		}
		if dials[s.dir] == "" && dials[s.name] == "" {
			forbid(t, s, dialing, "what connects is in the table of dials; fetch is the guarded dialer (DN4)")
		}
	}
}

// TestNoSleepingTests: a test that sleeps on the real clock is slow and flaky.
// Inside a synctest bubble the clock is fake; a function that runs one has
// "bubble" in its name, and a function that is only called inside one says
// "synctest bubble" in its comment. To poll is no sleep: the loop ends when what
// its condition asks for has come.
func TestNoSleepingTests(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test || below(s.dir, sleeps) {
			continue
		}
		timeName, synctest := localName(s.file, "time"), localName(s.file, "testing/synctest")
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && (strings.Contains(f.Doc.Text(), "synctest bubble") || benchmark(f)) {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ForStmt:
					return !asks(n.Cond)
				case *ast.CallExpr:
					if isCall(n, synctest, "Test", "Run") || strings.Contains(strings.ToLower(calledName(n)), "bubble") {
						return false // fake time below here
					}
					if isCall(n, timeName, "Sleep") {
						s.errorf(t, n.Pos(), "time.Sleep outside of a synctest bubble")
					}
				}
				return true
			})
		}
	}
}

// benchmark tells whether f gets a *testing.B: it measures the real clock.
func benchmark(f *ast.FuncDecl) bool {
	for _, p := range f.Type.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if sel, ok := star.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "B" {
				return true
			}
		}
	}
	return false
}

// asks tells whether a loop's condition calls something, and so may change while
// the loop waits.
func asks(cond ast.Expr) bool {
	found := false
	if cond != nil {
		ast.Inspect(cond, func(n ast.Node) bool {
			_, call := n.(*ast.CallExpr)
			found = found || call
			return !found
		})
	}
	return found
}

// calledName is the last part of the name of the called function.
func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// forbid reports every use of the banned names in a file.
func forbid(t *testing.T, s *source, banned map[string][]string, why string) {
	t.Helper()
	for from, names := range banned {
		local := localName(s.file, from)
		if local == "" {
			continue
		}
		if names[0] == "*" {
			s.errorf(t, s.file.Package, "imports %s: %s", from, why)
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && x.Obj == nil && slices.Contains(names, sel.Sel.Name) {
				s.errorf(t, sel.Pos(), "%s.%s: %s", from, sel.Sel.Name, why)
			}
			return true
		})
	}
}

// localName is the name under which a file knows an import, empty when it does not.
func localName(f *ast.File, from string) string {
	for _, spec := range f.Imports {
		if spec.Path.Value != strconv.Quote(from) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(from)
	}
	return ""
}

func isCall(call *ast.CallExpr, pkg string, names ...string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || pkg == "" {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, sel.Sel.Name)
}

// owner is the package that an internal package belongs to, or dir itself.
func owner(dir string) string {
	if dir, _, ok := strings.Cut(dir, "/internal"); ok {
		return dir
	}
	return dir
}

// below tells whether dir is one of the roots or lies under one.
func below(dir string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }

func union(all ...map[string]string) map[string]string {
	m := map[string]string{}
	for _, one := range all {
		maps.Copy(m, one)
	}
	return m
}
