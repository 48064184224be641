// Package explain says what an event means to a person: one wording for the
// command line and the console. It owns those words and the suggested way out.
// It finds no events, decides nothing, and cleans nothing for a terminal or a
// page: what came from outside is returned as the event holds it.
package explain

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Line is one named fact about an event.
type Line struct {
	Name  text.Text
	Value string // from outside
}

// Outcome is what became of the request, as in "refused".
func Outcome(e *events.Event) text.Text {
	switch e.Action {
	case "blocked":
		return text.T("refused", "已拒绝")
	case "detected":
		return text.T("let through, but noted", "已放行但有记录")
	case "allowed":
		return text.T("let through", "已放行")
	}
	return text.T(e.Action, e.Action)
}

// Where is the tenant and the record that the event is about.
func Where(e *events.Event) string { return strings.Trim(e.Tenant+" "+e.Object, " ") }

// Asked is the request line, as far as it is known.
func Asked(e *events.Event) string {
	return strings.TrimSpace(e.Attributes["method"] + " " + e.Attributes["host"] + e.Attributes["path"])
}

// Lines lists what is known of the event beside its time, outcome and rules;
// what is empty is left out.
func Lines(e *events.Event) []Line {
	at := e.Attributes
	all := []Line{
		{text.T("what", "类别"), e.Kind},
		{text.T("who", "来源"), e.Source},
		{text.T("where", "对象"), Where(e)},
		{text.T("asked", "请求"), Asked(e)},
		{text.T("answer", "应答"), at["status"]},
	}
	for _, k := range []string{"error", "origin", "limit", "ban"} {
		all = append(all, Line{text.T(k, k), at[k]})
	}
	var out []Line
	for _, l := range all {
		if l.Value != "" {
			out = append(out, l)
		}
	}
	return out
}

// Score is how the request was judged; ok is false where it was not.
func Score(e *events.Event) (t text.Text, ok bool) {
	at := e.Attributes
	if at["score"] == "" {
		return t, false
	}
	return text.F("%s at paranoia %s", "%s,严格等级 %s", at["score"], at["paranoia"]), true
}

// maxExclusions is how many rules of one request are worth excepting; who
// needs more means another thing.
const maxExclusions = 5

// Exclusions writes the narrowest exclusions that would let the request pass,
// as YAML to apply; "" where there is nothing to except.
func Exclusions(e *events.Event) string {
	_, site, ok := strings.Cut(e.Object, "/")
	if !ok || e.Action != "blocked" || !resource.ValidName(site) || !resource.ValidName(e.Tenant) {
		return ""
	}
	var b strings.Builder
	for i, r := range e.Rules {
		if i == maxExclusions {
			break
		}
		fmt.Fprintf(&b, "---\nkind: Exclusion\nmetadata: {tenant: %s, name: %s-%d}\nspec: {site: %s, rule: %d", e.Tenant, strings.TrimRight(site[:min(len(site), 50)], "-"), r.ID, site, r.ID)
		if route := e.Attributes["path"]; route != "" && !strings.ContainsAny(route, "\"\\*\n") {
			fmt.Fprintf(&b, ", route: %q", route)
		}
		if strings.Contains(r.Where, ":") && !strings.ContainsAny(r.Where, "\"\\ |,'\n") {
			fmt.Fprintf(&b, ", argument: %q", r.Where)
		}
		b.WriteString("}\n")
	}
	return b.String()
}
