package classes

import (
	"context"
	_ "embed" // the table
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// written is the table of who may do what, written by hand: what the policies
// answer is held against it, and never made from them.
//
//go:embed table.txt
var written string

// tableTenant is the tenant whose data the table speaks of.
const tableTenant = "dun-canary-table"

// table asks every combination of role, class, act, region and request.
func (c checks) table(ctx context.Context, e *assurance.Evidence) error {
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		who, err := c.cast(r)
		if err != nil {
			return err
		}
		asked, permitted := 0, 0
		made := map[string]resource.Ref{}
		for line := range strings.Lines(written) {
			f := strings.Fields(line)
			if len(f) != 2+len(resource.DataActs()) || f[0] == "#" {
				continue
			}
			ref, ok := made[f[1]]
			if !ok {
				if ref, err = c.ofClass(r, f[1]); err != nil {
					return err
				}
				made[f[1]] = ref
			}
			for i, act := range resource.DataActs() {
				for _, region := range []string{"cn", "de", "us", ""} {
					for _, request := range []string{"", "cr-canary"} {
						asked++
						a := who[f[0]]
						a.ChangeRequest = request
						err := r.Handle(a, ref, act, gate.Use{Purpose: canary, Region: region, Recipient: canary})
						if err != nil && !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.NotFound) {
							return err
						}
						want := (region == "cn" || region == "de") && (f[2+i] == "y" || f[2+i] == "r" && request != "")
						if (err == nil) != want {
							return assurance.NotHeld("%s, %s of class %s from %q, request %q: permitted %v, the table says %v", "%s 对分类 %[3]s 执行 %[2]s(自 %[4]q,请求 %[5]q):允许 %[6]v,表中为 %[7]v", f[0], act, f[1], region, request, err == nil, want)
						}
						if err == nil {
							permitted++
						}
					}
				}
			}
		}
		if asked == 0 || permitted == 0 || permitted == asked {
			return fmt.Errorf("%d of %d are permitted: the table tells nothing apart", permitted, asked)
		}
		e.Add("combinations", "%d asked, %d permitted, as the table says", asked, permitted)
		return nil
	})
}

// cast makes those whom the table names, and the type of all of its data.
func (c checks) cast(r gate.Rehearsal) (map[string]identity.Actor, error) {
	in := func(tenant, name string) resource.Metadata { return resource.Metadata{Tenant: tenant, Name: name} }
	subject := func(name string) []access.Subject { return []access.Subject{{Kind: "User", Name: name}} }
	list := []*resource.Object{
		{Kind: "Tenant", Version: 1, Metadata: in(resource.Platform, tableTenant), Spec: &system.TenantSpec{}},
		{Kind: "User", Version: 1, Metadata: in(tableTenant, "owner"), Spec: &access.UserSpec{}},
		{Kind: "User", Version: 1, Metadata: in(tableTenant, "nobody"), Spec: &access.UserSpec{}},
		{Kind: "Role", Version: 1, Metadata: in(tableTenant, "owner"), Spec: &access.RoleSpec{}},
		{Kind: "RoleBinding", Version: 1, Metadata: in(tableTenant, "owner"), Spec: &access.RoleBindingSpec{Role: "owner", Subjects: subject("owner")}},
		{Kind: "Policy", Version: 1, Metadata: in(tableTenant, "owner"), Spec: &access.PolicySpec{
			Cedar: `permit (principal in Role::"` + tableTenant + `/owner", action in [Action::"read", Action::"handle"], resource);`,
		}},
		{Kind: "DataType", Version: 1, Metadata: in(tableTenant, canary), Spec: &data.DataTypeSpec{
			Title: "Canary", Class: "public", Processing: resource.DataActs(), Regions: []string{"cn"}, AdminRegions: []string{"cn", "de"}, Purposes: []string{canary}, ThirdParties: []string{canary},
		}},
	}
	who := map[string]identity.Actor{"op": c.me}
	for short, role := range map[string]string{"sec": "security", "aud": "auditor"} {
		name := "dun-canary-" + short
		list = append(list,
			&resource.Object{Kind: "User", Version: 1, Metadata: in(resource.Platform, name), Spec: &access.UserSpec{}},
			&resource.Object{Kind: "RoleBinding", Version: 1, Metadata: in(resource.Platform, name), Spec: &access.RoleBindingSpec{Role: role, Subjects: subject(name)}})
		who[short] = identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: resource.Platform, Name: name}, Door: "posture"}
	}
	for _, name := range []string{"owner", "nobody"} {
		who[name] = identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: tableTenant, Name: name}, Door: "posture"}
	}
	for _, o := range list {
		if _, err := r.Arrange(put(c.me, o, 0)); err != nil {
			return nil, fmt.Errorf("make %s: %w", o.Ref(), err)
		}
	}
	return who, nil
}

// ofClass makes an asset of a class, whose own tenant's people make it.
func (c checks) ofClass(r gate.Rehearsal, class string) (resource.Ref, error) {
	m := resource.Metadata{Tenant: tableTenant, Name: "of-" + class}
	if class != "absent" {
		m.Labels = map[string]string{resource.LabelClass: class}
	}
	o := &resource.Object{Kind: "DataAsset", Version: 1, Metadata: m, Spec: &data.DataAssetSpec{Form: "content", What: "file", Type: canary, Owner: canary, OwnerType: "customer", Region: "cn"}}
	a := c.me
	a.ChangeRequest = canary // what is of users' data nobody else's people may read
	if _, err := r.Arrange(put(a, o, 0)); err != nil {
		return o.Ref(), err
	}
	return o.Ref(), c.duty(r, a, "of-"+class, o.Ref(), time.Now().Add(time.Hour), gate.Use{Purpose: canary, Recipient: canary})
}
