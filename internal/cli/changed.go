package cli

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// changedFields names the fields that differ between two stored forms, as in
// "spec.hosts, metadata.labels".
func changedFields(before, after json.RawMessage) string {
	if before == nil || after == nil {
		return "-"
	}
	var x, y map[string]any
	if json.Unmarshal(before, &x) != nil || json.Unmarshal(after, &y) != nil {
		return "-"
	}
	var out []string
	for _, part := range []string{"spec", "state"} {
		out = append(out, changedKeys(part, x[part], y[part])...)
	}
	mx, _ := x["metadata"].(map[string]any)
	my, _ := y["metadata"].(map[string]any)
	for _, key := range []string{"labels", "annotations"} {
		for _, c := range changedKeys(key, mx[key], my[key]) {
			if c != "annotations."+resource.LastApplied {
				out = append(out, c)
			}
		}
	}
	if len(out) > 6 {
		out = append(out[:6], "…")
	}
	return orDash(strings.Join(out, ", "))
}

func changedKeys(path string, x, y any) []string {
	mx, _ := x.(map[string]any)
	my, _ := y.(map[string]any)
	keys := maps.Clone(mx)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, my)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !reflect.DeepEqual(mx[k], my[k]) {
			out = append(out, path+"."+k)
		}
	}
	return out
}
