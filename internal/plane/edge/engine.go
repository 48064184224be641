package edge

import (
	_ "embed"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	crs "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"
)

//go:embed tuning.conf
var tuning string

// engine judges requests by the one rule set and bounds what that may cost.
type engine struct {
	*ruleSet
	slots  *turns // inspections at once
	heavy  *turns // of large bodies, in addition to slots
	limits bounds
}

func newEngine(rules *ruleSet, b bounds) *engine {
	return &engine{ruleSet: rules, limits: b, slots: newTurns(b.slots), heavy: newTurns(b.heavySlots)}
}

// ruleSet is the compiled rule set that all sites share. Compiling it takes
// about half a second and tens of megabytes, so a site is only a small overlay
// that is laid over each transaction.
type ruleSet struct {
	waf    coraza.WAF
	rules  []int            // ids, ascending
	tagged map[string][]int // ids by tag, ascending
}

// transaction is what *corazawaf.Transaction exports beyond the public
// interface. Per-site settings and exclusions need it; compileRules checks that
// it is there, so that an upgrade of Coraza cannot drop them silently.
type transaction interface {
	types.Transaction
	plugintypes.TransactionState
	RemoveRuleByID(id int)
	RemoveRuleTargetByID(id int, variable variables.RuleVariable, key string, keyRx *regexp.Regexp)
}

func compileRules(dir string) (*ruleSet, error) {
	g := &ruleSet{tagged: map[string][]int{}}
	// Only the request files: response rules are not run, and each rule costs
	// time in each phase's loop.
	cfg := coraza.NewWAFConfig().WithRootFS(crs.FS).WithDebugLogger(rootGuard{}).
		WithDirectives(tuning).
		WithDirectives(fmt.Sprintf("SecUploadDir %s\nInclude @owasp_crs/REQUEST-*.conf\n", dir))
	cfg = experimental.WAFConfigWithRuleObserver(cfg, func(r types.RuleMetadata) {
		if r.ID() == 0 {
			return
		}
		g.rules = append(g.rules, r.ID())
		for _, t := range r.Tags() {
			g.tagged[t] = append(g.tagged[t], r.ID())
		}
	})
	waf, err := coraza.NewWAF(cfg)
	if err != nil {
		return nil, fmt.Errorf("load core rule set: %w", err)
	}
	g.waf = waf
	slices.Sort(g.rules)
	for _, ids := range g.tagged {
		slices.Sort(ids)
	}
	if len(g.rules) < 300 {
		return nil, fmt.Errorf("load core rule set: only %d rules were seen", len(g.rules))
	}
	return g, g.checkSeams(dir)
}

// checkSeams makes sure of what the public interface does not promise, and
// points the engine's spill-over to our directory: Coraza 3.8.1 ignores
// SecTmpDir and takes the system's directory at start, but keeps it in an
// exported field, WAF.TmpDir.
func (g *ruleSet) checkSeams(dir string) error {
	probe := g.waf.NewTransaction()
	tx, ok := probe.(transaction)
	if !ok {
		return fmt.Errorf("%T lacks the methods that per-site settings need", probe)
	}
	if _, ok := tx.DebugLogger().(*guard); !ok {
		return fmt.Errorf("transactions carry a %T instead of our guard", tx.DebugLogger())
	}
	v := reflect.ValueOf(probe)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return errors.New("the transaction is not a struct")
	}
	waf := v.Elem().FieldByName("WAF")
	if waf.Kind() != reflect.Pointer || waf.Elem().Kind() != reflect.Struct {
		return errors.New("the transaction has no field WAF")
	}
	tmp := waf.Elem().FieldByName("TmpDir")
	if tmp.Kind() != reflect.String || !tmp.CanSet() {
		return errors.New("the engine's temporary directory cannot be set")
	}
	tmp.SetString(dir)
	return nil // the probe is not closed: it would go back to the pool with the old directory
}

// protected are rules that keep scores and defaults rather than detect; an
// exclusion of them would switch the firewall off without saying so.
func protected(id int) bool {
	return id >= 900000 && id < 902000 || id >= 949000 && id < 950000 || id >= 980000
}

// detects reports whether a matched rule belongs into an event.
func detects(id int) bool { return !protected(id) && (id < 905000 || id >= 906000) }
