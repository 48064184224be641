package console

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/resource"
)

// manifest writes a record as people write it by hand, without what the gate
// sets.
func manifest(o *resource.Object) (string, error) {
	tree, err := resource.Tree(o)
	if err != nil {
		return "", err
	}
	meta := map[string]any{"tenant": o.Metadata.Tenant, "name": o.Metadata.Name}
	if len(o.Metadata.Labels) > 0 {
		meta["labels"] = o.Metadata.Labels
	}
	notes := maps.Clone(o.Metadata.Annotations)
	delete(notes, resource.LastApplied)
	if len(notes) > 0 {
		meta["annotations"] = notes
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	spec := tree["spec"]
	if spec == nil {
		spec = map[string]any{}
	}
	if err := enc.Encode(struct {
		Kind           string
		Metadata, Spec any
	}{o.Kind, meta, plain(spec)}); err != nil {
		return "", err
	}
	return b.String(), enc.Close()
}

// plain turns numbers as JSON has them into such that YAML writes bare.
func plain(x any) any {
	switch x := x.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			out[k] = plain(x[k])
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = plain(x[i])
		}
		return out
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil {
			return f
		}
	case float64:
		if x == float64(int64(x)) {
			return int64(x)
		}
	}
	return x
}
