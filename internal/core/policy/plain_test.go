package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// plain is a cell as cedar-go alone would decide about it. It shares nothing
// with the snapshot.
type plain struct {
	sets     map[string]*cedar.PolicySet // by tenant of the resource
	people   cedar.EntityMap
	roles    map[cedar.EntityUID][]cedar.EntityUID
	disabled map[cedar.EntityUID]bool
}

func entity(kind, tenant, name string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(tenant+"/"+name))
}

func of(o *resource.Object) cedar.EntityUID {
	return entity(o.Kind, o.Metadata.Tenant, o.Metadata.Name)
}

// add puts the record into m with the attributes that policies may ask for.
func add(m cedar.EntityMap, o *resource.Object) {
	tags, spec := types.RecordMap{}, types.RecordMap{}
	for k, v := range o.Metadata.Labels {
		tags[cedar.String(k)] = cedar.String(v)
	}
	class := "production" // whatever the label says: no world has a record of a class
	switch s := o.Spec.(type) {
	case *edge.SiteSpec:
		var hosts []cedar.Value
		for _, h := range s.Hosts {
			hosts = append(hosts, cedar.String(h))
		}
		spec["hosts"] = cedar.NewSet(hosts...)
	case *edge.ExclusionSpec:
		spec["site"], spec["rule"], spec["tag"], spec["route"], spec["argument"] = cedar.String(s.Site), cedar.Long(s.Rule), cedar.String(s.Tag), cedar.String(s.Route), cedar.String(s.Argument)
	case *access.UserSpec:
		spec["displayName"], spec["email"], spec["disabled"] = cedar.String(s.DisplayName), cedar.String(s.Email), cedar.Boolean(s.Disabled)
	}
	m[of(o)] = cedar.Entity{
		UID: of(o), Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Tenant", cedar.String(o.Metadata.Tenant))),
		Attributes: cedar.NewRecord(types.RecordMap{
			"name": cedar.String(o.Metadata.Name), "tenant": cedar.String(o.Metadata.Tenant), "class": cedar.String(class), "classes": cedar.NewSet(cedar.String(class)), "spec": cedar.NewRecord(spec),
		}),
		Tags: cedar.NewRecord(tags),
	}
}

func named(kind, tenant, name string) cedar.EntityUID {
	if kind == "Tenant" {
		return cedar.NewEntityUID("Tenant", cedar.String(name))
	}
	return entity(kind, tenant, name)
}

func newPlain(t testing.TB, world map[resource.Ref]*resource.Object) *plain {
	n := &plain{sets: map[string]*cedar.PolicySet{}, people: cedar.EntityMap{}, roles: map[cedar.EntityUID][]cedar.EntityUID{}, disabled: map[cedar.EntityUID]bool{}}
	builtins, err := policy.Builtins()
	if err != nil {
		t.Fatal(err)
	}
	put := func(set *cedar.PolicySet, id, source string) {
		list, err := cedar.NewPolicyListFromBytes(id, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range list {
			if i > 0 {
				set.Add(cedar.PolicyID(fmt.Sprintf("%s#%d", id, i+1)), p)
			} else {
				set.Add(cedar.PolicyID(id), p)
			}
		}
	}
	for _, tenant := range tenants {
		n.sets[tenant] = cedar.NewPolicySet()
		for _, b := range builtins {
			put(n.sets[tenant], "platform/"+b.Name, b.Text)
		}
	}
	for ref, o := range world {
		switch s := o.Spec.(type) {
		case *access.PolicySpec:
			for _, tenant := range tenants {
				if ref.Tenant == "platform" || ref.Tenant == tenant {
					put(n.sets[tenant], ref.Tenant+"/"+ref.Name, s.Cedar)
				}
			}
		case *access.UserSpec:
			add(n.people, o)
			n.disabled[of(o)] = s.Disabled
		case *access.RoleBindingSpec:
			for _, sub := range s.Subjects {
				who := entity(sub.Kind, ref.Tenant, sub.Name)
				n.roles[who] = append(n.roles[who], entity("Role", ref.Tenant, s.Role))
			}
		case *nestSpec:
			who := entity("Role", ref.Tenant, s.Role)
			n.roles[who] = append(n.roles[who], entity("Role", ref.Tenant, s.In))
		}
	}
	for who, roles := range n.roles {
		e := n.people[who]
		e.UID, e.Parents = who, cedar.NewEntityUIDSet(append(e.Parents.Slice(), roles...)...)
		n.people[who] = e
	}
	return n
}

// decide returns the ids that decide, too.
func (n *plain) decide(q policy.Query) (bool, []string) {
	who := entity(q.Principal.Kind, q.Principal.Tenant, q.Principal.Name)
	if n.disabled[who] {
		return false, []string{"disabled"}
	}
	m := make(cedar.EntityMap, len(n.people)+2)
	for u, e := range n.people {
		m[u] = e
	}
	tenant := q.Tenant
	var on cedar.Entity
	if q.Object == nil {
		on = cedar.Entity{UID: named("Tenant", "platform", tenant), Attributes: cedar.NewRecord(types.RecordMap{
			"name": cedar.String(tenant), "tenant": cedar.String("platform"), "class": cedar.String("production"), "classes": cedar.NewSet(cedar.String("production")),
			"spec": cedar.NewRecord(types.RecordMap{"title": cedar.String(""), "originNetworks": cedar.NewSet()}),
		})}
	} else {
		tenant = q.Object.Metadata.Tenant
		one := cedar.EntityMap{}
		add(one, q.Object)
		on = one[of(q.Object)]
		on.UID = named(q.Object.Kind, tenant, q.Object.Metadata.Name)
		on.Parents = cedar.NewEntityUIDSet(append(on.Parents.Slice(), n.roles[on.UID]...)...)
	}
	m[on.UID] = on
	action, group := cedar.NewEntityUID("Action", cedar.String(q.Action)), "write"
	if strings.HasSuffix(q.Action, ".read") {
		group = "read"
	}
	m[action] = cedar.Entity{UID: action, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Action", cedar.String(group)))}
	context := types.RecordMap{
		"phase": cedar.String(q.Context.Phase), "door": cedar.String(q.Context.Door), "mfa": cedar.Boolean(q.Context.MFA),
		"time": cedar.NewDatetime(q.Context.Time), "request": cedar.String(q.Context.Request),
	}
	if a, err := netip.ParseAddr(q.Context.Source); err == nil {
		context["source"] = cedar.IPAddr(netip.PrefixFrom(a, a.BitLen()))
	}
	set := n.sets[tenant]
	decision, diag := cedar.Authorize(set, m, cedar.Request{Principal: who, Action: action, Resource: on.UID, Context: cedar.NewRecord(context)})
	var ids, failed []string
	for _, r := range diag.Reasons {
		ids = append(ids, string(r.PolicyID))
	}
	for _, e := range diag.Errors {
		if set.Get(e.PolicyID).Effect() == cedar.Forbid {
			failed = append(failed, string(e.PolicyID))
		}
	}
	if len(failed) > 0 && decision == cedar.Allow {
		ids = nil
	}
	ids = append(ids, failed...)
	slices.Sort(ids)
	return decision == cedar.Allow && len(failed) == 0, ids
}
