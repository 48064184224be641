package resource_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() *resource.Object {
	at := time.Date(2026, 11, 1, 3, 0, 0, 123456000, time.UTC)
	later := at.Add(time.Hour)
	return &resource.Object{
		Kind: "Thing", Version: 1,
		Metadata: resource.Metadata{
			Tenant: "acme", Name: "a", UID: "abcdefghijklmnopqrstuvwxyz", Revision: 1<<53 - 1, StatusRevision: 7, Created: at, Updated: later,
			Labels: map[string]string{"dun.dev/class": "test", "a": "<b>&"}, Annotations: map[string]string{resource.LastApplied: "{\"spec\":{}}"},
			Owner:      &resource.Ref{Kind: "Thing", Tenant: "acme", Name: "b", UID: "bbcdefghijklmnopqrstuvwxyz"},
			Finalizers: []string{"x"}, Deleting: &later,
		},
		Spec: &thingSpec{
			Hosts: []string{"a.test"}, Mode: "off", Name: "no", On: true, Level: 4, Port: 65535, Count: 1<<53 - 1, Tags: map[string]string{"b": "", "a": "盾"},
			Wait: resource.Duration(90 * time.Minute), Limit: 16 << 20, Until: &at, Parts: []part{{URL: "http://a", Weight: 2}}, Inner: &part{URL: "http://b"}, Free: "line\ntab\t\u2028end",
		},
		Status: map[string]string{"not": "kept"},
	}
}

// The audit log commits to these bytes: a difference is a new version of the
// format, never an update of the file.
func TestStoredBytesAreForEver(t *testing.T) {
	got, err := sample().Stored()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "object.golden.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("stored bytes changed:\n%s\n%s", got, want)
	}
	o, err := registry(t).Load(want)
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.Stored()
	if err != nil || !bytes.Equal(again, want) {
		t.Errorf("read and written again:\n%s\n%s\n%v", again, want, err)
	}
	// What is stored is also a manifest that the strict decoder reads.
	strict, err := decodeJSON(t, string(want))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ = strict.Stored(); !bytes.Equal(again, want) {
		t.Errorf("decoded and written again:\n%s\n%s", again, want)
	}
}

func TestStoredAndSizeLeaveTheObjectAlone(t *testing.T) {
	o := sample()
	stored, err := o.Stored()
	if err != nil {
		t.Fatal(err)
	}
	n, err := o.Size()
	if err != nil {
		t.Fatal(err)
	}
	if o.Status == nil || o.Metadata.StatusRevision != 7 || o.Metadata.Annotations[resource.LastApplied] == "" {
		t.Error("the object was changed")
	}
	if strings.Contains(string(stored), "statusRevision") || strings.Contains(string(stored), "kept") {
		t.Error("status is stored")
	}
	if want := len(stored) - len(`"annotations":{"dun.dev/last-applied":"{\"spec\":{}}"},`); n != want {
		t.Errorf("size %d, want %d", n, want)
	}
	o.Spec = make(chan int)
	if _, err := o.Stored(); err == nil {
		t.Error("a spec that has no bytes was stored")
	}
	if _, err := resource.Tree(o); err == nil {
		t.Error("a spec that has no bytes has a tree")
	}
}

func TestLoadRefusesADamagedStore(t *testing.T) {
	r := registry(t)
	good, err := os.ReadFile(filepath.Join("testdata", "object.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string { return strings.Replace(string(good), old, new, 1) }
	for name, b := range map[string]string{
		"empty": "", "cut": string(good[:100]), "list": "[]", "unknown kind": edit(`"Thing"`, `"Other"`), "newer": edit(`"version":1`, `"version":2`),
		"no version": edit(`"version":1,`, ``), "negative version": edit(`"version":1`, `"version":-1`), "spec of another type": edit(`"level":4`, `"level":"x"`), "no spec": edit(`"spec":`, `"cpes":`),
	} {
		if o, err := r.Load([]byte(b)); err == nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestAnOlderSpecIsUpgradedOnReadAndKeptAsItWas(t *testing.T) {
	d := declaration()
	d.Version = 3
	d.Upgrade = func(version int, spec json.RawMessage) (json.RawMessage, error) {
		var old map[string]any
		if err := json.Unmarshal(spec, &old); err != nil {
			return nil, err
		}
		old["note"] = strings.Repeat("v", version)
		return json.Marshal(old)
	}
	k := resource.Define(d, resource.Behaviour[thingSpec]{})
	r, err := resource.NewRegistry(k)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join("testdata", "object.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := r.Load(stored)
	if err != nil || o.Version != 3 || o.Spec.(*thingSpec).Note != "v" {
		t.Errorf("%+v %v", o, err)
	}
	if _, err := r.Load(bytes.Replace(stored, []byte(`"spec":{`), []byte(`"spec":[{`), 1)); err == nil {
		t.Error("a spec that cannot be upgraded was read")
	}
}

func TestRefs(t *testing.T) {
	o := sample()
	if got := o.Ref(); got.String() != "Thing acme/a" || got.UID != o.Metadata.UID {
		t.Errorf("%+v", got)
	}
}
