package views

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestEachPersonKeepsHisOwnAndNotTooMany(t *testing.T) {
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s, err := Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	ann, bob := resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}, resource.Ref{Kind: "User", Tenant: "acme", Name: "bob"}
	for i := range MaxViews {
		if err := s.Save(t.Context(), ann, View{"sites", fmt.Sprint(i), "q=a"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(t.Context(), ann, View{"sites", "more", "q=a"}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one more than fits: %v", err)
	}
	if err := s.Save(t.Context(), ann, View{"sites", "7", "q=b"}); err != nil {
		t.Errorf("a replacement needs no room: %v", err)
	}
	if list, err := s.Views(t.Context(), bob); err != nil || len(list) != 0 {
		t.Errorf("bob sees %v %v", list, err)
	}
	if err := s.Drop(t.Context(), bob, "sites", "7"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Views(t.Context(), ann); err != nil || len(list) != MaxViews {
		t.Errorf("%d %v", len(list), err)
	}
	if err := s.Drop(t.Context(), ann, "sites", "7"); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.Views(t.Context(), ann); len(list) != MaxViews-1 {
		t.Errorf("%d are left", len(list))
	}
	if err := s.Save(t.Context(), ann, View{"sites", "  ", "q"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a name: %v", err)
	}
}
