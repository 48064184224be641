package gate

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
)

func FuzzCursor(f *testing.F) {
	f.Add(cursor("e1", "acme", "a"))
	f.Add(cursor("e2", "acme", "a"))
	f.Add("")
	f.Add("ZTEAYWNtZQBh")
	f.Add("%%")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parseCursor(s, "e1")
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if (o == nil) != (s == "") {
			t.Fatalf("%q is read as %v", s, o)
		}
		if o == nil {
			return
		}
		again, err := parseCursor(cursor("e1", o.Metadata.Tenant, o.Metadata.Name), "e1")
		if err != nil || again.Metadata.Tenant != o.Metadata.Tenant || again.Metadata.Name != o.Metadata.Name {
			t.Fatalf("%q is read as %v and then as %v, %v", s, o, again, err)
		}
	})
}
