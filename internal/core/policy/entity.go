package policy

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/dun-sec/dun/internal/core/resource"
)

// HighestClass is the data class of whatever carries no label: absent means
// the highest (design section 2).
const HighestClass = "production"

func uid(kind, tenant, name string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(tenant+"/"+name))
}

func refUID(r resource.Ref) cedar.EntityUID { return uid(r.Kind, r.Tenant, r.Name) }

func tenantUID(tenant string) cedar.EntityUID {
	return cedar.NewEntityUID("Tenant", cedar.String(tenant))
}

// isPrincipal reports whether records of the kind can act.
func isPrincipal(kind string) bool { return kind == "User" || slices.Contains(barePrincipals, kind) }

// entities answers for the few entities of one decision.
type entities struct {
	snap     *Snapshot
	action   cedar.EntityUID
	resource cedar.Entity
}

// Get implements cedar.EntityGetter.
func (e *entities) Get(u cedar.EntityUID) (cedar.Entity, bool) {
	switch {
	case u == e.resource.UID:
		return e.resource, true
	case u == e.action:
		group := "write"
		if strings.HasSuffix(string(u.ID), "."+Read) {
			group = "read"
		}
		return cedar.Entity{UID: u, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Action", cedar.String(group)))}, true
	}
	if p, ok := e.snap.people[u]; ok {
		return p, true
	}
	return cedar.Entity{UID: u}, true
}

// within puts the entity into more parents.
func within(e cedar.Entity, parents []cedar.EntityUID) cedar.Entity {
	e.Parents = cedar.NewEntityUIDSet(slices.Concat(parents, e.Parents.Slice())...)
	return e
}

func entityOf(o *resource.Object) cedar.Entity {
	m := &o.Metadata
	attrs := types.RecordMap{
		"name": cedar.String(m.Name), "tenant": cedar.String(m.Tenant),
		"class": cedar.String(HighestClass), "spec": specRecord(o.Spec),
	}
	tags := types.RecordMap{}
	for k, v := range m.Labels {
		tags[cedar.String(k)] = cedar.String(v)
	}
	if c := m.Labels[resource.LabelClass]; c != "" {
		attrs["class"] = cedar.String(c)
	}
	if m.Owner != nil {
		attrs["owner"] = cedar.String(m.Owner.String())
	}
	return cedar.Entity{
		UID:        uid(o.Kind, m.Tenant, m.Name),
		Parents:    cedar.NewEntityUIDSet(tenantUID(m.Tenant)),
		Attributes: cedar.NewRecord(attrs), Tags: cedar.NewRecord(tags),
	}
}

func tenantEntity(tenant string) cedar.Entity {
	return cedar.Entity{UID: tenantUID(tenant), Attributes: cedar.NewRecord(types.RecordMap{
		"name": cedar.String(tenant), "tenant": cedar.String(resource.Platform), "class": cedar.String(HighestClass),
		"spec": cedar.NewRecord(nil),
	})}
}

// specRecord carries the same fields as specType declares.
func specRecord(spec any) cedar.Record {
	v := reflect.ValueOf(spec)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return cedar.NewRecord(nil)
	}
	v = v.Elem()
	out := types.RecordMap{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		switch f := v.Field(i); cedarType(f.Type()) {
		case "String":
			out[cedar.String(name)] = cedar.String(f.String())
		case "Bool":
			out[cedar.String(name)] = cedar.Boolean(f.Bool())
		case "Long":
			out[cedar.String(name)] = cedar.Long(f.Int())
		case "Set<String>":
			var set []cedar.Value
			for j := range f.Len() {
				set = append(set, cedar.String(f.Index(j).String()))
			}
			out[cedar.String(name)] = cedar.NewSet(set...)
		}
	}
	return cedar.NewRecord(out)
}

func (c Context) record() cedar.Record {
	m := types.RecordMap{
		"phase": cedar.String(c.Phase), "door": cedar.String(c.Door), "mfa": cedar.Boolean(c.MFA),
		"time": cedar.NewDatetime(c.Time), "request": cedar.String(c.Request),
	}
	if a, err := netip.ParseAddr(c.Source); err == nil {
		a = a.Unmap().WithZone("")
		m["source"] = cedar.IPAddr(netip.PrefixFrom(a, a.BitLen()))
	}
	if c.ChangeRequest != "" {
		m["changeRequest"] = cedar.String(c.ChangeRequest)
	}
	return cedar.NewRecord(m)
}
