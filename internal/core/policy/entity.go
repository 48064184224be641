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

// uid is the Cedar name of a record. A tenant has one name, whether it is the
// record that is meant or what other records are in.
func uid(kind, tenant, name string) cedar.EntityUID {
	if kind == "Tenant" {
		return tenantUID(name)
	}
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(tenant+"/"+name))
}

func refUID(r resource.Ref) cedar.EntityUID { return uid(r.Kind, r.Tenant, r.Name) }

func tenantUID(tenant string) cedar.EntityUID {
	return cedar.NewEntityUID("Tenant", cedar.String(tenant))
}

// isPrincipal reports whether records of the kind can act.
func isPrincipal(kind string) bool { return slices.Contains(Principals(), kind) }

// fixed are the entities that every decision shares.
type fixed struct {
	data       map[string]*resource.Kind  // kinds that are data
	groups     map[string]cedar.EntityUID // of actions
	parents    map[cedar.EntityUID]cedar.EntityUIDSet
	tenantSpec cedar.Record // of a tenant that is asked about as a whole
}

func fixedEntities(reg *resource.Registry) *fixed {
	f := &fixed{data: map[string]*resource.Kind{}, groups: map[string]cedar.EntityUID{}, parents: map[cedar.EntityUID]cedar.EntityUIDSet{}}
	for _, name := range groups() {
		u := cedar.NewEntityUID("Action", cedar.String(name))
		f.groups[name], f.parents[u] = u, cedar.NewEntityUIDSet(u)
	}
	for _, k := range reg.All() {
		if k.Data() {
			f.data[k.Name] = k
		}
	}
	if k, err := reg.Kind("Tenant"); err == nil {
		f.tenantSpec = specRecord(k.NewSpec())
	}
	return f
}

// entities answers for the few entities of one decision. What few policies
// look at is made when one does.
type entities struct {
	snap      *Snapshot
	principal cedar.EntityUID
	acting    *person // nil = unknown: without attributes and roles
	action    cedar.EntityUID
	group     cedar.EntityUID
	resource  cedar.EntityUID
	object    *resource.Object // nil = the tenant as a whole
	tenant    string
	acted     *person // what is known of the resource as a principal
	needs     needs   // of the rules that are evaluated
	made      bool
	entity    cedar.Entity // of the resource, once made
}

func (s *Snapshot) entities(q *Query) *entities {
	e := &entities{snap: s, principal: refUID(q.Principal), action: cedar.NewEntityUID("Action", cedar.String(q.Action)), group: s.fixed.groups[groupOf(q.Action)], object: q.Object, tenant: q.tenant()}
	e.acting, _ = s.people.get(e.principal)
	if e.resource = tenantUID(e.tenant); q.Object != nil {
		e.resource = uid(q.Object.Kind, e.tenant, q.Object.Metadata.Name)
		e.acted, _ = s.people.get(e.resource) // schema and policies know the roles of who is acted upon, too
	}
	return e
}

// request readies e for what set asks.
func (e *entities) request(q *Query, set ruleSet) cedar.Request {
	for _, r := range set {
		e.needs = e.needs.with(r.needs)
	}
	return cedar.Request{Principal: e.principal, Action: e.action, Resource: e.resource, Context: q.Context.record(actOf(q.Action), e.needs)}
}

// candidates are the keys under which the index files what may apply.
func (e *entities) candidates(q *Query, keys []cedar.EntityUID) candidates {
	var c candidates
	take := func(dim int) {
		c[dim], keys = keys[:len(keys):len(keys)], keys[len(keys):]
	}
	keys = append(keys, cedar.EntityUID{}, typeKey(e.action.Type), e.action, e.group)
	take(byAction)
	keys = e.line(append(keys, cedar.EntityUID{}, typeKey(e.principal.Type), e.principal))
	take(byPrincipal)
	keys = e.line(append(keys, cedar.EntityUID{}, typeKey(e.resource.Type), e.resource))
	take(byResource)
	class, name := highestName, e.tenant
	if q.Object != nil {
		class, name = e.snap.className(q.Object), q.Object.Metadata.Name
	}
	keys = append(keys, cedar.EntityUID{}, valueKey("class", class.Name), valueKey("name", name), valueKey("tenant", q.resourceTenant()))
	for _, n := range class.Names {
		keys = append(keys, valueKey("classes", n))
	}
	if q.Object != nil {
		for label := range q.Object.Metadata.Labels {
			keys = append(keys, tagKey(label))
		}
	}
	take(byTag)
	return c
}

// line appends everything that the last of keys is in, at any distance; roles
// that are in each other end it, too.
func (e *entities) line(keys []cedar.EntityUID) []cedar.EntityUID {
	add := func(list []cedar.EntityUID) {
		for _, up := range list {
			if !slices.Contains(keys, up) {
				keys = append(keys, up)
			}
		}
	}
	for i := len(keys) - 1; i < len(keys); i++ {
		p := e.acting
		switch keys[i] {
		case e.resource:
			if p = e.acted; e.object != nil {
				add(tenantOf(e.object))
			}
		case e.principal:
		default:
			p, _ = e.snap.people.get(keys[i])
		}
		if p != nil {
			add(p.up)
		}
	}
	return keys
}

// Get implements cedar.EntityGetter.
func (e *entities) Get(u cedar.EntityUID) (cedar.Entity, bool) {
	switch u {
	case e.resource:
		if !e.made {
			e.entity, e.made = e.acts(), true
		}
		return e.entity, true
	case e.principal:
		if e.acting != nil {
			return e.acting.entity, true
		}
	case e.action:
		return cedar.Entity{UID: u, Parents: e.snap.fixed.parents[e.group]}, true
	default:
		if p, ok := e.snap.people.get(u); ok {
			return p.entity, true
		}
	}
	return cedar.Entity{UID: u}, true
}

// acts makes the entity of what is acted upon.
func (e *entities) acts() cedar.Entity {
	if e.object == nil {
		return e.snap.tenantEntity(e.tenant)
	}
	out := e.snap.entityOf(e.object, e.needs)
	if e.acted != nil {
		out.Parents = cedar.NewEntityUIDSet(slices.Concat(e.acted.up, tenantOf(e.object))...)
	}
	return out
}

// entityOf makes the entity of a record, with spec and tags where they are
// needed; in a single tenant, without roles.
func (s *Snapshot) entityOf(o *resource.Object, need needs) cedar.Entity {
	m := &o.Metadata
	attrs := types.RecordMap{}
	if need.name("name") {
		attrs["name"] = cedar.String(m.Name)
	}
	if need.name("tenant") {
		attrs["tenant"] = cedar.String(m.Tenant)
	}
	if need.name("class") || need.name("level") || need.name("classes") || need.name("data") {
		c := s.Class(o)
		attrs["class"], attrs["level"], attrs["classes"] = cedar.String(c.Name), cedar.Long(c.Level), texts(c.Names)
		if s.fixed.data[o.Kind] != nil {
			attrs["data"] = dataRecord(s.Data(o), c)
		}
	}
	if need.name("owner") && m.Owner != nil {
		attrs["owner"] = cedar.String(m.Owner.String())
	}
	if need.name("spec") {
		attrs["spec"] = specRecord(o.Spec)
	}
	tags := types.RecordMap{}
	if need.tags {
		for k, v := range m.Labels {
			tags[cedar.String(k)] = cedar.String(v)
		}
	}
	return cedar.Entity{
		UID: uid(o.Kind, m.Tenant, m.Name), Parents: cedar.NewEntityUIDSet(tenantOf(o)...),
		Attributes: cedar.NewRecord(attrs), Tags: cedar.NewRecord(tags),
	}
}

// tenantOf is the tenant that a record is in: that of its metadata. The record
// of the tenant platform is in nothing but itself.
func tenantOf(o *resource.Object) []cedar.EntityUID {
	if o.Kind == "Tenant" && o.Metadata.Name == o.Metadata.Tenant {
		return nil
	}
	return []cedar.EntityUID{tenantUID(o.Metadata.Tenant)}
}

// tenantEntity is a tenant as a whole. It is in no other one: a policy about
// what is in Tenant::"platform" is not about the customers' events.
func (s *Snapshot) tenantEntity(tenant string) cedar.Entity {
	return cedar.Entity{UID: tenantUID(tenant), Attributes: cedar.NewRecord(types.RecordMap{
		"name": cedar.String(tenant), "tenant": cedar.String(resource.Platform), "class": cedar.String(resource.HighestClass),
		"level": cedar.Long(resource.HighestLevel), "classes": texts([]string{resource.HighestClass}), "spec": s.fixed.tenantSpec,
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

// record holds what is needed of the context.
func (c Context) record(act string, need needs) cedar.Record {
	m := types.RecordMap{}
	for _, f := range [...]struct{ name, value string }{{"phase", c.Phase}, {"door", c.Door}, {"request", c.Request}} {
		if need.name(f.name) {
			m[cedar.String(f.name)] = cedar.String(f.value)
		}
	}
	if need.name("act") {
		m["act"] = cedar.String(act)
	}
	for _, f := range [...]struct{ name, value string }{{"purpose", c.Purpose}, {"region", c.Region}, {"recipient", c.Recipient}} {
		if need.name(f.name) && f.value != "" {
			m[cedar.String(f.name)] = cedar.String(f.value)
		}
	}
	if need.name("mfa") {
		m["mfa"] = cedar.Boolean(c.MFA)
	}
	if need.name("time") {
		m["time"] = cedar.NewDatetime(c.Time)
	}
	if need.name("source") {
		if a, err := netip.ParseAddr(c.Source); err == nil {
			a = a.Unmap().WithZone("")
			m["source"] = cedar.IPAddr(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	if need.name("changeRequest") && c.ChangeRequest != "" {
		m["changeRequest"] = cedar.String(c.ChangeRequest)
	}
	return cedar.NewRecord(m)
}
