package resource_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

// again checks that what was decoded is the same after it was written as JSON.
func again(t *testing.T, n *resource.Node) {
	b, err := json.Marshal(n.Any())
	if err != nil {
		t.Fatalf("%#v has no JSON: %v", n.Any(), err)
	}
	if len(b) > resource.MaxInput {
		return // escapes can grow what was just small enough
	}
	m, err := resource.ParseJSON(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if !reflect.DeepEqual(m.Any(), n.Any()) {
		t.Fatalf("%#v became %#v", n.Any(), m.Any())
	}
}

// strict decodes it as a record; what passes keeps its bytes.
func strict(t *testing.T, n *resource.Node) {
	r := registry(t)
	o, k, err := r.Decode(n)
	if err != nil || k.Validate(o) != nil {
		return
	}
	b, err := o.Stored()
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() (*resource.Object, error){
		"load":   func() (*resource.Object, error) { return r.Load(b) },
		"decode": func() (*resource.Object, error) { return decodeJSON(t, string(b)) },
	} {
		p, err := read()
		if err != nil {
			t.Fatalf("%s of %s: %v", name, b, err)
		}
		if c, _ := p.Stored(); string(c) != string(b) {
			t.Fatalf("%s of %s gives %s", name, b, c)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"kind":"Thing","metadata":{"tenant":"acme","name":"a","labels":{"a":"b"}},"spec":{"name":"n","wait":"90m","limit":"1MiB","until":"2026-11-01T11:00:00+08:00","parts":[{"url":"http://a"}]}}`,
		`[1,-0.5e+7,"\ud800\u0000x",true,null,{}]`, `{"a":{"a":1,"a":2}}`, strings.Repeat("[", 30), `{"a":`, `"` + "\xff" + `"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := resource.ParseJSON(b)
		if err != nil {
			return
		}
		again(t, n)
		strict(t, n)
	})
}

func FuzzParseYAML(f *testing.F) {
	for _, s := range []string{
		head + "spec:\n  name: no\n  wait: 1h\n  tags: {a: 1e3}\n", "a: &x [*x]", "<<: {a: b}", "a: !!str 5", "---\n--- null\n---\na: 0x1\n", "a: |\n  b\n c: >-\n", "? a\n: b", "'", "{a: [1, .inf, ~, 2026-11-01]}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		docs, err := resource.ParseYAML(b)
		if err != nil {
			return
		}
		for _, n := range docs {
			again(t, n)
			strict(t, n)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"e1.88", "e.9007199254740991", ".1", "e.01", "e.1.2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := resource.ParsePosition(s); err == nil && p.String() != s {
			t.Fatalf("%q is read as %v", s, p)
		}
	})
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"a=b,c!=d,e,!f", " a == b ", "!", "a=,", "dun.dev/class=x"} {
		f.Add(s, "a", "b")
	}
	f.Fuzz(func(t *testing.T, s, key, value string) {
		sel, err := resource.ParseSelector(s)
		if err != nil {
			return
		}
		if len(sel) > 16 {
			t.Fatalf("%d terms", len(sel))
		}
		sel.Matches(nil)
		one := sel.Matches(map[string]string{key: value})
		all := true
		for _, term := range sel { // a selector is the conjunction of its terms
			all = all && resource.Selector{term}.Matches(map[string]string{key: value})
		}
		if one != all {
			t.Fatalf("%q on %s=%s: %v, its terms say %v", s, key, value, one, all)
		}
	})
}
