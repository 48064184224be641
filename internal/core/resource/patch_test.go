package resource_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/dun-sec/dun/internal/core/resource"
)

func value(t *testing.T, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// RFC 7396, appendix A.
func TestMergePatch(t *testing.T) {
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		target, patch := value(t, tt.target), value(t, tt.patch)
		if got := resource.Merge(target, patch); !reflect.DeepEqual(got, value(t, tt.want)) {
			t.Errorf("%s with %s is %v, want %s", tt.target, tt.patch, got, tt.want)
		}
		if !reflect.DeepEqual(target, value(t, tt.target)) || !reflect.DeepEqual(patch, value(t, tt.patch)) {
			t.Errorf("%s with %s: an argument was changed", tt.target, tt.patch)
		}
	}
}

// trees draws small nested maps without nulls, over few keys so that they meet.
func trees(depth int) *rapid.Generator[map[string]any] {
	leaf := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 3), func(n int) any { return json.Number(string(rune('0' + n))) }),
		rapid.Map(rapid.SampledFrom([]string{"x", "y"}), func(s string) any { return s }),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"p", "q"}), 0, 2), func(s []string) any {
			out := make([]any, len(s))
			for i := range s {
				out[i] = s[i]
			}
			return out
		}),
	)
	v := leaf
	if depth > 0 {
		v = rapid.OneOf(leaf, rapid.Map(trees(depth-1), func(m map[string]any) any { return m }))
	}
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), v, 0, 4)
}

// includes reports whether live says everything that next says.
func includes(live, next any) bool {
	n, ok := next.(map[string]any)
	if !ok {
		return reflect.DeepEqual(live, next)
	}
	l, ok := live.(map[string]any)
	for k, v := range n {
		if have, there := l[k]; !there || !includes(have, v) {
			return false
		}
	}
	return ok
}

// foreign lists the paths of live that neither base nor next speaks of, below
// maps that both live and next have.
func foreign(base, next, live map[string]any, path string, out map[string]any) {
	for k, v := range live {
		n, said := next[k]
		b, was := base[k]
		if !said && !was {
			out[path+"."+k] = v
		}
		nm, ok1 := n.(map[string]any)
		lm, ok2 := v.(map[string]any)
		bm, _ := b.(map[string]any)
		if ok1 && ok2 {
			foreign(bm, nm, lm, path+"."+k, out)
		}
	}
}

func TestThreeWayMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, next, live := trees(2).Draw(t, "base"), trees(2).Draw(t, "next"), trees(2).Draw(t, "live")
		patch := resource.ThreeWay(base, next, live)
		got, _ := resource.Merge(live, patch).(map[string]any)
		if !includes(got, next) {
			t.Fatalf("next is not in force: %v", got)
		}
		var gone func(base, next, got map[string]any)
		gone = func(base, next, got map[string]any) {
			for k, b := range base {
				n, kept := next[k]
				if _, there := got[k]; !kept && there {
					t.Fatalf("%s was dropped and is still there: %v", k, got)
				}
				bm, ok1 := b.(map[string]any)
				nm, ok2 := n.(map[string]any)
				gm, ok3 := got[k].(map[string]any)
				if ok1 && ok2 && ok3 {
					gone(bm, nm, gm)
				}
			}
		}
		gone(base, next, got)
		mine, after := map[string]any{}, map[string]any{}
		foreign(base, next, live, "", mine)
		foreign(base, next, got, "", after)
		for path, v := range mine {
			if !reflect.DeepEqual(after[path], v) {
				t.Fatalf("the foreign field %s became %v", path, after[path])
			}
		}
		if again := resource.ThreeWay(next, next, got); len(again) != 0 {
			t.Fatalf("a second apply is not empty: %v", again)
		}
	})
}
