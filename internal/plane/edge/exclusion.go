package edge

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// exclusion is a compiled Exclusion: rules that one site does not run.
type exclusion struct {
	rules   []int
	targets []variables.RuleVariable // empty = the whole rule
	key     string                   // of the targets, lower case; "" = every key
	route   route
	expires time.Time // zero = never
}

// route is a path prefix in the form that Exclusion.spec.route documents.
type route struct {
	any    bool
	prefix string
	open   bool // a trailing *: any rest, also inside a segment
}

func parseRoute(s string) route {
	if s == "" {
		return route{any: true}
	}
	p, open := strings.CutSuffix(s, "*")
	if !open {
		p = strings.TrimSuffix(p, "/")
	}
	return route{prefix: p, open: open}
}

// covers never holds for a path that servers may resolve to another place
// (/comments/../admin): the exclusion would open what it does not name.
func (r route) covers(t *target) bool {
	if r.any {
		return true
	}
	if t.dotted || !strings.HasPrefix(t.path, r.prefix) {
		return false
	}
	return r.open || len(t.path) == len(r.prefix) || t.path[len(r.prefix)] == '/'
}

func compileExclusion(g *ruleSet, s *edge.ExclusionSpec) (exclusion, error) {
	x := exclusion{route: parseRoute(s.Route)}
	if s.Expires != nil {
		x.expires = *s.Expires
	}
	ids := []int{s.Rule}
	if s.Tag != "" {
		ids = g.tagged[s.Tag]
	}
	for _, id := range ids {
		if !protected(id) {
			x.rules = append(x.rules, id)
		}
	}
	if len(x.rules) == 0 {
		return x, errors.New("names no rule that can be excluded")
	}
	if s.Argument != "" {
		if err := x.aim(s.Argument); err != nil {
			return x, err
		}
	}
	return x, nil
}

// aim narrows the exclusion to one variable. Rules name ARGS, or its GET and
// POST halves; what an event calls ARGS:x is excluded under all three.
func (x *exclusion) aim(argument string) error {
	name, key, _ := strings.Cut(argument, ":")
	v, err := variables.Parse(name)
	if err != nil {
		return fmt.Errorf("read argument %q: %w", name, err)
	}
	x.key, x.targets = strings.ToLower(key), []variables.RuleVariable{v}
	switch v {
	case variables.Args:
		x.targets = append(x.targets, variables.ArgsGet, variables.ArgsPost)
	case variables.ArgsNames:
		x.targets = append(x.targets, variables.ArgsGetNames, variables.ArgsPostNames)
	}
	return nil
}

func (x *exclusion) apply(tx transaction, t *target, now time.Time) {
	if !x.expires.IsZero() && !now.Before(x.expires) || !x.route.covers(t) {
		return
	}
	for _, id := range x.rules {
		if len(x.targets) == 0 {
			tx.RemoveRuleByID(id)
		}
		for _, v := range x.targets {
			tx.RemoveRuleTargetByID(id, v, x.key, nil)
		}
	}
}

// compileExclusions leaves out, with a warning, what cannot be understood: an
// exclusion that does not work blocks, which is the safe side.
func compileExclusions(g *ruleSet, all []named[*edge.ExclusionSpec], log *slog.Logger) map[siteName][]exclusion {
	out := map[siteName][]exclusion{}
	for _, o := range all {
		x, err := compileExclusion(g, o.spec)
		if err != nil {
			log.Warn("exclusion left out", "kind", "Exclusion", "tenant", o.tenant, "name", o.name, "err", err)
			continue
		}
		at := siteName{o.tenant, o.spec.Site}
		out[at] = append(out[at], x)
	}
	return out
}
