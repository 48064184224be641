package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
)

// reservedPlurals are path segments below a tenant that are not kinds.
var reservedPlurals = []string{"watch", "events", "audit", "usage", "status", "session", "kinds", "access", "transaction", "posture"}

// Registry is the explicit list of kinds. It is read-only after NewRegistry.
type Registry struct {
	kinds  []*Kind
	byName map[string]*Kind // every accepted spelling in lower case
}

// NewRegistry checks each declaration and that no two answer to one name.
func NewRegistry(kinds ...*Kind) (*Registry, error) {
	r := &Registry{byName: make(map[string]*Kind)}
	for _, k := range kinds {
		if err := k.complete(); err != nil {
			return nil, err
		}
		if slices.Contains(reservedPlurals, k.Plural) {
			return nil, fmt.Errorf("kind %s: the plural %q is reserved", k.Name, k.Plural)
		}
		names := []string{strings.ToLower(k.Name), k.Plural, k.Short}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			if other := r.byName[n]; other != nil {
				return nil, fmt.Errorf("kinds %s and %s both answer to %q", other.Name, k.Name, n)
			}
			r.byName[n] = k
		}
		r.kinds = append(r.kinds, k)
	}
	return r, nil
}

// All lists the kinds in the order of registration.
func (r *Registry) All() []*Kind { return slices.Clone(r.kinds) }

// Names lists the kinds' names.
func (r *Registry) Names() []string {
	var out []string
	for _, k := range r.kinds {
		out = append(out, k.Name)
	}
	return out
}

// Kind finds a kind by the exact name that manifests use.
func (r *Registry) Kind(name string) (*Kind, error) {
	if k := r.byName[strings.ToLower(name)]; k != nil && k.Name == name {
		return k, nil
	}
	return nil, r.unknown(name)
}

// Find finds a kind by name, plural or short name, in any case.
func (r *Registry) Find(name string) (*Kind, error) {
	if k := r.byName[strings.ToLower(name)]; k != nil {
		return k, nil
	}
	return nil, r.unknown(name)
}

func (r *Registry) unknown(name string) error {
	return fault.New(fault.Invalid, "unknown kind %q; known are %s", "未知的类型 %q;可用类型:%s", clip(name), strings.Join(r.Names(), ", "))
}
