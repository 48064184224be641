package console

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/events"
)

// clip bounds what one text may take of a page, in characters.
const (
	clipCell = 160
	clipFull = 2000
)

// clean makes text from outside safe to look at: control characters, and those
// that turn or hide what stands beside them, are shown as what they are.
// Escaping for HTML is templ's.
func clean(s string, most int) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == most {
			b.WriteString("…")
			break
		}
		n++
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			b.WriteString("\uFFFD")
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r):
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func cell(s string) string {
	if s == "" {
		return "–"
	}
	return clean(s, clipCell)
}

// lines is clean for text of several lines that is to be copied.
func lines(s string) string {
	in := strings.Split(s, "\n")
	for i, l := range in {
		in[i] = clean(l, clipFull)
	}
	return strings.Join(in, "\n")
}

// clock writes a time of today short, any other with its day; always UTC.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format("01-02 15:04:05")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func machine(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// current marks the page that one is on.
func current(v *visit, path string) string {
	if v.r.URL.Path == path || path != "/" && strings.HasPrefix(v.r.URL.Path, path+"/") {
		return "page"
	}
	return "false"
}

// tone is the colour of an outcome.
func tone(action string) string {
	switch action {
	case "blocked":
		return "bad"
	case "detected":
		return "warn"
	}
	return "plain"
}

// blockPath is where an event is explained. A request id that is none leads
// nowhere but to a page that says so.
func blockPath(e *events.Event) string { return "/blocks/" + url.PathEscape(e.Request) }

func mapRows(m map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+" = "+m[k])
	}
	return out
}
