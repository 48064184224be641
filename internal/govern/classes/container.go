package classes

import (
	"context"
	"slices"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// inventory looks whose the assets are, and tries to make one of nobody.
func (c checks) inventory(ctx context.Context, e *assurance.Evidence) error {
	of, bare := map[string]int{}, ""
	if err := c.all(ctx, "DataAsset", func(o *resource.Object) {
		whose := o.Spec.(*data.DataAssetSpec).OwnerType
		if of[whose]++; whose != "customer" && whose != "company" {
			bare = o.Ref().String()
		}
	}); err != nil {
		return err
	}
	if bare != "" {
		return assurance.NotHeld("nobody knows whose %s is", "%s 归属不明", bare)
	}
	e.Add("inventory", "%d of customers, %d of the company", of["customer"], of["company"])
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		if _, _, err := c.world(r, tableTenant, nil, "public"); err != nil {
			return err
		}
		asset := func(name, whose string) error {
			o := assetOf(name, canary, "public")
			o.Metadata.Tenant, o.Spec.(*data.DataAssetSpec).OwnerType = tableTenant, whose
			_, err := r.Arrange(put(c.me, o, 0))
			return err
		}
		if err := asset("dun-canary-2", "customer"); err != nil {
			return err
		}
		l, err := r.Scan(identity.Service(Service), gate.ListOptions{Kind: "DataAsset", Tenant: tableTenant})
		if err != nil {
			return err
		}
		var listed []string
		if _, err := l.Each(ctx, func(o *resource.Object) bool {
			listed = append(listed, o.Spec.(*data.DataAssetSpec).OwnerType)
			return true
		}); err != nil {
			return err
		}
		if !slices.Equal(listed, []string{"company", "customer"}) {
			return assurance.NotHeld("of one asset of each the inventory lists %v", "各有一个资产,清单仅列出 %v", listed)
		}
		e.Add("an asset of each", "listed with whose it is")
		for what, whose := range map[string]string{"an asset of nobody": "", "an asset of somebody else": "another"} {
			err := asset("dun-canary-3", whose)
			if err != nil && !fault.Is(err, fault.Invalid) {
				return err
			}
			if err := refused(e, what, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// containers looks at what lies where, and tries to bring container and content
// apart.
func (c checks) containers(ctx context.Context, e *assurance.Evidence) error {
	within, above := 0, ""
	if err := c.as(ctx, identity.Service(Service), "DataAsset", func(l *gate.Listing, o *resource.Object) {
		if box := o.Spec.(*data.DataAssetSpec).Container; box != "" {
			within++
			if l.Level(o.Ref()) > l.Level(resource.Ref{Kind: "DataAsset", Tenant: o.Metadata.Tenant, Name: box}) {
				above = o.Ref().String()
			}
		}
	}); err != nil {
		return err
	}
	if above != "" {
		return assurance.NotHeld("%s lies in a container of a lower level", "%s 位于级别更低的容器中", above)
	}
	e.Add("assets in a container", "%d, none of a higher level than that", within)
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error { return c.nested(r, e) })
}

// nested builds host > disk > one of each kind of content.
func (c checks) nested(r gate.Rehearsal, e *assurance.Evidence) error {
	if _, _, err := c.world(r, resource.Platform, nil, "public"); err != nil {
		return err
	}
	rev := map[string]uint64{}
	place := func(what, class, in string) error {
		o := assetOf(canary+"-"+what, canary, class)
		s := o.Spec.(*data.DataAssetSpec)
		if s.What = what; in != "" {
			s.Container = canary + "-" + in
		}
		out, err := r.Arrange(put(c.me, o, rev[what]))
		if err == nil {
			rev[what] = out[0].Revision
		}
		return err
	}
	for _, step := range [][3]string{{"host", "internal"}, {"disk", "", "host"}, {"backup", "", "disk"}, {"file", "", "disk"}, {"table", "", "disk"}} {
		if err := place(step[0], step[1], step[2]); err != nil {
			return err
		}
	}
	all := func(want string) error {
		for _, what := range []string{"disk", "backup", "file", "table"} {
			ref := assetOf(canary+"-"+what, "", "").Ref()
			if class, there := r.Class(ref); !there || class.Name != want {
				return assurance.NotHeld("a %s in a host of class %s is of class %s", "%[2]s 类主机中的 %[1]s 分类为 %[3]s", what, want, class.Name)
			}
		}
		e.Add("what lies in a host of class "+want, "is of class %s: disk, backup, file and table", want)
		return nil
	}
	if err := all("internal"); err != nil {
		return err
	}
	if err := refused(e, "content above its container", place("object", "production-business", "disk")); err != nil {
		return err
	}
	if err := place("host", "production-system", ""); err != nil {
		return assurance.NotHeld("a container cannot be raised: %s", "无法提高容器的级别:%s", err)
	}
	if err := all("production-system"); err != nil {
		return err
	}
	if err := place("file", "internal", "disk"); err != nil {
		return err
	}
	return refused(e, "a host that is lowered below a file on its disk, by assent of everybody", place("host", "public", ""))
}
