package kinds

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestWhatTheKindsRefuse(t *testing.T) {
	reg, err := resource.NewRegistry(All()...)
	if err != nil {
		t.Fatal(err)
	}
	site := func(more string) string {
		return "hosts: [a.test], origins: [{url: 'http://a'}]" + more
	}
	for _, tt := range []struct{ kind, spec, path string }{
		{"Site", site(""), ""},
		{"Site", "origins: [{url: 'http://a'}]", "spec.hosts"},
		{"Site", "hosts: [], origins: [{url: 'http://a'}]", "spec.hosts"},
		{"Site", "hosts: [a.test, a.test], origins: [{url: 'http://a'}]", "spec.hosts[1]"},
		{"Site", "hosts: [a.test]", "spec.origins"},
		{"Site", "hosts: [a.test], origins: [{url: 'http://a', ca: x}]", "spec.origins[0]"},
		{"Site", "hosts: [a.test], origins: [{url: 'https://a', ca: x}]", "spec.origins[0].ca"},
		{"Site", "hosts: [a.test], origins: [{url: 'https://a', ca: \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}]", "spec.origins[0].ca"},
		{"Site", "hosts: [a.test], origins: [{url: 'https://a', weight: -1}]", "spec.origins[0].weight"},
		{"Site", site(", health: {path: '/up', interval: 1s}"), ""},
		{"Site", site(", health: {path: up}"), "spec.health.path"},
		{"Site", site(", health: {path: '/a b'}"), "spec.health.path"},
		{"Site", site(", health: {interval: 999ms}"), "spec.health.interval"},
		{"Site", site(", health: {interval: 11m}"), "spec.health.interval"},
		{"Site", site(", waf: {mode: on}"), "spec.waf.mode"},
		{"Site", site(", waf: {paranoia: 5}"), "spec.waf.paranoia"},
		{"Site", site(", limits: {body: 2GiB}"), "spec.limits.body"},
		{"Site", site(", limits: {header: 1B}"), "spec.limits.header"},
		{"Site", site(", limits: {header: 65KiB}"), "spec.limits.header"},
		{"Site", site(", limits: {timeouts: {origin: 2h}}"), "spec.limits.timeouts.origin"},
		{"Exclusion", "site: a, rule: 942100", ""},
		{"Exclusion", "site: a, tag: x, route: '/a/*', argument: 'ARGS:b'", ""},
		{"Exclusion", "site: a", "spec.rule"},
		{"Exclusion", "site: a, rule: 942100, tag: x", "spec.rule"},
		{"Exclusion", "site: a, rule: 5", "spec.rule"},
		{"Exclusion", "rule: 942100", "spec.site"},
		{"Exclusion", "site: a, rule: 942100, route: a", "spec.route"},
		{"Exclusion", "site: a, rule: 942100, route: '/*/a'", "spec.route"},
		{"Exclusion", "site: a, rule: 942100, argument: 'ARGS:a|b'", "spec.argument"},
		{"Exclusion", "site: a, rule: 942100, argument: 'args:a'", "spec.argument"},
		{"Ban", "action: ban, sources: [192.0.2.1, '2001:db8::/32']", ""},
		{"Ban", "action: allow, sources: [0.0.0.0/0]", ""},
		{"Ban", "action: ban, sources: [0.0.0.0/0]", "spec.sources[0]"},
		{"Ban", "action: ban, sources: ['::/0']", "spec.sources[0]"},
		{"Ban", "action: ban, sources: [192.0.2.1/24]", "spec.sources[0]"},
		{"Ban", "action: ban, sources: ['fe80::1%eth0']", "spec.sources[0]"},
		{"Ban", "action: ban, sources: ['::ffff:0:0/96']", "spec.sources[0]"},
		{"Ban", "action: ban, sources: [a.test]", "spec.sources[0]"},
		{"Ban", "action: drop, sources: [192.0.2.1]", "spec.action"},
		{"Ban", "action: ban", "spec.sources"},
		{"User", "email: a@b.test", ""},
		{"User", "email: ab.test", "spec.email"},
		{"User", "email: '@b.test'", "spec.email"},
		{"User", "email: 'a@b.test, c@d.test'", "spec.email"},
		{"RoleBinding", "role: r, subjects: [{kind: User, name: a}, {kind: Service, name: a}]", ""},
		{"RoleBinding", "role: r, subjects: [{kind: User, name: a}, {kind: User, name: a}]", "spec.subjects[1]"},
		{"RoleBinding", "role: r, subjects: [{kind: Role, name: a}]", "spec.subjects[0].kind"},
		{"RoleBinding", "role: r", "spec.subjects"},
		{"Policy", "description: x", "spec.cedar"},
		{"Tenant", "originNetworks: [10.0.0.0/8]", ""},
		{"Tenant", "originNetworks: [10.0.0.1/8]", "spec.originNetworks[0]"},
		{"Tenant", "originNetworks: [0.0.0.0/0]", "spec.originNetworks[0]"},
	} {
		t.Run(tt.kind+" "+tt.spec, func(t *testing.T) {
			docs, err := resource.ParseYAML([]byte("kind: " + tt.kind + "\nmetadata: {tenant: platform, name: a}\nspec: {" + tt.spec + "}\n"))
			if err != nil {
				t.Fatal(err)
			}
			o, k, err := reg.Decode(docs[0])
			if err == nil {
				err = k.Validate(o)
			}
			if tt.path == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e := fault.Of(err)
			found := false
			for _, f := range e.Fields {
				found = found || f.Path == tt.path
				if f.Reason.En == "" || f.Reason.Zh == "" || f.Reason.En == f.Reason.Zh || strings.Contains(f.Reason.En+f.Reason.Zh, "%!") {
					t.Errorf("%s: %+v", f.Path, f.Reason)
				}
			}
			if !found {
				t.Errorf("want %s, got %v", tt.path, err)
			}
		})
	}
}

func TestPlatformKindsStayWithThePlatform(t *testing.T) {
	for _, k := range All() {
		if k.Scope != resource.ScopePlatform {
			continue
		}
		o := &resource.Object{Kind: k.Name, Version: 1, Metadata: resource.Metadata{Tenant: "acme", Name: "a"}, Spec: k.NewSpec()}
		if e := fault.Of(k.Validate(o)); len(e.Fields) == 0 || e.Fields[0].Path != "metadata.tenant" {
			t.Errorf("%s: %v", k.Name, e)
		}
	}
}
