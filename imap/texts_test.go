package imap

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// textCalls are the functions whose argument is a text for people, by its place.
var textCalls = map[string]int{"syntax": 0, "die": 0, "bye": 0, "text": 0, "codeEnd": 0, "fatal": 0, "withCode": 3}

// sentTexts returns every text for people in the source of the engine, by where it is.
func sentTexts(t *testing.T) map[string]string {
	out := map[string]string{}
	files, _ := filepath.Glob("*.go")
	more, _ := filepath.Glob("internal/wire/*.go")
	set := gotoken.NewFileSet()
	for _, name := range append(files, more...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		add := func(e ast.Expr) {
			if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
				s, _ := strconv.Unquote(lit.Value)
				if code, rest, ok := strings.Cut(s, "] "); ok && code[0] == '[' {
					s = rest
				}
				out[s] = set.Position(lit.Pos()).String()
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				var name string
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if i, ok := textCalls[name]; ok && i < len(n.Args) {
					add(n.Args[i])
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Text" {
					add(n.Value)
				}
			}
			return true
		})
	}
	if len(out) < 50 {
		t.Fatal("the texts were not found")
	}
	return out
}

// TestTextsComplete: every text that the engine sends exists in every language
// (RFC 5255 §3.2). A new text needs a line in texts.go.
func TestTextsComplete(t *testing.T) {
	var missing []string
	sent := sentTexts(t)
	for s, where := range sent {
		if s = strings.TrimSuffix(s, " %q"); texts[s] == ([2]string{}) {
			missing = append(missing, where+": "+strconv.Quote(s)+`: {"", ""},`)
		}
	}
	slices.Sort(missing)
	for _, m := range missing {
		t.Error("not translated in texts.go: ", m)
	}
	for s, both := range texts {
		for _, x := range both {
			if x == "" || strings.ContainsAny(x, "[\r\n") || strings.HasPrefix(s, " ") != strings.HasPrefix(x, " ") {
				t.Errorf("%q: %q cannot be sent", s, x)
			}
		}
	}
}
