package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

func TestAnAnswerListsABoundedNumberOfFaults(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "  x%d: 1\n", i)
	}
	_, err := decodeYAML(t, head+"spec:\n"+b.String())
	wantFault(t, err, "spec.x49", "is not a field")
	if n := strings.Count(err.Error(), "is not a field"); n != 50 {
		t.Errorf("%d faults", n)
	}
}

func TestARecordHasALargestSize(t *testing.T) {
	record := func(free int, annotation string) *resource.Object {
		return &resource.Object{Kind: "Thing", Version: 1, Metadata: resource.Metadata{Tenant: "acme", Name: "a", Annotations: map[string]string{resource.LastApplied: annotation}},
			Spec: &thingSpec{Name: "n", Free: strings.Repeat("x", free)}}
	}
	empty, err := record(0, "").Size()
	if err != nil {
		t.Fatal(err)
	}
	free := resource.MaxObject - empty - len(`,"free":""`)
	k := thing()
	if n, _ := record(free, "y").Size(); n != resource.MaxObject {
		t.Fatalf("%d bytes", n)
	}
	if err := k.Validate(record(free, strings.Repeat("y", 100<<10))); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	wantFault(t, k.Validate(record(free+1, "")), "", "at most 65536 are stored")
	// With the annotation it must still be small enough for a patch, an export and a proof.
	wantFault(t, k.Validate(record(0, strings.Repeat("<", 100<<10))), "", "with its annotation")
	wantFault(t, k.Validate(&resource.Object{Kind: "Thing", Metadata: record(0, "").Metadata}), "spec", "is not the spec of a Thing")
	wantFault(t, k.Validate(&resource.Object{Kind: "Thing", Metadata: record(0, "").Metadata, Spec: (*thingSpec)(nil)}), "spec", "is not the spec of a Thing")
}

func TestFillReadsAConfigurationAsStrictly(t *testing.T) {
	docs, err := resource.ParseYAML([]byte("name: n\nlevel: 9\nwiat: 5s\n"))
	if err != nil {
		t.Fatal(err)
	}
	var s thingSpec
	err = resource.Fill(docs[0], &s)
	wantFault(t, err, "level", "at most 4")
	wantFault(t, err, "wiat", "did you mean wait?")
}
