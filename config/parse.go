package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/postino-mail/postino"
)

// Parse reads the text of a file; file is its name in errors. The error is an
// [Errors] with everything that is wrong.
func Parse(file string, text []byte) (*Config, error) {
	if len(text) > maxFile {
		return nil, Errors{{file, 1, 1, "", "the file is larger than 1 MiB"}}
	}
	p := &parser{config: &Config{}, at: map[string]int{}}
	p.defaults("", target{Config: p.config})
	if p.walk(text) {
		p.check()
	}
	if len(p.found) > 0 {
		return nil, locate(file, text, p.found)
	}
	return p.config, nil
}

// parser walks over the keys of a text. It finds by itself what is there twice:
// the library's way takes time with the square of the number of keys.
type parser struct {
	config *Config
	found  []finding
	// at is where each key and table was said, by path; keys of listeners have
	// their number before them.
	at map[string]int
}

// part is one part of a dotted key.
type part struct {
	name string
	at   int
}

// fail notes an error, unless the last one was about the same words.
func (p *parser) fail(at int, key, format string, args ...any) {
	if n := len(p.found); n > 0 && p.found[n-1].at == at && p.found[n-1].key == key {
		return
	}
	p.found = append(p.found, finding{at, key, fmt.Sprintf(format, args...)})
}

// defaults sets the keys of a table to their default, "" being all tables but
// listener.
func (p *parser) defaults(table string, t target) {
	for _, k := range keys {
		if k.def != "" && (k.table == table || table == "" && k.table != "listener") {
			k.setDefault(t)
		}
	}
}

// walk goes over the expressions of the text, and tells whether it came to the
// end: what stands after text that is not TOML cannot be judged.
func (p *parser) walk(text []byte) bool {
	var in []part // the table that keys belong to
	var u unstable.Parser
	u.Reset(text)
	for u.NextExpression() {
		e := u.Expression()
		path := parts(e.Key())
		switch e.Kind {
		case unstable.Table:
			in = path
			p.table(path, false)
		case unstable.ArrayTable:
			in = path
			p.table(path, true)
		case unstable.KeyValue:
			p.assign(append(in[:len(in):len(in)], path...), e.Value())
		}
	}
	if u.Error() == nil {
		return true
	}
	at := len(text)
	var where *unstable.ParserError
	if errors.As(u.Error(), &where) && cap(where.Highlight) > 0 {
		at = int(u.Range(where.Highlight).Offset)
	}
	p.fail(at, "", "%s", postino.Printable(strings.TrimPrefix(u.Error().Error(), "toml: ")))
	return false
}

func parts(it unstable.Iterator) (path []part) {
	for it.Next() {
		n := it.Node()
		path = append(path, part{string(n.Data), int(n.Raw.Offset)})
	}
	return path
}

// join writes a path for people.
func join(path []part) string {
	var names []string
	for _, x := range path {
		names = append(names, x.name)
	}
	return postino.Printable(strings.Join(names, "."))
}

// table begins a table, or one more of an array of tables.
func (p *parser) table(path []part, array bool) {
	head := path[0]
	_, known := p.at[head.name]
	if !known {
		p.at[head.name] = head.at
	}
	switch {
	case known && len(path) == 1 && head.name != "listener":
		p.fail(head.at, postino.Printable(head.name), "this table is there twice: write all of its keys in one place")
	case !isTable(head.name):
		p.unknownTable(head)
	case len(path) > 1:
		p.unknownKey(path)
	case head.name == "listener" && array:
		p.config.Listeners = append(p.config.Listeners, Listener{})
		p.at[p.listenerPath("")] = head.at
		p.defaults("listener", p.target("listener"))
	case head.name == "listener":
		p.fail(head.at, "listener", "write [[listener]] with double brackets, one for each address")
	case array:
		p.fail(head.at, head.name, "there is one of it: write [%s]", head.name)
	}
}

// assign sets the key at a path; the values of tables in one line are spread.
func (p *parser) assign(path []part, v *unstable.Node) {
	head := path[0]
	switch {
	case !isTable(head.name):
		if len(path) == 1 && v.Kind != unstable.InlineTable {
			p.unknownKey(path)
		} else if _, told := p.at[head.name]; !told {
			p.at[head.name] = head.at
			p.unknownTable(head)
		}
	case len(path) == 1 && v.Kind == unstable.InlineTable && head.name != "listener":
		p.table(path, false)
		for it := v.Children(); it.Next(); {
			p.assign(append(path[:1:1], parts(it.Node().Key())...), it.Node().Value())
		}
	case len(path) == 1 && head.name == "listener", head.name == "listener" && len(p.config.Listeners) == 0:
		p.fail(head.at, "listener", "write [[listener]] on a line of its own, one for each address")
	case len(path) == 1:
		p.fail(head.at, head.name, "this is a table: write [%s] on a line of its own", head.name)
	case len(path) > 2:
		p.unknownKey(path)
	default:
		p.set(path, v)
	}
}

// set gives a key its value.
func (p *parser) set(path []part, v *unstable.Node) {
	for _, k := range keys {
		if k.table != path[0].name || k.name != path[1].name {
			continue
		}
		at := int(v.Raw.Offset)
		if v.Kind == unstable.Array || v.Kind == unstable.InlineTable {
			at = path[1].at // these do not know where they are
		}
		said := k.path()
		if k.table == "listener" {
			said = p.listenerPath(k.name)
		}
		if _, twice := p.at[said]; twice {
			p.fail(path[1].at, k.path(), "this key is there twice")
			return
		}
		p.at[said] = at
		if _, known := p.at[k.table]; !known {
			p.at[k.table] = path[0].at
		}
		if err := k.set(p.target(k.table), v.Kind, string(v.Data), texts(v)); err != nil {
			text := err.Error()
			if !strings.HasSuffix(text, "?") {
				text += fmt.Sprintf(". Example: %s = %s", k.name, k.example())
			}
			p.fail(at, k.path(), "%s", text)
		}
		return
	}
	p.unknownKey(path)
}

// texts are the texts in an array, nil when it holds anything else.
func texts(v *unstable.Node) []string {
	if v.Kind != unstable.Array {
		return nil
	}
	list := []string{}
	for it := v.Children(); it.Next(); {
		n := it.Node()
		if n.Kind == unstable.Comment {
			continue
		}
		if n.Kind != unstable.String {
			return nil
		}
		list = append(list, string(n.Data))
	}
	return list
}

// target is what the keys of a table set: for a listener the last one.
func (p *parser) target(table string) target {
	t := target{Config: p.config}
	if table == "listener" {
		t.Listener = &p.config.Listeners[len(p.config.Listeners)-1]
	}
	return t
}

// listenerPath is where the place of a key of the last listener is kept.
func (p *parser) listenerPath(name string) string {
	return listenerPath(len(p.config.Listeners)-1, name)
}

func listenerPath(i int, name string) string { return fmt.Sprintf("listener %d.%s", i, name) }

func isTable(name string) bool {
	for _, t := range tables {
		if t.name == name {
			return true
		}
	}
	return false
}

func (p *parser) unknownTable(head part) {
	var names []string
	for _, t := range tables {
		names = append(names, t.name)
	}
	text := fmt.Sprintf("unknown table. There are: %s", strings.Join(names, ", "))
	if m := meant(head.name, names); m != "" {
		text = fmt.Sprintf("unknown table. Did you mean %q?", m)
	}
	p.fail(head.at, postino.Printable(head.name), "%s", text)
}

// unknownKey suggests a key of the same table, or the table of the same key.
func (p *parser) unknownKey(path []part) {
	last := path[len(path)-1]
	var here, elsewhere []string
	for _, k := range keys {
		if len(path) == 2 && k.table == path[0].name {
			here = append(here, k.name)
		} else if k.name == last.name {
			elsewhere = append(elsewhere, "["+k.table+"]")
		}
	}
	text := "unknown key"
	switch m := meant(last.name, here); {
	case m != "":
		text += fmt.Sprintf(". Did you mean %q?", m)
	case len(elsewhere) > 0:
		text += fmt.Sprintf(". It belongs to %s", strings.Join(elsewhere, " or "))
	case len(here) > 0:
		text += fmt.Sprintf(". There are: %s", strings.Join(here, ", "))
	}
	p.fail(last.at, join(path), "%s", text)
}
