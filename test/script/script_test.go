package script

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			w := &world{dir: e.WorkDir}
			e.Values[worldKey{}] = w
			e.Defer(w.stop)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":  verb((*world).server),
			"restart": verb((*world).restart),
			"domain":  verb((*world).domain),
			"user":    verb((*world).user),
			"alias":   verb((*world).alias),
			"mail":    verb((*world).mail),
			"talk":    verb((*world).talk),
			"corpus":  verb((*world).corpus),
			"trace":   verb((*world).trace),
		},
	})
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
