package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestWhatIsNotJSON(t *testing.T) {
	for _, tt := range []struct{ in, path, reason string }{
		{"", "", "ends too early"},
		{"  \n", "", "ends too early"},
		{`{"a":`, "", "ends too early"},
		{`{"a":1`, "", "ends too early"},
		{`[1,2`, "", "ends too early"},
		{`{"a":1} x`, "", "something follows"},
		{`{"a":1}{"a":1}`, "", "something follows"},
		{`1 2`, "", "something follows"},
		{`{"a":1,}`, "", "not JSON"},
		{`[1,]`, "", "not JSON"},
		{`[1 2]`, "", "not JSON"},
		{`[1}`, "", "not JSON"},
		{`{"a" 1}`, "", "not JSON"},
		{`{a:1}`, "", "not JSON"},
		{`{1:1}`, "", "not JSON"},
		{`{'a':1}`, "", "not JSON"},
		{`[01]`, "", "not JSON"},
		{`[NaN]`, "", "not JSON"},
		{"[\n\n tru]", "", "line 3"},
		{`]`, "", "not JSON"},
		{"// a\n{}", "", "not JSON"},
		{"\"a\nb\"", "", "not JSON"},
		{"\"\xff\"", "", "not valid UTF-8"},
		{"\xef\xbb\xbf{}", "", "not JSON"},
		{`{"a":1,"b":{"c":1,"c":2}}`, "b.c", "is given twice (line 1)"},
		{"{\"a\":1,\n\"a\":2}", "a", "is given twice (line 2)"},
		{`{"a":1,"\u0061":2}`, "a", "is given twice"},
		{`{"":1,"":2}`, "", "is given twice"},
		{strings.Repeat("[", 25) + "1" + strings.Repeat("]", 25), strings.Repeat("[0]", 25), "nested deeper than 24"},
		{strings.Repeat(`{"a":`, 100_000/5), strings.Repeat("a.", 24) + "a", "nested deeper than 24"},
		{`"` + strings.Repeat("x", resource.MaxInput-1) + `"`, "", "at most 262144 are accepted"},
	} {
		t.Run(fmt.Sprintf("%.40q", tt.in), func(t *testing.T) {
			_, err := resource.ParseJSON([]byte(tt.in))
			wantFault(t, err, tt.path, tt.reason)
		})
	}
}

func TestJSONAtTheLimits(t *testing.T) {
	deep := strings.Repeat("[", 24) + "1" + strings.Repeat("]", 24)
	if _, err := resource.ParseJSON([]byte(deep)); err != nil {
		t.Error(err)
	}
	if _, err := resource.ParseJSON([]byte(`"` + strings.Repeat("x", resource.MaxInput-2) + `"`)); err != nil {
		t.Error(err)
	}
	n, err := resource.ParseJSON([]byte(` {"a": [1, -0.5e+7, "x\u00e9\n", true, false, null, {}], "b": {"c": "d"}} ` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(n.Any()); got != "map[a:[1 -0.5e+7 xé\n true false <nil> map[]] b:map[c:d]]" {
		t.Errorf("%q", got)
	}
	if n.At("b", "c").Text() != "d" || n.At("b", "x", "y") != nil || n.At("a", "x") != nil || n.At("a").Text() != "" || n.At("zz").Text() != "" || n.Line() != 1 {
		t.Errorf("%+v", n)
	}
}

func TestLongKeysAreCutInMessages(t *testing.T) {
	_, err := decodeJSON(t, `{"kind":"Thing","metadata":{"tenant":"acme","name":"a"},"spec":{"name":"n","`+strings.Repeat("盾", 5000)+`":1}}`)
	if e := fault.Of(err); len(e.Fields) != 1 || len(e.Fields[0].Path) > 100 || strings.ContainsRune(e.Fields[0].Path, '\uFFFD') || strings.ToValidUTF8(e.Fields[0].Path, "!") != e.Fields[0].Path {
		t.Errorf("%q", e.Fields)
	}
}
