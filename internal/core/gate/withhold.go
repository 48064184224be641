package gate

import (
	"bytes"
	"context"
	"strings"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// withhold takes out of a leaf what its reader may not read as a record: who
// reads the log learns what happened, and gets no data of a class by it that he
// would not get at any other door (control 1-1). The proof holds all the same.
func (b *Book) withhold(ctx context.Context, e *audit.Entry) {
	for _, f := range []audit.Field{audit.FieldOld, audit.FieldNew} {
		if v := e.Values[f]; v != nil && b.keeps(ctx, v) {
			e.Values[f], e.Salts[f] = nil, nil
		}
	}
}

// keeps reports whether the reader may not have a stored record. Most records
// say nothing about a class, and are not even decoded.
func (b *Book) keeps(ctx context.Context, stored []byte) bool {
	asks := b.g.opt.Approvals != nil && bytes.Contains(stored, []byte(`"kind":"`+b.g.opt.Approvals.Kind()+`"`))
	if !asks && !bytes.Contains(stored, []byte(resource.LabelClass)) && !bytes.Contains(stored, []byte(`"kind":"DataAsset"`)) && !bytes.Contains(stored, []byte(`"kind":"ThirdPartyDuty"`)) {
		return false
	}
	o, err := b.g.opt.Registry.Load(stored)
	if err != nil {
		return true // what cannot be read cannot be judged
	}
	s := b.g.state.Load()
	may := func(x *resource.Object) bool {
		return !classed(s, x) || b.g.ask(s, b.actor, x, readAction(x.Kind), "old").Allowed
	}
	return !may(o) || asks && b.g.AsksAssent(o.Kind) && !b.g.readsAsked(ctx, s, b.actor, o, may)
}

// shown is a record as its reader may have it: one that asks for assent is
// without the content of what it asks for, unless he may read the records that
// it is about, as they were, as they are and as they would be. Every read of a
// record passes here.
func (g *Gate) shown(ctx context.Context, s *state, a identity.Actor, o *resource.Object) *resource.Object {
	if o == nil || !g.AsksAssent(o.Kind) || a.Principal == g.opt.Approvals.Service() {
		return o
	}
	may := func(x *resource.Object) bool { return g.ask(s, a, x, readAction(x.Kind), "old").Allowed }
	if g.readsAsked(ctx, s, a, o, may) {
		return o
	}
	return g.opt.Approvals.Withhold(o)
}

func (g *Gate) readsAsked(ctx context.Context, s *state, a identity.Actor, o *resource.Object, may func(*resource.Object) bool) bool {
	list, err := g.resolve(ctx, s, a, o)
	return err == nil && readable(list, may)
}

// withholdAsked is shown for a proof: what a leaf commits to is given as a
// whole or not at all.
func (g *Gate) withholdAsked(ctx context.Context, s *state, a identity.Actor, kind string, e *audit.Entry) {
	if !g.AsksAssent(kind) {
		return
	}
	for _, f := range []audit.Field{audit.FieldOld, audit.FieldNew} {
		if e.Values[f] == nil {
			continue
		}
		if o, err := g.opt.Registry.Load(e.Values[f]); err != nil || g.shown(ctx, s, a, o) != o {
			e.Values[f], e.Salts[f] = nil, nil
		}
	}
}

// classed reports whether the class of a record is said and not only absent.
func classed(s *state, o *resource.Object) bool {
	k, err := s.reg.Kind(o.Kind)
	return o.Metadata.Labels[resource.LabelClass] != "" || err == nil && k.Data()
}

// Sees says which events somebody may see who reads the events of a tenant: not
// those of a record that has a class and that he may not read. object is as in
// "site/shop".
func (g *Gate) Sees(a identity.Actor) func(tenant, object string) bool {
	return func(tenant, object string) bool {
		kind, name, ok := strings.Cut(object, "/")
		if !ok {
			return true
		}
		s := g.state.Load()
		k, err := s.reg.Find(kind)
		if err != nil {
			return true
		}
		o := s.get(k.Name, tenant, name)
		return o == nil || !classed(s, o) || g.ask(s, a, o, readAction(k.Name), "old").Allowed
	}
}
