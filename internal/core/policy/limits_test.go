package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/policy"
)

// what the limits allow, and one more.
func TestLimitsOfAPolicy(t *testing.T) {
	_, c := setup(t)
	when := func(s string) string {
		return `forbid (principal, action == Action::"site.read", resource) when { ` + s + ` };`
	}
	nested := func(open, inner, shut string, n int) string {
		return when(strings.Repeat(open, n) + inner + strings.Repeat(shut, n))
	}
	// The braces of the clause are one level.
	const deep = policy.MaxNesting - 1
	for name, make := range map[string]func(more int) string{
		"parentheses": func(more int) string { return nested("(", "true", ")", deep+more) },
		"not":         func(more int) string { return nested("!", "true", "", deep+more) },
		"signs":       func(more int) string { return when(strings.Repeat("-", deep+more) + "1 < 3") },
		"lists": func(more int) string {
			return when(strings.Repeat("[", deep-2+more) + "1" + strings.Repeat("]", deep-2+more) + ".isEmpty()")
		},
		"ifs":         func(more int) string { return nested("if context.mfa then ", "true", " else false", deep-1+more) },
		"mixed":       func(more int) string { return nested("!(", "true", ")", deep/2+more) },
		"in comments": func(more int) string { return "/* \" */ // \"\n" + nested("(", "true", ")", deep+more) },
		"in strings": func(more int) string {
			return nested("(", `"((((\"((((" == "((((" || true`, ")", deep+more)
		},
		"statements": func(more int) string {
			return strings.Repeat(`permit (principal, action == Action::"site.read", resource);`+"\n", policy.MaxStatements+more)
		},
		"conditions": func(more int) string {
			return `permit (principal, action == Action::"site.read", resource)` + strings.Repeat(" when {true}", policy.MaxConditions+more) + ";"
		},
		"operators": func(more int) string { return when("true" + strings.Repeat(" && true", policy.MaxOperators+more)) },
		"sums": func(more int) string {
			return when("1" + strings.Repeat("+1", policy.MaxOperators/2+more) + strings.Repeat("-1*1", policy.MaxOperators/4) + " < 3")
		},
	} {
		if err := c.Check("platform/x", make(0)); err != nil {
			t.Errorf("%s at the limit: %.200v", name, err)
		}
		err := c.Check("platform/x", make(2))
		e := fault.Of(err)
		if !fault.Is(err, fault.Invalid) || len(e.Fields) != 1 || e.Fields[0].Path != "spec.cedar" || e.Fields[0].Reason.Zh == e.Fields[0].Reason.En || !strings.Contains(e.Fields[0].Reason.En, fmt.Sprint("at most ")) {
			t.Errorf("%s above the limit: %.200v", name, err)
		}
	}
	if err := c.Check("platform/x", when("context.mfa"+strings.Repeat(".x", 100))); !strings.Contains(fmt.Sprint(err), "nested") {
		t.Errorf("a chain of attributes: %v", err)
	}
	if err := c.Check("platform/x", when("context"+strings.Repeat(`["x"]`, 100))); !strings.Contains(fmt.Sprint(err), "nested") {
		t.Errorf("a chain of indexes: %v", err)
	}
}

// FuzzCheck looks for texts that panic, or that are refused without a field.
func FuzzCheck(f *testing.F) {
	_, c := setup(f)
	builtins, err := policy.Builtins()
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range builtins {
		f.Add(b.Text)
	}
	for _, s := range []string{`permit (principal, action in [], resource) unless { context == {} };`, `/* " */ forbid (principal, action, resource);`, `@id("x") permit(principal is User in Role::"a/b", action, resource) when { [1].contains(2) };`,
		`permit (principal, action, resource) when { if principal has a.b.c then -9223372036854775808 == 1 else "\u{1F600}" like "*\*" };`, "//\n\"", "/*/", `"` + "\n((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 32<<10 {
			return // the kind refuses it before
		}
		if err := c.Check("acme/x", s); err != nil {
			if e := fault.Of(err); e.Code != fault.Invalid || len(e.Fields) == 0 || e.Fields[0].Path != "spec.cedar" || len(e.Fields[0].Reason.En) > 4096 {
				t.Fatalf("%v", err)
			}
		}
	})
}
