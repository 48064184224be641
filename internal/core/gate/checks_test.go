package gate_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
)

func (c *cell) posture(checks ...assurance.Check) *assurance.Registry {
	c.t.Helper()
	if checks == nil {
		checks = c.Checks()
	}
	r, err := assurance.NewRegistry("n1", c.RecordCheck, time.Now, checks...)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func TestTheLogsChecksProveAndLeaveALeaf(t *testing.T) {
	c := newCell(t)
	r := c.posture()
	for _, control := range []string{"2.1-13", "5.3-4"} {
		res, err := r.Run(t.Context(), operator, control)
		if err != nil || res.State != assurance.Proved || len(res.Evidence) < 2 {
			t.Fatalf("%s: %+v %v", control, res, err)
		}
		list, err := c.book("").Leaves(t.Context(), uint64(c.LogSize()-1), 1)
		if err != nil {
			t.Fatal(err)
		}
		l, _ := audit.ParseLeaf(list[0].Leaf)
		if l.Class != audit.Check || l.Kind != "Control" || l.Action != "proved" || string(list[0].Values[audit.FieldName]) != control || !strings.Contains(string(list[0].Values[audit.FieldReason]), `"evidence"`) {
			t.Errorf("%+v %s", l, list[0].Values)
		}
	}
	c.check()
}

// A log that is not signed in time is not an audit in real time.
func TestControl2_1_13Broken(t *testing.T) {
	hold := make(chan struct{})
	c := newCell(t, func(c *cell) {
		c.signer = func(s note.Signer) note.Signer { return &stuckSigner{s, hold} }
	})
	defer close(hold)
	res, err := c.posture(c.RealTime(300*time.Millisecond)).Run(t.Context(), operator, "2.1-13")
	if err != nil || res.State != assurance.Failed {
		t.Errorf("%+v %v", res, err)
	}
}

type stuckSigner struct {
	note.Signer
	hold chan struct{}
}

func (s *stuckSigner) Sign(b []byte) ([]byte, error) {
	<-s.hold
	return s.Signer.Sign(b)
}

// Evidence that was edited is found by whoever asks, and not handed out as proof.
func TestControl5_3_4Broken(t *testing.T) {
	for name, edit := range map[string]string{
		"payload": `UPDATE payload SET actor=CAST('User platform/someone' AS BLOB) WHERE seq=2`,
		"leaf":    `UPDATE leaf SET body=substr(body,1,60) WHERE seq=3`,
		"gone":    `DELETE FROM leaf WHERE seq=4`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t)
			c.damage(t, func(d *sql.DB) error {
				_, err := d.Exec(edit)
				return err
			})
			res, err := c.posture().Run(t.Context(), operator, "5.3-4")
			if res.State == assurance.Proved {
				t.Errorf("%+v", res)
			}
			if err != nil && !fault.Is(err, fault.Unavailable) {
				t.Error(err)
			}
			if name == "payload" && (err != nil || res.State != assurance.Failed) {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
}

func TestTheServiceOfTheChecksMayLittle(t *testing.T) {
	c := newCell(t)
	p := identity.Service(gate.Posture)
	_, err := c.put(p, "kind: Tenant\nmetadata: {tenant: platform, name: dun-canary}\nspec: {originNetworks: [10.0.0.0/8]}\n")
	wantCode(t, err, fault.Forbidden)
	_, err = c.put(p, tenant("other"))
	wantCode(t, err, fault.Forbidden)
	if _, err = c.put(p, tenant("dun-canary")); err != nil {
		t.Fatal(err)
	}
	if _, err = c.put(p, site("dun-canary", "a", "", "a.test")); err != nil {
		t.Error(err)
	}
	_, err = c.put(p, site("platform", "a", "", "b.test"))
	wantCode(t, err, fault.NotFound)
	r, err := c.Get(t.Context(), p, tenantRef("dun-canary"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.patch(p, gate.Result{Ref: r.Ref(), Revision: r.Metadata.Revision}, map[string]any{"spec": map[string]any{"originNetworks": []string{"10.0.0.0/8"}}})
	wantCode(t, err, fault.Forbidden)
}
