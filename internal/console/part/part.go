// Package part is the console's own small set of components: what every page
// is built of, each in one place and each on the gallery page. It owns their
// markup and accessibility. It never reads a record, asks policy or knows a
// language: words come in the language of the page, and text from outside comes
// cleaned; escaping for HTML is templ's.
package part

import "strings"

// Tone is the colour of a judgement; words carry the meaning, colour repeats it.
type Tone string

// The tones.
const (
	Plain Tone = "plain"
	Good  Tone = "good"
	Warn  Tone = "warn"
	Bad   Tone = "bad"
)

// Line is one series of a graph. Its tint is a token of the stylesheet; the
// legend says in words what the line says.
type Line struct{ Name, Tint, Now string }

// Tints are tokens for lines that mean nothing by their colour.
func Tints() []string { return []string{"c1", "c2", "c3", "c4", "c5", "c6"} }

func tints(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Tint)
	}
	return strings.Join(out, ",")
}

func names(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Name)
	}
	return strings.Join(out, ";")
}

// Link is a place with its name.
type Link struct {
	Text, Href string
	Current    bool
}

// Option is one choice of a field.
type Option struct{ Value, Text string }

// Field is one field of a form.
type Field struct {
	Name, Label, Help, Error, Value string
	Type                            string // text (default), number, search, checkbox, select, area, password, datetime
	Required, Mono, Focus, Fixed    bool   // Fixed may be read, not changed
	Options                         []Option
	List                            []string // suggestions
	Min, Max                        string   // of a number; Max of a text is its characters
	Rows                            string   // of an area, default 4
	Placeholder                     string
	Complete                        string // what a browser may fill in, "" = nothing
}

// ID is the id of the field's control: summaries of errors link to it.
func (f Field) ID() string { return "f-" + f.Name }

func (f Field) describes() string {
	var out []string
	if f.Help != "" {
		out = append(out, f.ID()+"-help")
	}
	if f.Error != "" {
		out = append(out, f.ID()+"-error")
	}
	return strings.Join(out, " ")
}

func (f Field) control() string {
	if f.Mono {
		return "control mono"
	}
	return "control"
}

func (f Field) area() string {
	if f.Rows == "" {
		return "4"
	}
	return f.Rows
}

func (f Field) complete() string {
	if f.Complete == "" {
		return "off"
	}
	return f.Complete
}

func (f Field) input() string {
	switch f.Type {
	case "", "datetime":
		return "text"
	}
	return f.Type
}

// Change is one line of a diff; an empty side was not there.
type Change struct{ Label, Path, Before, After string }

func invalid(f Field) string {
	if f.Error != "" {
		return "true"
	}
	return "false"
}

func role(t Tone) string {
	if t == Bad || t == Warn {
		return "alert"
	}
	return "note"
}

func current(yes bool) string {
	if yes {
		return "page"
	}
	return "false"
}

func yesNo(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
