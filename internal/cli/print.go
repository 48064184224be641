package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// clean takes out what could command a terminal: control characters and
// direction overrides. Newline and tab stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// width is how many columns a terminal uses: wide East Asian letters take two.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
			r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd):
			n += 2
		default:
			n++
		}
	}
	return n
}

// table prints rows in columns that line up.
func table(w io.Writer, head []string, rows [][]string) {
	all := append([][]string{head}, rows...)
	widths := make([]int, len(head))
	for _, row := range all {
		for i := range row {
			row[i] = strings.ReplaceAll(clean(row[i]), "\n", " ")
			widths[i] = max(widths[i], width(row[i]))
		}
	}
	for _, row := range all {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-width(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// records prints records as the table of their kind.
func (a *app) records(k *resource.Kind, list []*resource.Object, wide, tenants bool) {
	var head []string
	if tenants {
		head = append(head, a.t("TENANT", "租户"))
	}
	head = append(head, a.t("NAME", "名称"))
	for _, c := range k.Columns {
		if wide || !c.Wide {
			head = append(head, strings.ToUpper(c.Title.In(a.lang)))
		}
	}
	head = append(head, a.t("REVISION", "修订"), a.t("AGE", "时长"))
	if wide {
		head = append(head, a.t("LABELS", "标签"), "UID")
	}
	var rows [][]string
	for _, o := range list {
		var row []string
		if tenants {
			row = append(row, o.Metadata.Tenant)
		}
		row = append(row, o.Metadata.Name)
		for _, c := range k.Columns {
			if wide || !c.Wide {
				row = append(row, orDash(c.Value(o)))
			}
		}
		row = append(row, fmt.Sprint(o.Metadata.Revision), age(o.Metadata.Created))
		if wide {
			row = append(row, orDash(labels(o.Metadata.Labels)), o.Metadata.UID)
		}
		rows = append(rows, row)
	}
	table(a.opt.Out, head, rows)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func labels(m map[string]string) string {
	b, err := json.Marshal(m) // sorted
	if err != nil || len(m) == 0 {
		return ""
	}
	return strings.NewReplacer(`{`, "", `}`, "", `"`, "", ":", "=").Replace(string(b))
}

func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// emit prints v in the format that -o names.
func (a *app) emit(v any) error {
	if a.output == "yaml" {
		return a.yaml(v)
	}
	return a.json(v)
}

// json prints v indented.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.opt.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// yaml prints v with the keys in the order of its JSON form.
func (a *app) yaml(v any) error {
	b, err := toYAML(v)
	if err != nil {
		return err
	}
	_, err = a.opt.Out.Write(b)
	return err
}

func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var n yaml.Node // JSON is YAML, and a node keeps the order of keys
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	plain(&n)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return out.Bytes(), nil
}

// plain drops JSON's flow style and quotes where YAML needs none.
func plain(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0
		if strings.Contains(n.Value, "\n") {
			n.Style = yaml.LiteralStyle
		}
	} else {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// manifest is what a person would write to get o: no server-owned fields.
func manifest(o *resource.Object) (map[string]any, error) {
	tree, err := resource.Tree(o)
	if err != nil {
		return nil, err
	}
	delete(tree, "state")
	delete(tree, "status")
	delete(tree, "version")
	meta, _ := tree["metadata"].(map[string]any)
	for _, k := range []string{"uid", "revision", "statusRevision", "created", "updated", "owner", "finalizers", "deleting"} {
		delete(meta, k)
	}
	if notes, ok := meta["annotations"].(map[string]any); ok {
		delete(notes, resource.LastApplied)
		if len(notes) == 0 {
			delete(meta, "annotations")
		}
	}
	return tree, nil
}

// when prints a time as people compare them: UTC, seconds.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func yesNo(b bool, l text.Lang) string {
	if b {
		return text.T("yes", "是").In(l)
	}
	return text.T("no", "否").In(l)
}
