package dun_test

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// TestBothLanguagesTakeTheSameArguments counts the verbs of every pair of
// formats: a translation that drops an argument would print %!(EXTRA …).
func TestBothLanguagesTakeTheSameArguments(t *testing.T) {
	pairs := 0
	eachFile(t, func(path string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !formats(call) {
				return true
			}
			first := 0
			if call.Fun.(*ast.SelectorExpr).Sel.Name == "Add" {
				first = 1 // the path
			}
			for i := first; i+1 < len(call.Args); i++ {
				en, ok1 := literal(call.Args[i])
				zh, ok2 := literal(call.Args[i+1])
				if !ok1 || !ok2 {
					continue
				}
				if call.Ellipsis != token.NoPos {
					return true
				}
				pairs++
				rest := len(call.Args) - i - 2
				if verbs(en) != rest || verbs(zh) != rest {
					t.Errorf("%s: %q takes %d arguments, %q takes %d, %d are given", path, en, verbs(en), zh, verbs(zh), rest)
				}
				if !strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }) && words(en) {
					t.Errorf("%s: %q has no Chinese wording: %q", path, en, zh)
				}
				return true
			}
			return true
		})
	})
	if pairs < 100 {
		t.Errorf("only %d pairs were seen: the test no longer finds them", pairs)
	}
}

// formats reports calls that take an English and a Chinese format.
func formats(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		x, _ := f.X.(*ast.Ident)
		switch f.Sel.Name {
		case "F":
			return x != nil && x.Name == "text"
		case "New":
			return x != nil && x.Name == "fault"
		case "say":
			return true
		case "Add":
			return x != nil && x.Name == "r"
		}
	}
	return false
}

func literal(e ast.Expr) (string, bool) {
	b, ok := e.(*ast.BasicLit)
	if !ok || b.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(b.Value)
	return s, err == nil
}

// verbs is the highest argument that a format uses.
func verbs(format string) int {
	highest, next := 0, 0
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i < len(format) && format[i] == '%' {
			continue
		}
		for i < len(format) && strings.ContainsRune("+-# 0123456789.", rune(format[i])) {
			i++
		}
		if i < len(format) && format[i] == '[' {
			end := strings.IndexByte(format[i:], ']')
			next, _ = strconv.Atoi(format[i+1 : i+end])
			next--
			i += end + 1
		}
		next++
		highest = max(highest, next)
	}
	return highest
}

// words reports whether a format holds a word of a language, beside verbs and
// names of fields.
func words(format string) bool {
	for w := range strings.FieldsSeq(format) {
		if len(w) > 2 && !strings.ContainsAny(w, "%.:_-/") {
			return true
		}
	}
	return false
}
