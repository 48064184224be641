package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// fieldRow is one value of a record with the label that its kind gives it.
type fieldRow struct {
	path  string // as in "spec.origins[0].url"
	label text.Text
	help  text.Text
	value string
}

// changeRow is one value that a change moved; "" was not there.
type changeRow struct {
	fieldRow
	before string
}

var index = regexp.MustCompile(`\[\d+\]`)

// fieldsOf lists what people and policy decided about a record, in the order
// in which its kind declares the fields.
func fieldsOf(k *resource.Kind, o *resource.Object) ([]fieldRow, error) {
	tree, err := resource.Tree(o)
	if err != nil {
		return nil, err
	}
	docs, order := map[string]resource.FieldDoc{}, map[string]int{}
	for i, d := range k.AllFields() {
		docs[strings.TrimSuffix(d.Path, "[]")] = d
		order[strings.TrimSuffix(d.Path, "[]")] = i
	}
	var out []fieldRow
	var walk func(path string, x any)
	walk = func(path string, x any) {
		switch x := x.(type) {
		case map[string]any:
			for name, y := range x {
				walk(path+"."+name, y)
			}
			return
		case []any:
			if !slices.ContainsFunc(x, compound) {
				var parts []string
				for _, y := range x {
					parts = append(parts, scalar(y))
				}
				x := strings.Join(parts, ", ")
				out = append(out, fieldRow{path: path, value: x})
				return
			}
			for i, y := range x {
				walk(path+"["+strconv.Itoa(i)+"]", y)
			}
			return
		}
		out = append(out, fieldRow{path: path, value: scalar(x)})
	}
	for _, part := range []string{"spec", "state", "status"} {
		if x, ok := tree[part]; ok && x != nil {
			walk(part, x)
		}
	}
	for i := range out {
		out[i].label, out[i].help = labelOf(docs, out[i].path)
	}
	rank := func(r fieldRow) int {
		if n, ok := order[index.ReplaceAllString(r.path, "[]")]; ok {
			return n
		}
		return len(order)
	}
	slices.SortFunc(out, func(a, b fieldRow) int {
		if x, y := firstList(a.path), firstList(b.path); x != "" && y != "" && x != y && index.ReplaceAllString(x, "") == index.ReplaceAllString(y, "") {
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) // one entry of a list after the other
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(a.path), len(b.path)), cmp.Compare(a.path, b.path))
	})
	return out, nil
}

// firstList is the path up to its first index, as in "spec.origins[0]".
func firstList(path string) string {
	if at := index.FindStringIndex(path); at != nil {
		return path[:at[1]]
	}
	return ""
}

func compound(x any) bool {
	switch x.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func scalar(x any) string {
	switch x := x.(type) {
	case string:
		return x
	case nil:
		return ""
	case json.Number:
		return x.String()
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(x)
}

// labelOf joins the labels of the fields on the way to path, with the number
// of each list's entry.
func labelOf(docs map[string]resource.FieldDoc, path string) (label, help text.Text) {
	var en, zh []string
	parts := strings.Split(path, ".")
	for i := 1; i < len(parts); i++ {
		name, n, listed := strings.Cut(parts[i], "[")
		d, ok := docs[index.ReplaceAllString(strings.Join(parts[:i], "."), "[]")+"."+name]
		if !ok || d.Label.En == "" {
			d.Label = text.T(name, name)
		}
		e, z := d.Label.En, d.Label.In(text.Chinese)
		if at, err := strconv.Atoi(strings.TrimSuffix(n, "]")); listed && err == nil {
			e, z = e+" "+strconv.Itoa(at+1), z+" "+strconv.Itoa(at+1)
		}
		en, zh, help = append(en, e), append(zh, z), d.Help
	}
	return text.T(strings.Join(en, " · "), strings.Join(zh, " · ")), help
}

// labelsOf lists a record's labels: its class of data is one of them.
func labelsOf(o *resource.Object) []fieldRow {
	var out []fieldRow
	for _, name := range slices.Sorted(maps.Keys(o.Metadata.Labels)) {
		out = append(out, fieldRow{path: "metadata.labels." + name, label: text.T("Label "+name, "标签 "+name), value: o.Metadata.Labels[name]})
	}
	return out
}

// changesOf lists what moved between two versions; either may be nil.
func changesOf(k *resource.Kind, before, after *resource.Object) ([]changeRow, error) {
	read := func(o *resource.Object) ([]fieldRow, error) {
		if o == nil {
			return nil, nil
		}
		fields, err := fieldsOf(k, o)
		return append(labelsOf(o), fields...), err
	}
	old, err := read(before)
	if err != nil {
		return nil, err
	}
	now, err := read(after)
	if err != nil {
		return nil, err
	}
	was := map[string]string{}
	for _, f := range old {
		was[f.path] = f.value
	}
	var out []changeRow
	for _, f := range now {
		if w, ok := was[f.path]; !ok || w != f.value {
			out = append(out, changeRow{fieldRow: f, before: w})
		}
		delete(was, f.path)
	}
	for _, f := range old {
		if _, left := was[f.path]; left {
			out = append(out, changeRow{fieldRow: fieldRow{path: f.path, label: f.label, help: f.help}, before: f.value})
		}
	}
	return out, nil
}
