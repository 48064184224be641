package console

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzCleanShowsWhatIsThere: whatever comes, what is shown is valid, bounded,
// in one line, and holds nothing that acts on the text beside it.
func FuzzCleanShowsWhatIsThere(f *testing.F) {
	for _, s := range []string{"plain", "a\u202eb", "\xff\xfe", "a\r\nb", "\x1b[2J", "\ufffd", "\u2028", "\U000e0041", "盾"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, clipCell)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > clipCell*len(`\u{10ffff}`)+1 {
			t.Fatalf("%q", got)
		}
		if strings.ContainsFunc(got, func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
		}) {
			t.Fatalf("%q became %q", s, got)
		}
		if utf8.ValidString(s) && clean(got, len(got)+1) != got {
			t.Fatalf("%q is not stable", got)
		}
	})
}

func TestCleanKeepsWords(t *testing.T) {
	for in, want := range map[string]string{"/a b?c=<d>": "/a b?c=<d>", "盾 shop": "盾 shop", "a\nb": "a b", "a\u202eb": `a\u{202e}b`, "\xff": "\ufffd", "": ""} {
		if got := clean(in, clipCell); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := clean(strings.Repeat("長", 500), clipCell); got != strings.Repeat("長", clipCell)+"…" {
		t.Errorf("%q", got)
	}
}
