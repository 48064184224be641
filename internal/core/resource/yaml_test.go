package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestWhatYAMLIsRefused(t *testing.T) {
	for _, tt := range []struct{ in, path, reason string }{
		{"a: &x 1\nb: *x", "a", "anchors and aliases are refused; write the value out (line 1)"},
		{"a: &x {b: c}", "a", "anchors"},
		{"a: *x", "", "not YAML"},
		{"&x a: 1", "", "plain keys"},
		{"a: {b: 1}\nc:\n  <<: {d: 1}", "c", "want plain keys (line 3)"},
		{"<<: [{d: 1}]", "", "plain keys"},
		{"a: !!str 5", "a", "tags are refused (line 1)"},
		{"a: !!int '5'", "a", "tags are refused"},
		{"a: !mine 5", "a", "tags are refused"},
		{"a: !mine {b: c}", "a", "tags are refused"},
		{"a: !!map {b: c}", "a", "tags are refused"},
		{"a: !!set {b, c}", "a", "tags are refused"},
		{"a:\n - !mine [b]", "a[0]", "tags are refused"},
		{"a: !!binary aGk=", "a", "tags are refused"},
		{"!!str a: 1", "", "plain keys"},
		{"!mine\na: 1", "", "tags are refused"},
		{"? [a]\n: 1", "", "plain keys"},
		{"? {a: b}\n: 1", "", "plain keys"},
		{"a: 1\nb: 2\na: 3", "a", "is given twice (line 3)"},
		{"a: {b: 1, b: 2}", "a.b", "is given twice"},
		{"1: a\n'1': b", "1", "is given twice"},
		{"a: 0x10", "a", "plain decimals"},
		{"a: 0o17", "a", "plain decimals"},
		{"a: 010", "a", "plain decimals"},
		{"a: 08", "a", "plain decimals"},
		{"a: 1_000", "a", "plain decimals"},
		{"a: +1", "a", "plain decimals"},
		{"a: .5", "a", "plain decimals"},
		{"a: 1.", "a", "plain decimals"},
		{"a: .inf", "a", "plain decimals"},
		{"a: .NaN", "a", "plain decimals"},
		{"a: [", "", "not YAML"},
		{"a: b: c", "", "not YAML"},
		{"\ta: b", "", "not YAML"},
		{"a: \"\xff\"", "", "not YAML"},
		{"a: \x01", "", "not YAML"},
		{"a: 1\n---\nb: [", "", "not YAML"},
		{strings.Repeat("[", 25) + strings.Repeat("]", 25), strings.Repeat("[0]", 25), ""},
		{strings.Repeat("[", 3000) + strings.Repeat("]", 3000), strings.Repeat("[0]", 25), "nested deeper than 24"},
		{"a: " + strings.Repeat("x", resource.MaxInput), "a", "passes 256 KiB"},
		{strings.Repeat("\n", 32<<20+1), "", "the file is too large"},
	} {
		t.Run(fmt.Sprintf("%.30q", tt.in), func(t *testing.T) {
			docs, err := resource.ParseYAML([]byte(tt.in))
			if tt.reason == "" {
				if err != nil || len(docs) != 1 {
					t.Error(err)
				}
				return
			}
			wantFault(t, err, tt.path, tt.reason)
		})
	}
}

func TestHowYAMLValuesAreTyped(t *testing.T) {
	for in, want := range map[string]string{
		"no": "string no", "yes": "string yes", "on": "string on", "y": "string y", "True": "bool true", "false": "bool false", "TRUE": "bool true",
		"1e3": "json.Number 1e3", "-1.5E-3": "json.Number -1.5E-3", "0": "json.Number 0", "12": "json.Number 12", "'12'": "string 12", `"no"`: "string no",
		"2026-11-01": "string 2026-11-01", "2026-11-01T03:00:00Z": "string 2026-11-01T03:00:00Z", "1.2.3": "string 1.2.3", "192.0.2.1": "string 192.0.2.1",
		"null": "<nil> <nil>", "~": "<nil> <nil>", "": "<nil> <nil>", "'~'": "string ~", "|\n  x\n  y": "string x\ny\n", "1:30": "string 1:30", "0b1x": "string 0b1x", "=": "string =",
	} {
		docs, err := resource.ParseYAML([]byte("a: " + in + "\n"))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		v := docs[0].Any().(map[string]any)["a"]
		if got := fmt.Sprintf("%T %v", v, v); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestYAMLDocuments(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "---\n": 0, "# only words\n": 0, "---\n---\n---\n": 0, "null": 0, "a: 1": 1, "---\na: 1\n---\n\n---\nb: 2\n...\n": 2, "{\"a\": [1]}": 1,
		strings.Repeat("---\na: 1\n", resource.MaxDocuments): resource.MaxDocuments,
	} {
		docs, err := resource.ParseYAML([]byte(in))
		if err != nil || len(docs) != want {
			t.Errorf("%.20q: %d documents, %v", in, len(docs), err)
		}
	}
	if _, err := resource.ParseYAML([]byte(strings.Repeat("---\na: 1\n", resource.MaxDocuments+1))); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	docs, err := resource.ParseYAML([]byte("a: 1\n---\n\nb: 2\n"))
	if err != nil || docs[1].Line() != 4 {
		t.Errorf("line %d, %v", docs[1].Line(), err)
	}
}

func TestYAMLAndJSONSayTheSame(t *testing.T) {
	const doc = `{"kind":"Thing","metadata":{"tenant":"acme","name":"a"},"spec":{"name":"no","level":3,"on":true,"wait":"5m","tags":{"a":"1e3"}}}`
	a, err := decodeJSON(t, doc)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeYAML(t, doc)
	if err != nil {
		t.Fatal(err)
	}
	x, _ := a.Stored()
	y, _ := b.Stored()
	if string(x) != string(y) {
		t.Errorf("%s\n%s", x, y)
	}
}
