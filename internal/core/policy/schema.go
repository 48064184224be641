package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/dun-sec/dun/internal/core/resource"
)

// This file and syntax.go alone touch cedar-go's experimental packages, so
// that a change of them stays here (formats.md, Cedar).

// validator is cedar-go's.
type validator = validate.Validator

// Actions on every kind; the first is a read, the others are writes.
const (
	Read   = "read"
	Create = "create"
	Update = "update"
	Delete = "delete"

	Status   = "status"   // report it; of kinds that have one
	Finalize = "finalize" // take a finalizer off; of kinds that have them
)

// TenantActions are asked about a tenant as a whole and not about a record.
func TenantActions() []string {
	return []string{"event.read", "audit.read", "audit.erase", "status.read", "posture.read", "posture.run", "usage.read", "evidence.read", "signup.decide", "change.breakglass"}
}

// contextType is the context of every decision.
const contextType = `{phase: String, door: String, source?: ipaddr, mfa: Bool, time: datetime, request: String, changeRequest?: String, act: String, purpose?: String, region?: String, recipient?: String}`

// barePrincipals are not records yet; they get a kind with their own issue.
func barePrincipals() []string { return []string{"Service", "Node"} }

// Principals lists the kinds of those who can act.
func Principals() []string { return append([]string{"User"}, barePrincipals()...) }

// Schema returns the Cedar schema of the kinds, for people and for validation.
func Schema(reg *resource.Registry) string {
	var b strings.Builder
	types := map[string]bool{}
	for _, k := range reg.All() {
		types[k.Name] = true
		fmt.Fprintf(&b, "entity %s in [Tenant%s] {name: String, tenant: String, owner?: String, class: String, level: Long, classes: Set<String>, %sspec: %s} tags String;\n",
			k.Name, parentOf(k.Name), dataOf(k), specType(k))
	}
	for _, p := range barePrincipals() {
		if !types[p] {
			fmt.Fprintf(&b, "entity %s in [Role];\n", p)
		}
	}
	for _, missing := range []string{"Tenant", "Role", "User"} {
		if !types[missing] {
			fmt.Fprintf(&b, "entity %s%s;\n", missing, map[string]string{"User": " in [Role]"}[missing])
		}
	}
	fmt.Fprintf(&b, "action \"%s\";\n", strings.Join(groups(), `", "`))
	for _, k := range reg.All() {
		for _, a := range Actions(k) {
			a = strings.ToLower(k.Name) + "." + a
			action(&b, a, groupOf(a), k.Name)
		}
	}
	for _, a := range TenantActions() {
		action(&b, a, groupOf(a), "Tenant")
	}
	for _, k := range reg.All() {
		if k.Name == AssetKind {
			for _, act := range resource.DataActs() {
				action(&b, DataAction(act), Handle, AssetKind)
			}
		}
	}
	return b.String()
}

// AssetKind is the kind that stands for data, and that acts on data are asked of.
const AssetKind = "DataAsset"

// Handle is the group of acts on data.
const Handle = "handle"

// groups lists the groups of actions.
func groups() []string { return []string{"read", "write", Handle} }

// groupOf is the group that an action is in.
func groupOf(action string) string {
	if actOf(action) != "" {
		return Handle
	}
	if strings.HasSuffix(action, "."+Read) {
		return "read"
	}
	return "write"
}

// Actions lists what can be done to a record of the kind: read, and the writes.
func Actions(k *resource.Kind) []string {
	out := []string{Read, Create, Update, Delete}
	if k.NewStatus != nil {
		out = append(out, Status)
	}
	if len(k.Finalizers) > 0 {
		out = append(out, Finalize)
	}
	for i := range k.Verbs {
		out = append(out, k.Verbs[i].Name)
	}
	return out
}

func action(b *strings.Builder, name, group, on string) {
	fmt.Fprintf(b, "action %q in [Action::%q] appliesTo {principal: [User, Service, Node], resource: [%s], context: %s};\n", name, group, on, contextType)
}

// dataOf is the attribute of kinds that are data.
func dataOf(k *resource.Kind) string {
	if k.Data() {
		return "data: " + dataType + ", "
	}
	return ""
}

func parentOf(kind string) string {
	if isPrincipal(kind) {
		return ", Role"
	}
	return ""
}

// specType lists the scalars and the lists of text of a spec.
func specType(k *resource.Kind) string {
	t := reflect.TypeOf(k.NewSpec()).Elem()
	var parts []string
	for i := range t.NumField() {
		if typ := cedarType(t.Field(i).Type); typ != "" {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			parts = append(parts, fmt.Sprintf("%q: %s", name, typ))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func cedarType(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.String:
		return "String"
	case t.Kind() == reflect.Bool:
		return "Bool"
	case t.Kind() == reflect.Int:
		return "Long"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "Set<String>"
	}
	return ""
}

func newValidator(reg *resource.Registry) (*validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(Schema(reg))); err != nil {
		return nil, fmt.Errorf("read the policy schema: %w", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve the policy schema: %w", err)
	}
	return validate.New(r), nil
}
