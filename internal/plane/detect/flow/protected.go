package flow

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// protected is who is protected under which prefix; never changed once it is in
// use.
type protected struct {
	table bart.Table[*owner]
	each  []*owner
}

// owner is one record and its address or network.
type owner struct {
	ref    resource.Ref
	prefix netip.Prefix
}

func (p *protected) of(a netip.Addr) *owner {
	if p == nil || !a.IsValid() {
		return nil
	}
	o, _ := p.table.Lookup(a)
	return o
}

// Run takes addresses from the feed of ProtectedAddress and Tenant until ctx
// ends.
func (c *Collector) Run(ctx context.Context, feed resource.Feed) error {
	records := map[resource.Ref]*resource.Object{}
	synced := false
	for {
		b, err := feed.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow records: %w", err)
		}
		if b.Reset {
			clear(records)
			synced = false
		}
		for _, x := range b.Changes {
			ref := x.Ref
			ref.UID = ""
			if x.Object == nil {
				delete(records, ref)
			} else {
				records[ref] = x.Object
			}
		}
		if synced = synced || b.Synced; synced {
			c.protect(assign(records))
		}
	}
}

// assign says who has which prefix, as the filter does: a tenant has only those
// within its addresses, and the platform comes first.
func assign(records map[resource.Ref]*resource.Object) *protected {
	var list []*resource.Object
	for ref, o := range records {
		if _, ok := o.Spec.(*shield.ProtectedAddressSpec); ok && ref.Kind == "ProtectedAddress" {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *resource.Object) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Metadata.Tenant, b.Metadata.Tenant), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	p := &protected{}
	for _, o := range list {
		prefix, err := shield.ParsePrefix(o.Spec.(*shield.ProtectedAddressSpec).Prefix)
		if err != nil || len(p.each) >= maxOwners || !owns(records, o.Metadata.Tenant, prefix) {
			continue
		}
		if _, taken := p.table.Get(prefix); taken {
			continue
		}
		x := &owner{ref: o.Ref(), prefix: prefix}
		x.ref.UID = ""
		p.table.Insert(prefix, x)
		p.each = append(p.each, x)
	}
	return p
}

func rank(o *resource.Object) int {
	if o.Metadata.Tenant == resource.Platform {
		return 0
	}
	return 1
}

// owns reports whether a tenant may learn of, and disturb, an address.
func owns(records map[resource.Ref]*resource.Object, tenant string, p netip.Prefix) bool {
	if tenant == resource.Platform {
		return true
	}
	o := records[resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: tenant}]
	if o == nil {
		return false
	}
	spec, ok := o.Spec.(*system.TenantSpec)
	return ok && slices.ContainsFunc(spec.Addresses, func(s string) bool {
		n, err := netip.ParsePrefix(s)
		return err == nil && n.Bits() <= p.Bits() && n.Contains(p.Addr())
	})
}
