package classes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// Records is what Overdue asks of the gate: it sees every record, whatever its
// class, and tells of names and duties alone.
type Records interface {
	Warrants(ctx context.Context, kind string, each func(gate.Warrant)) error
}

// most is how many of one tenant's are named: he chooses how many there are.
const most = 50

// few keeps the first of each tenant.
func few(list []Late) []Late {
	seen := map[string]int{}
	return slices.DeleteFunc(list, func(l Late) bool {
		seen[l.Tenant]++
		return seen[l.Tenant] > most
	})
}

// Late is a duty about data that is not done (controls 4.0-7 to 4.0-9).
type Late struct{ Tenant, Setting, Why string }

// Overdue lists what should be over by now: shares that have ended, clauses of
// contracts whose date is past while assets of the type are there, and assets
// that are older than their type may be kept.
func Overdue(ctx context.Context, g Records, now time.Time) ([]Late, error) {
	var out []Late
	err := g.Warrants(ctx, "ThirdPartyDuty", func(w gate.Warrant) {
		s, ok := w.Object.Spec.(*data.ThirdPartyDutySpec)
		if ok && now.After(s.Ends) {
			out = append(out, late(w.Object, "the share of %s with %s ended at %s; delete it when its duty is done: %s", s.Asset, s.Recipient, stamp(s.Ends), s.Duty))
		}
	})
	if err != nil {
		return nil, err
	}
	types := map[resource.Ref]*resource.Object{} // those that ask for an end
	err = g.Warrants(ctx, "DataType", func(w gate.Warrant) {
		s, ok := w.Object.Spec.(*data.DataTypeSpec)
		if !ok {
			return
		}
		dated := s.RetentionMax > 0
		for _, c := range s.Contracts {
			dated = dated || c.Due != nil
		}
		if dated {
			types[name(w.Object)] = w.Object
		}
	})
	if err != nil || len(types) == 0 {
		return few(out), err
	}
	left := map[resource.Ref]bool{}
	err = g.Warrants(ctx, "DataAsset", func(w gate.Warrant) {
		o := w.Object
		s, ok := o.Spec.(*data.DataAssetSpec)
		if !ok || s.Type == "" {
			return
		}
		of := resource.Ref{Kind: "DataType", Tenant: o.Metadata.Tenant, Name: s.Type}
		t := types[of]
		if t == nil {
			return
		}
		left[of] = true
		if longest := time.Duration(t.Spec.(*data.DataTypeSpec).RetentionMax); longest > 0 && now.After(o.Metadata.Created.Add(longest)) {
			out = append(out, late(o, "data of the type %s are kept until %s at most", s.Type, stamp(o.Metadata.Created.Add(longest))))
		}
	})
	if err != nil {
		return nil, err
	}
	for of := range left {
		for _, c := range types[of].Spec.(*data.DataTypeSpec).Contracts {
			if c.Due != nil && now.After(*c.Due) {
				out = append(out, late(types[of], "the clause %s with %s was due at %s, and assets of the type are there", c.Name, c.Party, stamp(*c.Due)))
			}
		}
	}
	return few(out), nil
}

func late(o *resource.Object, why string, args ...any) Late {
	return Late{o.Metadata.Tenant, o.Kind + " " + o.Metadata.Tenant + "/" + o.Metadata.Name, fmt.Sprintf(why, args...)}
}

func name(o *resource.Object) resource.Ref {
	return resource.Ref{Kind: o.Kind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
