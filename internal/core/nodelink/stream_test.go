package nodelink

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

type lampSpec struct {
	Watts int `json:"watts" en:"Watts" zh:"瓦"`
}

func lamp() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Lamp", Plural: "lamps", Short: "lamp", Nav: "edge", Scope: resource.ScopeTenant, Title: resource.T("Lamp", "灯"), Doc: resource.T("Gives light.", "照明。"), Version: 1, NodeRoles: []string{"edge"},
		Columns:     []resource.Column{{Title: resource.T("Watts", "瓦"), Value: func(o *resource.Object) string { return "" }}},
		Example:     "kind: Lamp\nmetadata: {tenant: acme, name: hall}\nspec: {watts: 40}\n",
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone, Retention: resource.Forever,
	}, resource.Behaviour[lampSpec]{})
}

// TestStoredStream reads what a control plane of the first release with this
// schema sent; the file is never changed. Unknown fields and kinds are nothing,
// a record of a newer release is named and left out.
func TestStoredStream(t *testing.T) {
	reg, err := resource.NewRegistry(lamp())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile("testdata/stream-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{opt: Options{Registry: reg, Now: time.Now}, skipped: map[string]bool{}}
	s := &stream{lines: bufio.NewScanner(strings.NewReader(string(stored))), alive: time.NewTimer(time.Hour), fresh: true}
	defer s.alive.Stop()

	b, err := s.next(l)
	if err != nil || !b.Reset || !b.Synced || b.At.String() != "e1.9" || len(b.Changes) != 1 {
		t.Fatalf("%+v %v", b, err)
	}
	if o := b.Changes[0].Object; o == nil || o.Spec.(*lampSpec).Watts != 40 || o.Metadata.Tenant != "acme" {
		t.Errorf("%+v", b.Changes[0])
	}
	if got := l.Skipped(); !slices.Equal(got, []string{"Lamp acme/of-tomorrow"}) {
		t.Errorf("skipped: %v", got)
	}
	b, err = s.next(l)
	if err != nil || b.Reset || len(b.Changes) != 1 || b.Changes[0].Object != nil || b.Changes[0].Ref.Name != "hall" || b.Changes[0].Revision != 10 {
		t.Fatalf("%+v %v", b, err)
	}
	if _, err = s.next(l); !errors.Is(err, ErrRemoved) {
		t.Errorf("the end: %v", err)
	}
}
