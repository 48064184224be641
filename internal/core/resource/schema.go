package resource

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/text"
)

// field is one struct field that people may write.
type field struct {
	name  string
	index int
	tag   reflect.StructTag
	typ   reflect.Type
}

func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			out = append(out, field{name, i, f.Tag, f.Type})
		}
	}
	return out
}

// FieldDoc describes one field of a spec for people: `dun explain`, the console
// and the reference are made of it.
type FieldDoc struct {
	Path     string // as in "spec.origins[].url"
	Type     text.Text
	Label    text.Text
	Help     text.Text
	Enum     []string
	Required bool
}

// Fields lists every field of the kind's spec in the order of declaration.
func (k *Kind) Fields() []FieldDoc {
	return describe(reflect.TypeOf(k.NewSpec()).Elem(), "spec")
}

// AllFields lists the fields of spec, state and status.
func (k *Kind) AllFields() []FieldDoc {
	out := k.Fields()
	if k.NewState != nil {
		out = append(out, describe(reflect.TypeOf(k.NewState()).Elem(), "state")...)
	}
	if k.NewStatus != nil {
		out = append(out, describe(reflect.TypeOf(k.NewStatus()).Elem(), "status")...)
	}
	return out
}

func describe(t reflect.Type, path string) []FieldDoc {
	var out []FieldDoc
	for _, f := range fieldsOf(t) {
		d := FieldDoc{
			Path:     path + "." + f.name,
			Label:    text.T(f.tag.Get("en"), f.tag.Get("zh")),
			Help:     text.T(f.tag.Get("help"), f.tag.Get("help_zh")),
			Required: f.tag.Get("required") == "true",
		}
		if e := f.tag.Get("enum"); e != "" {
			d.Enum = strings.Split(e, ",")
		}
		inner := f.typ
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice {
				d.Path += "[]"
			}
			inner = inner.Elem()
		}
		d.Type = typeLabel(inner)
		out = append(out, d)
		if inner.Kind() == reflect.Struct && !isTextual(inner) {
			out = append(out, describe(inner, d.Path)...)
		}
	}
	return out
}

func isTextual(t reflect.Type) bool {
	return t == timeType || reflect.PointerTo(t).Implements(unmarshalerType)
}

func typeLabel(t reflect.Type) text.Text {
	switch {
	case t == timeType:
		return text.T("time", "时间")
	case t == reflect.TypeFor[Duration]():
		return text.T("duration", "时长")
	case t == reflect.TypeFor[Size]():
		return text.T("size", "大小")
	}
	switch t.Kind() {
	case reflect.Struct:
		return text.T("object", "对象")
	case reflect.Map:
		return text.T("map", "映射")
	case reflect.Bool:
		return text.T("true|false", "布尔")
	case reflect.String:
		return text.T("text", "文本")
	}
	return text.T("number", "数字")
}

// Schema is the JSON Schema (2020-12, as in OpenAPI 3.1) of the kind's spec.
// It is made of the same tags that the strict decoder enforces.
func (k *Kind) Schema() map[string]any {
	return schemaOf(reflect.TypeOf(k.NewSpec()).Elem(), "")
}

func schemaOf(t reflect.Type, tag reflect.StructTag) map[string]any {
	s := map[string]any{}
	if d := tag.Get("help"); d != "" {
		s["description"] = d
	}
	if l := tag.Get("en"); l != "" {
		s["title"] = l
		s["x-title-zh"] = tag.Get("zh")
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem(), tag)
	case t == timeType:
		s["type"], s["format"] = "string", "date-time"
	case isTextual(t):
		s["type"] = "string"
	case t.Kind() == reflect.Struct:
		objectSchema(s, t)
	case t.Kind() == reflect.Map:
		s["type"], s["additionalProperties"] = "object", schemaOf(t.Elem(), "")
	case t.Kind() == reflect.Slice:
		each := reflect.StructTag(strings.ReplaceAll(tag.Get("each"), "'", `"`))
		s["type"], s["items"] = "array", schemaOf(t.Elem(), each)
		limits(s, tag, "minItems", "maxItems")
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.String:
		s["type"] = "string"
		limits(s, tag, "minLength", "maxLength")
		if e := tag.Get("enum"); e != "" {
			s["enum"] = strings.Split(e, ",")
		}
	default:
		s["type"] = "integer"
		limits(s, tag, "minimum", "maximum")
	}
	return s
}

func objectSchema(s map[string]any, t reflect.Type) {
	props := map[string]any{}
	var required []string
	for _, f := range fieldsOf(t) {
		props[f.name] = schemaOf(f.typ, f.tag)
		if f.tag.Get("required") == "true" {
			required = append(required, f.name)
		}
	}
	s["type"], s["properties"], s["additionalProperties"] = "object", props, false
	if required != nil {
		s["required"] = required
	}
}

func limits(s map[string]any, tag reflect.StructTag, lo, hi string) {
	if v, err := strconv.Atoi(tag.Get("min")); err == nil {
		s[lo] = v
	}
	if v, err := strconv.Atoi(tag.Get("max")); err == nil {
		s[hi] = v
	}
}
