package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
)

// Tree returns o as plain maps, the form that merge patches work on.
func Tree(o *Object) (map[string]any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	out := map[string]any{}
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	return out, nil
}

// Merge applies a JSON merge patch (RFC 7396) and returns the result; neither
// argument is changed.
func Merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	out := maps.Clone(t)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = Merge(out[k], v)
		}
	}
	return out
}

// ThreeWay returns the merge patch that brings live to next: what next says is
// set, and what base said and next no longer says is removed; what others
// added to live stays. Lists are replaced whole.
func ThreeWay(base, next, live map[string]any) map[string]any {
	patch := map[string]any{}
	for k, want := range next {
		have, ok := live[k]
		wm, isMap := want.(map[string]any)
		hm, haveMap := have.(map[string]any)
		if isMap && haveMap {
			bm, _ := base[k].(map[string]any)
			if sub := ThreeWay(bm, wm, hm); len(sub) > 0 {
				patch[k] = sub
			}
		} else if !ok || !reflect.DeepEqual(want, have) {
			patch[k] = want
		}
	}
	for k := range base {
		if _, keep := next[k]; keep {
			continue
		}
		if _, there := live[k]; there {
			patch[k] = nil
		}
	}
	return patch
}
