package resource

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Selector is a conjunction of terms over labels: "a=b,c!=d,e,!f".
type Selector []term

type term struct {
	key, value string
	negate     bool
	exists     bool // only the presence of the key is asked
}

// ParseSelector reads at most 16 terms; empty input selects everything.
func ParseSelector(s string) (Selector, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	if len(s) > 4096 || len(parts) > 16 {
		return nil, fault.New(fault.Invalid, "a selector has at most 16 terms", "选择器至多 16 项")
	}
	var out Selector
	for _, p := range parts {
		t := parseTerm(strings.TrimSpace(p))
		if bad := CheckLabelKey(t.key); bad != nil {
			return nil, fault.New(fault.Invalid, "label selector %q: %s; write a=b, a!=b, a or !a", "标签选择器 %q:%s;写法:a=b、a!=b、a 或 !a", clip(p), *bad)
		}
		out = append(out, t)
	}
	return out, nil
}

func parseTerm(p string) term {
	if k, v, ok := strings.Cut(p, "!="); ok {
		return term{key: strings.TrimSpace(k), value: strings.TrimSpace(v), negate: true}
	}
	if k, v, ok := strings.Cut(p, "="); ok {
		return term{key: strings.TrimSpace(k), value: strings.TrimPrefix(strings.TrimSpace(v), "=")}
	}
	k, negate := strings.CutPrefix(p, "!")
	return term{key: k, negate: negate, exists: true}
}

// Matches reports whether the labels satisfy every term. A record without the
// label satisfies a!=b, as people know it from Kubernetes.
func (s Selector) Matches(labels map[string]string) bool {
	for _, t := range s {
		v, ok := labels[t.key]
		hit := ok && (t.exists || v == t.value)
		if hit == t.negate {
			return false
		}
	}
	return true
}
