package script

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts are scenarios in real time, on the disk and on real sockets.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setup(func(e *testscript.Env) *world { return &world{dir: e.WorkDir} }),
		Cmds: commands(map[string]func(*world, *testscript.TestScript, []string) error{
			"mail":   (*world).mail,
			"corpus": (*world).corpus,
		}),
	})
}

// TestInternet are scenarios in fake time, among scripted hosts.
func TestInternet(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no scripts", err)
	}
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	for _, dir := range slices.Compact(dirs) {
		t.Run(filepath.Base(dir), func(t *testing.T) { runInternet(t, dir) })
	}
}

func runInternet(t *testing.T, dir string) {
	testscript.RunT(bubbles{t}, testscript.Params{
		Dir:   dir,
		Setup: setup(func(*testscript.Env) *world { return &world{fake: newInternet()} }),
		Cmds: commands(map[string]func(*world, *testscript.TestScript, []string) error{
			"mail":     (*world).mailFake,
			"submit":   (*world).submit,
			"resend":   (*world).resend,
			"zone":     (*world).zone,
			"dnsfault": (*world).dnsFault,
			"peer":     (*world).peer,
			"received": (*world).received,
			"publish":  (*world).publish,
			"verify":   (*world).verify,
			"dialogue": (*world).dialogue,
			"host":     (*world).host,
			"clock":    (*world).clock,
			"crash":    (*world).crash,
			"queue":    (*world).queue,
			"inbox":    (*world).inbox,
			"client":   (*world).client,
			"sign":     (*world).sign,
			"seal":     (*world).seal,
			"forge":    (*world).forge,
		}),
	})
}

// bubbles runs each script in a bubble of its own.
type bubbles struct{ *testing.T }

func (b bubbles) Run(name string, f func(testscript.T)) {
	b.T.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { f(bubble{t}) })
	})
}

func (bubbles) Verbose() bool { return testing.Verbose() }

// bubble is what a script sees of its test.
type bubble struct{ *testing.T }

func (bubble) Run(string, func(testscript.T)) { panic("a script has no parts") }
func (bubble) Parallel()                      {} // the bubble is
func (bubble) Verbose() bool                  { return testing.Verbose() }

// setup gives each script a world, which ends with it.
func setup(make func(*testscript.Env) *world) func(*testscript.Env) error {
	return func(e *testscript.Env) error {
		w := make(e)
		e.Values[worldKey{}] = w
		e.Defer(func() {
			if err := w.stop(); err != nil {
				e.T().Fatal(err)
			}
		})
		return nil
	}
}

// commands are the verbs that all scripts have, and more.
func commands(more map[string]func(*world, *testscript.TestScript, []string) error) map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){
		"server":  verb((*world).server),
		"restart": verb((*world).restart),
		"domain":  verb((*world).domain),
		"user":    verb((*world).user),
		"alias":   verb((*world).alias),
		"talk":    verb((*world).talk),
		"call":    verb((*world).operate),
		"trace":   verb((*world).trace),
	}
	for name, f := range more {
		all[name] = verb(f)
	}
	return all
}

type worldKey struct{}

// verb makes a command of a method; "!" before the verb wants it to fail, and
// its error becomes the standard error that "stderr" looks at.
func verb(f func(*world, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := f(ts.Value(worldKey{}).(*world), ts, args)
		switch {
		case err == nil && neg:
			ts.Fatalf("succeeded, but should have failed")
		case err != nil && neg:
			_, _ = ts.Stderr().Write([]byte(strings.TrimSpace(err.Error()) + "\n"))
		case err != nil:
			ts.Fatalf("%v", err)
		}
	}
}
