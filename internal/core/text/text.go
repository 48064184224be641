// Package text holds the two-language strings that people see. It owns the
// choice of language and nothing else; it never formats numbers or times.
package text

import (
	"fmt"
	"strings"
)

// Lang is a language that Dun speaks.
type Lang string

// The languages of Dun; the zero value means English.
const (
	English Lang = "en"
	Chinese Lang = "zh"
)

// Text is one sentence or label in every language of Dun.
type Text struct{ En, Zh string }

// T pairs the English with the Chinese wording.
func T(en, zh string) Text { return Text{En: en, Zh: zh} }

// F pairs two formats that take the same arguments in the same order. An
// argument that is itself a Text appears in the language of the sentence.
func F(en, zh string, args ...any) Text {
	return Text{En: fmt.Sprintf(en, in(English, args)...), Zh: fmt.Sprintf(zh, in(Chinese, args)...)}
}

func in(l Lang, args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if t, ok := a.(Text); ok {
			a = t.In(l)
		}
		out[i] = a
	}
	return out
}

// In returns the wording in l, and English where a translation is absent.
func (t Text) In(l Lang) string {
	if l == Chinese && t.Zh != "" {
		return t.Zh
	}
	return t.En
}

// Accept picks a language from an Accept-Language header (RFC 9110 section
// 12.5.4). The order of the list decides; weights are not compared.
func Accept(header string) Lang {
	if len(header) > 256 {
		header = header[:256]
	}
	for part := range strings.SplitSeq(header, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch primary, _, _ := strings.Cut(strings.ToLower(tag), "-"); primary {
		case "zh":
			return Chinese
		case "en":
			return English
		}
	}
	return English
}

// Parse reads "en" or "zh"; ok is false for anything else.
func Parse(s string) (l Lang, ok bool) {
	switch Lang(s) {
	case English, Chinese:
		return Lang(s), true
	}
	return English, false
}
