// Package policy is the one place that decides: may this actor do this to
// that, here, now? It owns the Cedar vocabulary of formats.md, the built-in
// policies and the compiled snapshot of all policies, roles and bindings. It
// caches no decision, stores nothing, and allows nothing that no policy permits.
package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Compiler turns access records into Snapshots. It is safe for concurrent use.
type Compiler struct {
	reg       *resource.Registry
	validator *validator
	empty     *Snapshot // the built-in policies alone
}

// rule is one statement under its id.
type rule struct {
	id     cedar.PolicyID
	tenant string
	policy *cedar.Policy
	paths  []path // where the index files it
	needs  needs
}

// NewCompiler validates the built-in policies against the kinds' schema.
func NewCompiler(reg *resource.Registry) (*Compiler, error) {
	list, err := Builtins()
	if err != nil {
		return nil, err
	}
	return NewCompilerOf(reg, list)
}

// NewCompilerOf is NewCompiler with other built-in policies than those of the
// release: a test takes one away and sees who notices.
func NewCompilerOf(reg *resource.Registry, list []Builtin) (*Compiler, error) {
	v, err := newValidator(reg)
	if err != nil {
		return nil, err
	}
	c := &Compiler{reg: reg, validator: v}
	e := newSnapshot(fixedEntities(reg)).edit()
	for _, b := range list {
		rules, err := c.parse(resource.Platform, b.Name, b.Text)
		if err != nil {
			return nil, fmt.Errorf("built-in policy %s: %w", b.Name, err)
		}
		e.enforce(rules)
	}
	c.empty = e.done()
	return c, nil
}

// Check says whether a policy's text could be put in force. The error names
// the field and is invalid.
func (c *Compiler) Check(id, cedarText string) error {
	tenant, name, _ := strings.Cut(id, "/")
	_, err := c.parse(tenant, name, cedarText)
	return err
}

func (c *Compiler) parse(tenant, name, source string) ([]*rule, error) {
	var r resource.Report
	if bounded(source, &r); len(r.Fields) > 0 {
		return nil, fault.Fields(r.Fields)
	}
	id := tenant + "/" + name
	list, err := cedar.NewPolicyListFromBytes(id, []byte(source))
	if err != nil {
		return nil, wrong("does not parse: %s", "无法解析:%s", err)
	}
	if len(list) == 0 {
		return nil, wrong("holds no policy%.0s", "没有任何策略%.0s", errors.New(""))
	}
	var out []*rule
	for i, p := range list {
		pid := id
		if i > 0 {
			pid = fmt.Sprintf("%s#%d", id, i+1)
		}
		if err := validatePolicy(c.validator, pid, p); err != nil {
			return nil, wrong("does not validate: %s", "未通过校验:%s", err)
		}
		out = append(out, &rule{id: cedar.PolicyID(pid), tenant: tenant, policy: p, paths: pathsOf(p), needs: needsOf(p)})
	}
	return out, nil
}

// maxReason bounds how much of a parser's words is repeated, in bytes.
const maxReason = 2048

func wrong(en, zh string, err error) error {
	msg := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(msg) > maxReason {
		msg = strings.ToValidUTF8(msg[:maxReason], "") + " …"
	}
	var r resource.Report
	r.Add("spec.cedar", en, zh, msg)
	return fault.Fields(r.Fields)
}
