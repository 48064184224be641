package console

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// maxRows bounds the entries of one list in a form, and maxInputs all fields.
const (
	maxRows   = 512
	maxInputs = 4096
)

// rowsKey names the hidden field that says how many rows a list has.
func rowsKey(path string) string { return "rows:" + path }

// values are the fields of a form as text, by path as in "spec.hosts[0]".
type values struct {
	text map[string]string
	rows map[string]int // of lists and maps
}

func newValues() *values { return &values{map[string]string{}, map[string]int{}} }

// valuesOf reads what is there, as decoded JSON, into the fields.
func valuesOf(inputs []resource.Input, tree map[string]any, path string) *values {
	v := newValues()
	for i := range inputs {
		v.load(&inputs[i], tree[inputs[i].Name], path+"."+inputs[i].Name)
	}
	return v
}

func (v *values) load(in *resource.Input, x any, path string) {
	switch in.Type {
	case resource.InputObject:
		m, _ := x.(map[string]any)
		for i := range in.Fields {
			v.load(&in.Fields[i], m[in.Fields[i].Name], path+"."+in.Fields[i].Name)
		}
	case resource.InputList:
		l, _ := x.([]any)
		v.rows[path] = len(l)
		for i, y := range l {
			v.load(in.Each, y, path+"["+strconv.Itoa(i)+"]")
		}
		if len(l) == 0 && in.Required {
			v.rows[path] = 1 // what must be given is there to be filled
		}
	case resource.InputMap:
		m, _ := x.(map[string]any)
		v.rows[path] = len(m)
		for i, k := range slices.Sorted(maps.Keys(m)) {
			v.text[mapKey(path, i)], v.text[mapValue(path, i)] = k, scalar(m[k])
		}
	case resource.InputOther:
		if x != nil {
			if b, err := json.Marshal(x); err == nil {
				v.text[path] = string(b)
			}
		}
	default:
		if s := scalar(x); x != nil {
			v.text[path] = s
		}
	}
}

func mapKey(path string, i int) string   { return path + "{" + strconv.Itoa(i) + "}.key" }
func mapValue(path string, i int) string { return path + "{" + strconv.Itoa(i) + "}.value" }

// posted reads the fields that a browser sent, whose line ends are CR LF.
func posted(form url.Values) *values {
	v := newValues()
	for name, all := range form {
		if len(v.text) == maxInputs || len(all) == 0 {
			continue
		}
		if path, ok := strings.CutPrefix(name, "rows:"); ok {
			if n, err := strconv.Atoi(all[0]); err == nil && n >= 0 {
				v.rows[path] = min(n, maxRows)
			}
			continue
		}
		v.text[name] = strings.ReplaceAll(all[0], "\r\n", "\n")
	}
	return v
}

var whole = regexp.MustCompile(`^-?[0-9]{1,18}$`)

// tree is what the fields say, for the strict decoder to judge: what is empty
// is absent, and what is no number stays text, so that the decoder says so.
func (v *values) tree(inputs []resource.Input, path string) map[string]any {
	out := map[string]any{}
	for i := range inputs {
		if x := v.read(&inputs[i], path+"."+inputs[i].Name); x != nil {
			out[inputs[i].Name] = x
		}
	}
	return out
}

func (v *values) read(in *resource.Input, path string) any {
	s := v.text[path]
	switch in.Type {
	case resource.InputObject:
		if m := v.tree(in.Fields, path); len(m) > 0 {
			return m
		}
		return nil
	case resource.InputList:
		var l []any
		for i := range v.rows[path] {
			if x := v.read(in.Each, path+"["+strconv.Itoa(i)+"]"); x != nil {
				l = append(l, x)
			}
		}
		if l == nil {
			return nil
		}
		return l
	case resource.InputMap:
		return v.mapped(path)
	case resource.InputFlag:
		if s == "true" {
			return true
		}
		return nil
	case resource.InputNumber:
		if whole.MatchString(s) {
			return json.Number(s)
		}
	case resource.InputOther:
		var x any
		d := json.NewDecoder(bytes.NewReader([]byte(s)))
		d.UseNumber()
		if s != "" && d.Decode(&x) == nil {
			return x
		}
	}
	if s == "" {
		return nil
	}
	return s
}

func (v *values) mapped(path string) any {
	m := map[string]any{}
	for i := range v.rows[path] {
		if k := strings.TrimSpace(v.text[mapKey(path, i)]); k != "" {
			m[k] = v.text[mapValue(path, i)]
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// edit carries out a button that adds or removes a row; it returns the path of
// a row that was added, where the next word goes.
func (v *values) edit(do string) (focus string, ok bool) {
	if path, add := strings.CutPrefix(do, "add:"); add {
		n := v.rows[path]
		if n >= maxRows {
			return "", true
		}
		v.rows[path] = n + 1
		return path + "[" + strconv.Itoa(n) + "]", true
	}
	at, remove := strings.CutPrefix(do, "remove:")
	open := max(strings.LastIndexByte(at, '['), strings.LastIndexByte(at, '{'))
	if !remove || open < 0 {
		return "", false
	}
	path, sign := at[:open], at[open:open+1]
	n, err := strconv.Atoi(strings.Trim(at[open:], "[]{}"))
	if err != nil || n < 0 || n >= v.rows[path] {
		return "", true
	}
	v.shift(path, sign, n)
	v.rows[path]--
	return "", true
}

// shift moves what stands behind row n one row up.
func (v *values) shift(path, sign string, n int) {
	end := map[string]string{"[": "]", "{": "}"}[sign]
	row := func(i int) string { return path + sign + strconv.Itoa(i) + end }
	for i := n; i < v.rows[path]; i++ {
		for name := range v.text {
			if below(name, row(i)) {
				delete(v.text, name)
			}
		}
		for name := range v.rows {
			if below(name, row(i)) {
				delete(v.rows, name)
			}
		}
		for name, s := range maps.Clone(v.text) {
			if below(name, row(i+1)) {
				v.text[row(i)+strings.TrimPrefix(name, row(i+1))] = s
			}
		}
		for name, k := range maps.Clone(v.rows) {
			if below(name, row(i+1)) {
				v.rows[row(i)+strings.TrimPrefix(name, row(i+1))] = k
			}
		}
	}
}

func below(name, path string) bool {
	rest, ok := strings.CutPrefix(name, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || rest[0] == '{')
}
