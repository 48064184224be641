package classes

import (
	"context"
	"slices"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// nodeDoor is the stream of records of a node: one on which the tenant is not
// placed sees none of its records, whatever its roles are. Neither node has a
// key, so that no machine is one.
func (x *egress) nodeDoor() Door {
	look := func(node resource.Ref) func(context.Context, Planted) (Look, error) {
		return func(ctx context.Context, p Planted) (Look, error) {
			var kinds []string
			for _, k := range x.env.Gate.Registry().All() {
				if slices.Contains(k.NodeRoles, "edge") {
					kinds = append(kinds, k.Name)
				}
			}
			feed, err := x.env.Gate.Watch(identity.Actor{Principal: node, Door: "nodes"}, kinds, nil)
			if err != nil {
				return Look{}, err
			}
			batch, err := feed.Next(ctx)
			if err != nil {
				return Look{}, err
			}
			for _, c := range batch.Changes {
				if c.Object == nil || c.Ref.Tenant != canaryTenant {
					continue
				}
				stored, err := c.Object.Stored()
				if err != nil {
					return Look{}, err
				}
				if holds(stored, p.Marker) {
					return Look{Leaked: true, Saw: "the marker in the stream of " + node.Name}, nil
				}
			}
			return Look{Saw: "nothing of the tenant in the stream of a node that serves another"}, nil
		}
	}
	return Door{Name: "stream of a node", Try: look(astray), Twin: look(placed)}
}
