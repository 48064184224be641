package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// What the parts of the program may do, written out: a policy that grants one
// thing more fails here.
func TestServicesMayDoNoMore(t *testing.T) {
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values([]*resource.Object(nil)))
	if err != nil {
		t.Fatal(err)
	}
	access := []string{"Tenant", "User", "Role", "RoleBinding", "Policy", "ApprovalRule", "DataClass"}
	for _, tt := range []struct {
		service string
		may     func(tenant, kind, verb string) bool
	}{
		{"edge", func(_, kind, verb string) bool {
			return verb == "read" && slices.Contains([]string{"Site", "Exclusion", "Ban", "Tenant", "Certificate", "DataClass"}, kind)
		}},
		{"dayzero", func(tenant, kind, _ string) bool { return tenant == "platform" && slices.Contains(access, kind) }},
		{"attacks", func(_, kind, verb string) bool { return kind == "Attack" && (verb == "read" || verb == "create") }},
		{"thresholds", func(_, kind, verb string) bool { return kind == "ProtectedAddress" && verb == "read" }},
		{"certificates", func(_, kind, verb string) bool { return kind == "Certificate" && verb == "read" }},
		{"signin", func(_, kind, verb string) bool {
			return verb == "read" && (kind == "IdentityProvider" || kind == "User")
		}},
		{"sites", func(_, kind, verb string) bool { return kind == "Site" && verb == "read" }},
		{"approvals", func(_, kind, verb string) bool { return kind == "ChangeRequest" && verb == "read" }},
		{"classes", func(_, kind, verb string) bool {
			return verb == "read" && slices.Contains([]string{"DataAsset", "DataType", "ThirdPartyDuty", "LegalHold"}, kind)
		}},
		{"nobody", func(string, string, string) bool { return false }},
	} {
		who := resource.Ref{Kind: "Service", Tenant: "platform", Name: tt.service}
		for _, tenant := range []string{"platform", "acme"} {
			for _, action := range []string{"audit.read", "event.read", "status.read"} {
				if d := snap.Decide(policy.Query{Principal: who, Action: action, Tenant: tenant}); d.Allowed {
					t.Errorf("%s may %s on %s by %v", tt.service, action, tenant, d.Policies)
				}
			}
			for _, k := range reg.All() {
				o := &resource.Object{Kind: k.Name, Metadata: resource.Metadata{Tenant: tenant, Name: "x"}, Spec: k.NewSpec()}
				for _, verb := range []string{"read", "create", "update", "delete"} {
					action := strings.ToLower(k.Name) + "." + verb
					if d := snap.Decide(policy.Query{Principal: who, Action: action, Object: o}); d.Allowed != tt.may(tenant, k.Name, verb) {
						t.Errorf("%s %s on %s %s: %v by %v", tt.service, action, tenant, k.Name, d.Allowed, d.Policies)
					}
				}
			}
		}
	}
}
