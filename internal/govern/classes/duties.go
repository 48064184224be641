package classes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// Service is who looks for what is late: it reads the records about data of
// every class, which no person does.
const Service = "classes"

// Scan lists records from memory: that of a gate, or of a rehearsal.
type Scan func(identity.Actor, gate.ListOptions) (*gate.Listing, error)

// A tenant chooses how many records he has, and not what they cost.
const (
	most     = 50     // of one tenant's that are named
	mostHeld = 10_000 // holds that are tried on one tenant's assets; what comes then is named
)

// Late is a duty about data that is not done (controls 4.0-3, 4.0-7 to 4.0-9). It
// is told to who may not read the record: names and dates, and no more.
type Late struct{ Tenant, Setting, Why string }

// Overdue lists what should be over by now, of one tenant or of all: shares that
// have ended, clauses of contracts whose date is past while assets of the type
// are there, assets that are older than their type may be kept and under no
// legal hold, and assets that a raise left in a container of a lower level.
func Overdue(ctx context.Context, scan Scan, tenant string, now time.Time) ([]Late, error) {
	r := round{ctx: ctx, scan: scan, tenant: tenant, now: now, named: map[string]int{}, dated: map[resource.Ref]*dated{}}
	for _, look := range []func() error{r.shares, r.types, r.holds, r.assets} {
		if err := look(); err != nil {
			return nil, err
		}
	}
	for _, d := range r.order {
		for _, c := range d.spec.Contracts {
			if d.left && c.Due != nil && now.After(*c.Due) {
				r.late(d.record, "the clause %s was due at %s, and assets of the type are there", c.Name, stamp(*c.Due))
			}
		}
	}
	return r.out, nil
}

// round is one look at everything.
type round struct {
	ctx    context.Context
	scan   Scan
	tenant string
	now    time.Time
	out    []Late
	named  map[string]int // by tenant
	dated  map[resource.Ref]*dated
	order  []*dated // so that the same are named in every round
	held   map[string]*holding
}

// dated is a type that asks for an end.
type dated struct {
	record *resource.Object
	spec   *data.DataTypeSpec
	left   bool // assets of it are there
}

// holding are the holds in force of a tenant.
type holding struct {
	list []*resource.Hold
	left int // of mostHeld
}

func (r *round) each(kind string, f func(*gate.Listing, *resource.Object)) error {
	l, err := r.scan(identity.Service(Service), gate.ListOptions{Kind: kind, Tenant: r.tenant, Limit: gate.MaxList})
	if err != nil {
		return err
	}
	_, err = l.Each(r.ctx, func(o *resource.Object) bool {
		f(l, o)
		return true
	})
	return err
}

func (r *round) shares() error {
	return r.each("ThirdPartyDuty", func(_ *gate.Listing, o *resource.Object) {
		if s := o.Spec.(*data.ThirdPartyDutySpec); r.now.After(s.Ends) {
			r.late(o, "it ended at %s; delete it when its duty is done", stamp(s.Ends))
		}
	})
}

func (r *round) types() error {
	return r.each("DataType", func(_ *gate.Listing, o *resource.Object) {
		s := o.Spec.(*data.DataTypeSpec)
		if s.RetentionMax > 0 || slices.ContainsFunc(s.Contracts, func(c data.Clause) bool { return c.Due != nil }) {
			d := &dated{record: o, spec: s}
			r.dated[name(o)], r.order = d, append(r.order, d)
		}
	})
}

func (r *round) holds() error {
	kind := data.LegalHold()
	r.held = map[string]*holding{}
	return r.each(kind.Name, func(_ *gate.Listing, o *resource.Object) {
		h := kind.Holds(o)
		if h == nil {
			return
		}
		of := r.held[h.Tenant]
		if of == nil {
			of = &holding{left: mostHeld}
			r.held[h.Tenant] = of
		}
		of.list = append(of.list, h)
	})
}

func (r *round) assets() error {
	return r.each("DataAsset", func(l *gate.Listing, o *resource.Object) {
		s := o.Spec.(*data.DataAssetSpec)
		if s.Container != "" {
			box := resource.Ref{Kind: "DataAsset", Tenant: o.Metadata.Tenant, Name: s.Container}
			if outer, inner := l.Level(box), l.Level(o.Ref()); inner > outer {
				r.late(o, "it is of level %d since what it is made from, its type or its class was raised, and lies in %s of level %d; raise that, or move it", inner, s.Container, outer)
			}
		}
		d := r.dated[resource.Ref{Kind: "DataType", Tenant: o.Metadata.Tenant, Name: s.Type}]
		if d == nil {
			return
		}
		d.left = true
		longest := time.Duration(d.spec.RetentionMax)
		if until := o.Metadata.Created.Add(longest); longest > 0 && r.now.After(until) && r.named[o.Metadata.Tenant] < most && !r.kept(o) {
			r.late(o, "data of the type %s are kept until %s at most", s.Type, stamp(until))
		}
	})
}

// kept reports whether a hold keeps an asset: then its time does not end it.
func (r *round) kept(o *resource.Object) bool {
	of := r.held[o.Metadata.Tenant]
	return of != nil && slices.ContainsFunc(of.list, func(h *resource.Hold) bool {
		of.left--
		return of.left >= 0 && h.Selects(o)
	})
}

func (r *round) late(o *resource.Object, why string, args ...any) {
	if r.named[o.Metadata.Tenant]++; r.named[o.Metadata.Tenant] <= most {
		r.out = append(r.out, Late{o.Metadata.Tenant, o.Kind + " " + o.Metadata.Tenant + "/" + o.Metadata.Name, fmt.Sprintf(why, args...)})
	}
}

func name(o *resource.Object) resource.Ref {
	return resource.Ref{Kind: o.Kind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
