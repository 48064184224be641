package gate_test

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds"
)

// What a new kind costs: this declaration, and one line where it is listed.
type lampSpec struct {
	Room   string            `json:"room" required:"true" format:"name" en:"Room" zh:"房间"`
	Watts  int               `json:"watts,omitempty" min:"1" max:"100" en:"Power" zh:"功率"`
	Socket string            `json:"socket" required:"true" max:"16" en:"Socket" zh:"插座"`
	After  resource.Duration `json:"after,omitempty" en:"Off after" zh:"自动关闭"`
}

func lamp() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Lamp", Plural: "lamps", Short: "lamp", Scope: resource.ScopeTenant, Nav: "house", Version: 1,
		Title: text.T("Lamp", "灯"), Doc: text.T("A lamp in a room.", "房间里的灯。"),
		Columns: []resource.Column{{Title: text.T("Room", "房间"), Value: func(o *resource.Object) string { return o.Spec.(*lampSpec).Room }}},
		Example: "kind: Lamp\nmetadata: {tenant: platform, name: a}\nspec: {room: hall, socket: s1}\n", Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
	}, resource.Behaviour[lampSpec]{
		Validate: func(_ *resource.Metadata, s *lampSpec, r *resource.Report) {
			if s.Room == "cellar" && s.Watts > 40 {
				r.Add("spec.watts", "the cellar takes %d", "地下室至多 %d", 40)
			}
		},
		Unique: func(_ *resource.Metadata, s *lampSpec) []resource.Claim {
			return []resource.Claim{{Path: "spec.socket", Value: s.Socket}}
		},
	})
}

func TestANewKindIsOneFileAndOneLine(t *testing.T) {
	c := newCell(t, func(c *cell) {
		var err error
		if c.reg, err = resource.NewRegistry(append(kinds.All(), lamp())...); err != nil {
			t.Fatal(err)
		}
	})
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "light", `permit (principal in Role::"acme/light", action in [Action::"lamp.read", Action::"lamp.update"], resource is Lamp) when { resource.spec.watts < 60 };`)
	const hall = "kind: Lamp\nmetadata: {tenant: acme, name: hall}\nspec: {room: hall, watts: 20, socket: s1, after: 1h}\n"

	k, err := c.reg.Find("lamps")
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(k.Schema()); len(k.Fields()) != 4 || s == "" {
		t.Error(s)
	}
	docs, err := resource.ParseYAML([]byte("kind: Lamp\nmetadata: {tenant: acme, name: x}\nspec: {room: Hall, wats: 5, socket: s9}\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.reg.Decode(docs[0])
	wantField(t, err, "spec.room")
	wantField(t, err, "spec.wats")

	m := c.watch(t, ann, nil, "Lamp")
	m.next()
	r := c.must(hall)
	_, err = c.put(operator, "kind: Lamp\nmetadata: {tenant: acme, name: b}\nspec: {room: cellar, watts: 60, socket: s2}\n")
	wantField(t, err, "spec.watts")
	_, err = c.put(operator, "kind: Lamp\nmetadata: {tenant: platform, name: b}\nspec: {room: hall, socket: s1}\n")
	wantCode(t, err, fault.Conflict)
	watts := func(n int) map[string]any { return map[string]any{"spec": map[string]any{"watts": n}} }
	r2, err := c.patch(ann, r, watts(30))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.patch(ann, r2, watts(80))
	wantCode(t, err, fault.Forbidden)
	wantCode(t, c.remove(ann, r2), fault.Forbidden)

	c.reopen()
	if o, err := c.Get(t.Context(), ann, r.Ref); err != nil || o.Spec.(*lampSpec).Watts != 30 || o.Spec.(*lampSpec).After.String() != "1h" {
		t.Errorf("%+v %v", o, err)
	}
	if got := c.names(ann, gate.ListOptions{Kind: "Lamp", Tenant: gate.AllTenants}); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if got := actions(c.history(ann, r.Ref, 0, 0)); len(got) != 2 {
		t.Errorf("%v", got)
	}
	m = c.watch(t, ann, nil, "lamp")
	if m.next(); len(m.has) != 1 {
		t.Errorf("%v", m.has)
	}
	p, err := c.Prove(t.Context(), ann, r.Ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	head, err := audit.OpenCheckpoint(p.Checkpoint, c.vkey)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(p.Entry.Inclusion, head.Size, head.Root, int64(p.Entry.Seq), audit.LeafHash(p.Entry.Leaf)); err != nil {
		t.Error(err)
	}
	if err := c.remove(operator, r2); err != nil {
		t.Fatal(err)
	}
	if m.until(c.At().Revision); len(m.has) != 0 {
		t.Errorf("%v", m.has)
	}
	c.check()
}
