package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

const staff = `
kind: RoleBinding
metadata: {tenant: platform, name: auditors}
spec: {role: auditor, subjects: [{kind: User, name: aud}, {kind: User, name: both}]}
---
kind: RoleBinding
metadata: {tenant: platform, name: security}
spec: {role: security, subjects: [{kind: User, name: sec}]}
---
kind: RoleBinding
metadata: {tenant: platform, name: operators}
spec: {role: operator, subjects: [{kind: User, name: op}, {kind: User, name: both}]}
`

// TestBuiltinRoles asks every action of every kind: the auditor reads all and
// writes nothing, whatever else he is; security writes what defends.
func TestBuiltinRoles(t *testing.T) {
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values(objects(t, reg, staff)))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.All() {
		o := objects(t, reg, k.Example)[0]
		for _, tenant := range []string{"platform", "acme"} {
			if k.Scope == resource.ScopePlatform && tenant != resource.Platform {
				continue
			}
			on := *o
			on.Metadata.Tenant = tenant
			defends := slices.Contains([]string{"Site", "Exclusion", "Ban"}, k.Name)
			for _, verb := range []string{policy.Read, policy.Create, policy.Update, policy.Delete} {
				read := verb == policy.Read
				for who, want := range map[string]bool{"aud": read, "both": read, "sec": read || defends, "op": true, "nobody": false} {
					d := snap.Decide(policy.Query{
						Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: who}, Action: strings.ToLower(k.Name) + "." + verb, Object: &on,
						Context: policy.Context{Phase: "old", Door: "api", Time: time.Now()},
					})
					if d.Allowed != want {
						t.Errorf("%s %s %s in %s: allowed=%v by %v", who, verb, k.Name, tenant, d.Allowed, d.Policies)
					}
				}
			}
		}
	}
}
