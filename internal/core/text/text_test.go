package text_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/text"
)

func TestATextInsideATextKeepsItsLanguage(t *testing.T) {
	inner := text.T("a number", "数字")
	got := text.F("want %s, not %s (%d)", "应为%s,而不是%s(%d)", inner, "x", 3)
	if got.En != "want a number, not x (3)" || got.Zh != "应为数字,而不是x(3)" {
		t.Errorf("%+v", got)
	}
	for l, want := range map[text.Lang]string{text.English: "a number", text.Chinese: "数字", "": "a number", "fr": "a number"} {
		if inner.In(l) != want {
			t.Errorf("%s: %s", l, inner.In(l))
		}
	}
	if (text.Text{En: "only"}).In(text.Chinese) != "only" {
		t.Error("no fallback to English")
	}
}

func TestAccept(t *testing.T) {
	for header, want := range map[string]text.Lang{
		"": text.English, "zh": text.Chinese, "zh-CN,zh;q=0.9,en;q=0.8": text.Chinese, "ZH-hant": text.Chinese, "en-US,zh": text.English,
		"fr, zh;q=0.1, en": text.Chinese, "fr": text.English, " , ;,": text.English, "zhx": text.English, "*": text.English, strings.Repeat("fr,", 100) + "zh": text.English,
	} {
		if got := text.Accept(header); got != want {
			t.Errorf("%.40q: %s", header, got)
		}
	}
	for s, ok := range map[string]bool{"en": true, "zh": true, "": false, "EN": false, "zh-CN": false} {
		if l, got := text.Parse(s); got != ok || ok && string(l) != s {
			t.Errorf("%q: %s %v", s, l, got)
		}
	}
}
