package resource_test

import (
	"strings"
	"testing"
	"time"
)

const head = "kind: Thing\nmetadata: {tenant: acme, name: a}\n"

func TestWhatASpecMaySay(t *testing.T) {
	o, err := decodeYAML(t, head+`spec:
  name: no
  hosts: [a.test, "*.b.test", 192.0.2.1]
  mode: "off"
  note: 盾盾盾盾盾
  on: true
  level: 4
  port: 65535
  count: 9007199254740991
  tags: {a: x, b: ""}
  wait: 90m
  limit: 16MiB
  until: 2026-11-01T11:00:00+08:00
  parts: [{url: 'http://[2001:db8::1]:80'}, {url: 'https://a.test', weight: -3}]
  inner: {url: 'http://a'}
  free: 2026-11-01
`)
	if err != nil {
		t.Fatal(err)
	}
	s := o.Spec.(*thingSpec)
	if s.Name != "no" || s.Mode != "off" || !s.On || s.Port != 65535 || s.Count != 1<<53-1 || s.Tags["b"] != "" || len(s.Tags) != 2 || s.Wait.String() != "1h30m" ||
		s.Limit != 16<<20 || !s.Until.Equal(time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)) || s.Until.Location() != time.UTC || s.Parts[1].Weight != -3 || s.Inner.URL != "http://a" || s.Free != "2026-11-01" {
		t.Errorf("%+v", s)
	}
	if o.Version != 1 {
		t.Errorf("version %d", o.Version)
	}
	// null is as absent.
	o, err = decodeJSON(t, `{"kind":"Thing","version":null,"metadata":{"tenant":"acme","name":"a","labels":null,"owner":null},"spec":{"name":"n","level":null,"parts":null,"inner":null,"until":null,"on":null},"state":null,"status":null}`)
	if s := o.Spec.(*thingSpec); err != nil || s.Level != 0 || s.Parts != nil || s.Inner != nil || s.Until != nil {
		t.Errorf("%+v %v", s, err)
	}
}

func TestWhatASpecMayNotSay(t *testing.T) {
	for _, tt := range []struct{ spec, path, reason string }{
		{"{}", "spec.name", "is required"},
		{"{name: ''}", "spec.name", "is not a name"},
		{"{name: null}", "spec.name", "is required"},
		{"5", "spec", "want an object, not a number"},
		{"[]", "spec", "want an object, not a list"},
		{"{name: n, nmae: x}", "spec.nmae", "did you mean name?"},
		{"{name: n, Name: x}", "spec.Name", "did you mean name?"},
		{"{name: n, HOSTS: []}", "spec.HOSTS", "did you mean hosts?"},
		{"{name: n, hidden: x}", "spec.hidden", "is not a field"},
		{"{name: n, something: x}", "spec.something", "known are hosts, mode"},
		{"{name: n, hosts: a.test}", "spec.hosts", "want a list, not text"},
		{"{name: n, hosts: [a.test, 5]}", "spec.hosts[1]", "want text (put it in quotes), not a number"},
		{"{name: n, hosts: [a.test, null]}", "spec.hosts[1]", "is empty"},
		{"{name: n, hosts: [A.test]}", "spec.hosts[0]", "lower case"},
		{"{name: n, hosts: ['http://a.test']}", "spec.hosts[0]", "without scheme"},
		{"{name: n, hosts: [a, b, c, d]}", "spec.hosts", "at most 3 entries"},
		{"{name: n, mode: Block}", "spec.mode", `is "Block"; want one of block, detect, off`},
		{"{name: n, mode: ''}", "spec.mode", "want one of"},
		{"{name: n, mode: off }", "", ""},
		{"{name: n, mode: true}", "spec.mode", "want text"},
		{"{name: N}", "spec.name", "is not a name"},
		{"{name: n, note: a}", "spec.note", "at least 2 characters"},
		{"{name: n, note: 盾盾盾盾盾盾}", "spec.note", "at most 5 characters"},
		{"{name: n, on: 'true'}", "spec.on", "want true or false, not text"},
		{"{name: n, on: yes}", "spec.on", "want true or false, not text"},
		{"{name: n, on: 1}", "spec.on", "want true or false, not a number"},
		{"{name: n, level: 0}", "spec.level", "at least 1"},
		{"{name: n, level: 5}", "spec.level", "at most 4"},
		{"{name: n, level: '3'}", "spec.level", "want a whole number, not text"},
		{"{name: n, level: 1.5}", "spec.level", "want a whole number in range"},
		{"{name: n, level: 1e0}", "spec.level", "want a whole number in range"},
		{"{name: n, level: 99999999999999999999}", "spec.level", "want a whole number in range"},
		{"{name: n, port: 65536}", "spec.port", "want a whole number in range"},
		{"{name: n, port: -1}", "spec.port", "want a whole number in range"},
		{"{name: n, count: 9007199254740992}", "spec.count", "want a whole number in range"},
		{"{name: n, tags: [a]}", "spec.tags", "want an object, not a list"},
		{"{name: n, tags: {a: 1}}", "spec.tags.a", "want text"},
		{"{name: n, tags: {a: null}}", "spec.tags.a", "is empty"},
		{"{name: n, tags: {a: x, b: x, c: x}}", "spec.tags", "at most 2 entries"},
		{`{name: n, tags: {"a\u0001": x}}`, "spec.tags.a\x01", "control character U+0001"},
		{"{name: n, wait: 5}", "spec.wait", "want text, not a number"},
		{"{name: n, wait: 5y}", "spec.wait", "want a time such as"},
		{"{name: n, wait: -5m}", "spec.wait", "want a time such as"},
		{"{name: n, limit: 5kb}", "spec.limit", "want a size such as"},
		{"{name: n, until: tomorrow}", "spec.until", "want a time as in"},
		{"{name: n, until: 2026-11-01}", "spec.until", "want a time as in"},
		{"{name: n, parts: []}", "spec.parts", "at least 1 entries"},
		{"{name: n, parts: [{}]}", "spec.parts[0].url", "is required"},
		{"{name: n, parts: [{url: 'http://a'}, {url: 'ftp://a'}]}", "spec.parts[1].url", "want http:// or https://"},
		{"{name: n, inner: {url: 'http://a', wieght: 3}}", "spec.inner.wieght", "did you mean weight?"},
		{"{name: n, inner: []}", "spec.inner", "want an object, not a list"},
		{`{name: n, free: "a\u0000b"}`, "spec.free", "control character U+0000"},
		{`{name: n, free: "a\u009bb"}`, "spec.free", "control character U+009B"},
		{"{name: n, free: bad}", "spec.free", "is bad"},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			_, err := decodeYAML(t, head+"spec: "+tt.spec+"\n")
			if tt.path == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantFault(t, err, tt.path, tt.reason)
		})
	}
}

func TestWhatAManifestMayNotSay(t *testing.T) {
	const spec = "spec: {name: n}\n"
	const meta = "metadata: {tenant: acme, name: a"
	for _, tt := range []struct{ manifest, path, reason string }{
		{"[]", "", "want an object with kind"},
		{"5", "", "want an object with kind"},
		{meta + "}\n" + spec, "kind", "is required"},
		{"kind: 5\n" + meta + "}\n", "kind", "is required"},
		{"kind: Nothing\n" + meta + "}\n", "", `unknown kind "Nothing"; known are Thing`},
		{"kind: thing\n" + meta + "}\n" + spec, "", `unknown kind "thing"`},
		{"kind: Thing\n" + spec, "metadata", "is required"},
		{"kind: Thing\nmetadata: null\n" + spec, "metadata.name", "is not a name"},
		{"kind: Thing\nmetadata: [a]\n" + spec, "metadata", "want an object"},
		{"kind: Thing\n" + meta + "}\n", "spec.name", "is required"},
		{"kind: Thing\n" + meta + "}\nspec: null\n", "spec.name", "is required"},
		{"kind: Thing\n" + meta + "}\nSpec: {}\n", "Spec", "is not a field"},
		{"kind: Thing\napiVersion: v1\n" + meta + "}\n" + spec, "apiVersion", "known are kind, version, metadata, spec"},
		{"kind: Thing\nversion: 2\n" + meta + "}\n" + spec, "version", "is 2; this release reads version 1"},
		{"kind: Thing\nversion: 0\n" + meta + "}\n" + spec, "version", "is 0"},
		{"kind: Thing\nversion: one\n" + meta + "}\n" + spec, "version", "want a whole number"},
		{"kind: Thing\n" + meta + "}\nstate: {}\n" + spec, "state", "is set by Dun"},
		{"kind: Thing\n" + meta + "}\nstatus: {}\n" + spec, "status", "is set by Dun"},
		{"kind: Thing\n" + meta + ", Tenant: b}\n" + spec, "metadata.Tenant", "did you mean tenant?"},
		{"kind: Thing\n" + meta + ", label: {}}\n" + spec, "metadata.label", "did you mean labels?"},
		{"kind: Thing\n" + meta + ", revision: -1}\n" + spec, "metadata.revision", "want a whole number in range"},
		{"kind: Thing\n" + meta + ", revision: '7'}\n" + spec, "metadata.revision", "want a whole number, not text"},
		{"kind: Thing\n" + meta + ", labels: {a: 1}}\n" + spec, "metadata.labels.a", "want text"},
		{"kind: Thing\n" + meta + ", labels: {a: null}}\n" + spec, "metadata.labels.a", "is empty"},
		{"kind: Thing\n" + meta + ", labels: {a/b/c: x}}\n" + spec, "metadata.labels.a/b/c", "at most one '/'"},
		{"kind: Thing\n" + meta + ", labels: {a: '" + strings.Repeat("x", 257) + "'}}\n" + spec, "metadata.labels.a", "longer than 256"},
		{"kind: Thing\n" + meta + ", annotations: {-a: x}}\n" + spec, "metadata.annotations.-a", "want letters"},
		{"kind: Thing\nmetadata: {tenant: Acme, name: a}\n" + spec, "metadata.tenant", "is not the name of a tenant"},
		{"kind: Thing\nmetadata: {tenant: acme, name: a_b}\n" + spec, "metadata.name", "is not a name"},
		{"kind: Thing\nmetadata: {tenant: acme}\n" + spec, "metadata.name", "is not a name"},
	} {
		t.Run(tt.manifest, func(t *testing.T) {
			_, err := decodeYAML(t, tt.manifest)
			wantFault(t, err, tt.path, tt.reason)
		})
	}
}

func TestLinesAreNamed(t *testing.T) {
	_, err := decodeYAML(t, head+"spec:\n  name: n\n  hosts:\n    - a.test\n    - B.test\n")
	wantFault(t, err, "spec.hosts[1]", "(line 7)")
	_, err = decodeJSON(t, "{\"kind\": \"Thing\",\n \"metadata\": {\"tenant\": \"acme\", \"name\": \"a\"},\n \"spec\": {\"name\": \"n\",\n  \"level\": 9}}")
	wantFault(t, err, "spec.level", "(line 4)")
}
