package resource

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/text"
)

// InputType says what people fill a field with.
type InputType string

// The input types. InputOther is for values that have no simple form.
const (
	InputText     InputType = "text"
	InputNumber   InputType = "number"
	InputFlag     InputType = "flag"
	InputTime     InputType = "time"
	InputDuration InputType = "duration"
	InputSize     InputType = "size"
	InputObject   InputType = "object"
	InputList     InputType = "list"
	InputMap      InputType = "map"
	InputOther    InputType = "other"
)

// Input is one field as a form asks for it. It is made of the tags that the
// strict decoder enforces, in the order of declaration.
type Input struct {
	Name        string // as in "origins"
	Type        InputType
	Label, Help text.Text
	Required    bool
	Min, Max    *int // of the value, its characters or its entries
	Enum        []string
	Format      string  // host, url or name
	Fields      []Input // of an object
	Each        *Input  // of a list or a map
}

// Inputs lists what a form for the kind's spec asks for.
func (k *Kind) Inputs() []Input { return inputsOf(reflect.TypeOf(k.NewSpec()).Elem()) }

// Inputs lists what a form for the verb asks for.
func (v *Verb) Inputs() []Input { return inputsOf(reflect.TypeOf(v.newInput()).Elem()) }

func inputsOf(t reflect.Type) []Input {
	var out []Input
	for _, f := range fieldsOf(t) {
		in := inputOf(f.typ, f.tag)
		in.Name = f.name
		out = append(out, in)
	}
	return out
}

func inputOf(t reflect.Type, tag reflect.StructTag) Input {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	in := Input{
		Type: inputType(t), Label: text.T(tag.Get("en"), tag.Get("zh")), Help: text.T(tag.Get("help"), tag.Get("help_zh")),
		Required: tag.Get("required") == "true", Min: limit(tag, "min"), Max: limit(tag, "max"), Format: tag.Get("format"),
	}
	if e := tag.Get("enum"); e != "" {
		in.Enum = strings.Split(e, ",")
	}
	switch in.Type {
	case InputObject:
		in.Fields = inputsOf(t)
	case InputList:
		each := inputOf(t.Elem(), reflect.StructTag(strings.ReplaceAll(tag.Get("each"), "'", `"`)))
		in.Each = &each
	case InputMap:
		each := inputOf(t.Elem(), "")
		in.Each = &each
	}
	return in
}

func inputType(t reflect.Type) InputType {
	switch {
	case t == timeType:
		return InputTime
	case t == reflect.TypeFor[Duration]():
		return InputDuration
	case t == reflect.TypeFor[Size]():
		return InputSize
	case isTextual(t):
		return InputText
	}
	switch t.Kind() {
	case reflect.Struct:
		return InputObject
	case reflect.Slice:
		return InputList
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			return InputMap
		}
		return InputOther
	case reflect.Bool:
		return InputFlag
	case reflect.String:
		return InputText
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8, reflect.Int16, reflect.Int8:
		return InputNumber
	}
	return InputOther
}

func limit(tag reflect.StructTag, name string) *int {
	if v, err := strconv.Atoi(tag.Get(name)); err == nil {
		return &v
	}
	return nil
}
