package console

import (
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/resource"
)

func (d *draft) title(v *visit) string {
	switch {
	case d.verb != nil:
		return d.verb.Title.In(v.lang)
	case d.fresh:
		return v.t("Add: ", "添加:") + d.kind.Title.In(v.lang)
	}
	return clean(d.object.Metadata.Name, clipCell)
}

func (d *draft) trail(v *visit) templ.Component { return crumbs(v, d.kind, d.object) }

func (d *draft) tab() string {
	if d.asYAML {
		return "yaml"
	}
	return "edit"
}

func (d *draft) back() string {
	if d.object != nil {
		return recordPath(d.kind, d.object.Metadata.Tenant, d.object.Metadata.Name)
	}
	return listPath(d.kind, "")
}

// filled reports whether anything below the path was given or is wrong.
func (d *draft) filled(path string) bool {
	for name, s := range d.values.text {
		if s != "" && below(name, path) {
			return true
		}
	}
	for name, n := range d.values.rows {
		if n > 0 && below(name, path) {
			return true
		}
	}
	for name := range d.wrong {
		if below(name, path) {
			return true
		}
	}
	return false
}

// label is what a field is called; a field without a label has its name.
func (v *visit) label(in *resource.Input) string {
	if s := in.Label.In(v.lang); s != "" {
		return s
	}
	return in.Name
}

// longText is from how many characters on a text gets several lines.
const longText = 1024

// field is a simple field of a form.
func (v *visit) field(d *draft, in *resource.Input, path, label string) part.Field {
	f := part.Field{
		Name: path, Label: label, Help: in.Help.In(v.lang), Error: d.wrong[path], Value: d.values.text[path], Required: in.Required,
		Focus: d.focus != "" && strings.HasPrefix(path, d.focus),
	}
	if f.Focus {
		d.focus = "\x00" // the first one only
	}
	switch {
	case len(in.Enum) > 0:
		f.Type, f.Options = "select", options(in.Enum, "–")
	case in.Type == resource.InputFlag:
		f.Type = "checkbox"
	case in.Type == resource.InputNumber:
		f.Type, f.Min, f.Max = "number", limit(in.Min), limit(in.Max)
	case in.Type == resource.InputTime:
		f.Placeholder = "2026-12-31T00:00:00Z"
	case in.Type == resource.InputDuration:
		f.Placeholder = "30s, 5m, 12h, 7d"
	case in.Type == resource.InputSize:
		f.Placeholder = "16MiB"
	case in.Type == resource.InputOther || in.Max != nil && *in.Max >= longText:
		f.Type, f.Mono = "area", true
	case in.Format != "":
		f.Mono = true
	}
	return f
}

func limit(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// options are choices; none, when not empty, is the one for no choice.
func options(list []string, none string) []part.Option {
	var out []part.Option
	if none != "" {
		out = append(out, part.Option{Text: none})
	}
	for _, s := range list {
		out = append(out, part.Option{Value: s, Text: s})
	}
	return out
}

func (v *visit) diff(rows []changeRow) []part.Change {
	var out []part.Change
	for _, x := range rows {
		out = append(out, part.Change{Label: clean(x.label.In(v.lang), clipCell), Path: clean(x.path, clipCell), Before: cell(x.before), After: cell(x.value)})
	}
	return out
}

func look(danger bool) string {
	if danger {
		return "danger"
	}
	return "main"
}
