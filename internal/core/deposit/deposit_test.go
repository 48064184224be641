package deposit_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

const canary = "canary-7f3e-deposit"

// A safe has a lock, which the record says, and a key that must fit it.
type safeSpec struct {
	Lock string `json:"lock" required:"true" en:"Lock" zh:"锁"`
}

type safeState struct {
	Key  string `json:"key,omitempty" en:"Key" zh:"钥匙"`
	Fits string `json:"fits,omitempty" en:"Fits" zh:"适用"`
}

func safe() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Safe", Plural: "safes", Short: "safe", Scope: resource.ScopeTenant, Nav: "vault", Title: resource.T("Safe", "保险箱"), Doc: resource.T("A safe.", "保险箱。"), Version: 1,
		Columns: []resource.Column{{Title: resource.T("Lock", "锁"), Value: func(o *resource.Object) string { return o.Spec.(*safeSpec).Lock }}},
		Example: "kind: Safe\nmetadata: {tenant: platform, name: s}\nspec: {lock: a}\n", Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
		NewState: func() any { return &safeState{} },
		Verbs: []resource.Verb{
			resource.OnSecret(resource.Verb{Name: "key", Title: resource.T("Key", "钥匙"), Doc: resource.T("Puts the key.", "存入钥匙。")},
				resource.Secret{Max: 64, Check: func(o *resource.Object, content []byte, r *resource.Report) string {
					lock := o.Spec.(*safeSpec).Lock
					if !strings.HasPrefix(string(content), lock+":") {
						r.Add("key", "does not fit", "不匹配")
					}
					return lock
				}},
				func(a resource.Act[safeSpec, safeState, resource.Sealed]) error {
					*a.State = safeState{Key: a.Input.Ref, Fits: a.Input.Fingerprint}
					return nil
				}),
			resource.On(resource.Verb{Name: "audit", By: "inspector", Title: resource.T("Audit", "检查"), Doc: resource.T("Looks.", "检查。")},
				func(resource.Act[safeSpec, safeState, resource.None]) error { return nil }),
		},
	}, resource.Behaviour[safeSpec]{})
}

type scene struct {
	t    *testing.T
	g    *gate.Gate
	s    *secret.Store
	db   *db.SQLite
	uses []secret.Use
}

var operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}

func newScene(t *testing.T) *scene {
	t.Helper()
	c := &scene{t: t, g: lab.Gate(t, lab.Kinds(t, safe()))}
	if err := dayzero.Run(t.Context(), c.g, "test"); err != nil {
		t.Fatal(err)
	}
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.key")
	if err := k.Write(file); err != nil {
		t.Fatal(err)
	}
	if c.db, err = db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close() })
	c.s, err = secret.Open(t.Context(), secret.Options{DB: c.db, KeyFile: file, Record: func(_ context.Context, _ identity.Actor, u secret.Use) error {
		c.uses = append(c.uses, u)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *scene) rows() (n int) {
	c.t.Helper()
	if err := c.db.Reader.QueryRow(`SELECT COUNT(*) FROM secrets`).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func ref(name string) resource.Ref { return resource.Ref{Kind: "Safe", Tenant: "platform", Name: name} }

func (c *scene) put(name, lock string) *resource.Object {
	c.t.Helper()
	out, err := c.g.Apply(c.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: ref(name), Object: &resource.Object{Kind: "Safe", Metadata: resource.Metadata{Tenant: "platform", Name: name}, Spec: &safeSpec{Lock: lock}}}}})
	if err != nil {
		c.t.Fatal(err)
	}
	return out[0].Object
}

func TestASecretIsPutThroughTheGate(t *testing.T) {
	c := newScene(t)
	c.put("s", "a")
	content := []byte("a:" + canary)
	req := deposit.Request{Actor: operator, Ref: ref("s"), Verb: "key", Reason: "new lock"}
	res, err := deposit.Put(t.Context(), c.g, c.s, req, content)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte(canary)) {
		t.Error("what was handed over is not wiped")
	}
	st := res.Object.State.(*safeState)
	v, err := c.s.OpenOf(t.Context(), operator, res.Object.Ref(), secret.Ref(st.Key), "safe-key")
	if err != nil || string(v.Reveal()) != "a:"+canary || st.Fits != "a" {
		t.Errorf("%+v opens as %q: %v", st, v.Reveal(), err)
	}
	other := c.put("other", "a")
	if _, err := c.s.OpenOf(t.Context(), operator, other.Ref(), secret.Ref(st.Key), "safe-key"); !fault.Is(err, fault.NotFound) {
		t.Errorf("another record opens it: %v", err)
	}
	again, err := deposit.Put(t.Context(), c.g, c.s, req, []byte("a:second"))
	if err != nil || c.rows() != 1 {
		t.Errorf("replaced: %v, %d rows; the old one is to go", err, c.rows())
	}
	if again.Object.State.(*safeState).Key == st.Key {
		t.Error("the reference did not move")
	}
}

func TestWhatIsRefusedStoresNothing(t *testing.T) {
	c := newScene(t)
	o := c.put("s", "a")
	at := c.g.At()
	nobody := identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "nobody"}, Door: "test"}
	for what, tt := range map[string]struct {
		actor   identity.Actor
		name    string
		verb    string
		content string
		rev     uint64
		code    fault.Code
	}{
		"it does not fit":      {operator, "s", "key", "b:" + canary, 0, fault.Invalid},
		"empty":                {operator, "s", "key", "", 0, fault.Invalid},
		"too large":            {operator, "s", "key", "a:" + strings.Repeat("x", 64), 0, fault.Invalid},
		"no right":             {nobody, "s", "key", "a:" + canary, 0, fault.NotFound},
		"no record":            {operator, "none", "key", "a:" + canary, 0, fault.NotFound},
		"no verb":              {operator, "s", "lock", "a:" + canary, 0, fault.NotFound},
		"a verb without":       {operator, "s", "audit", "a:" + canary, 0, fault.Invalid},
		"an older revision":    {operator, "s", "key", "a:" + canary, o.Metadata.Revision + 9, fault.Conflict},
		"with: does not fit":   {operator, "new", "key", "b:" + canary, 1, fault.Invalid},
		"with: no right":       {nobody, "new", "key", "a:" + canary, 1, fault.NotFound},
		"with: invalid record": {operator, "Bad Name", "key", "a:" + canary, 1, fault.Invalid},
	} {
		req := deposit.Request{Actor: tt.actor, Ref: ref(tt.name), Verb: tt.verb, Revision: tt.rev}
		var err error
		if strings.HasPrefix(what, "with:") {
			req.Revision = 0
			_, err = deposit.PutWith(t.Context(), c.g, c.s, req, &resource.Object{Kind: "Safe", Spec: &safeSpec{Lock: "a"}}, []byte(tt.content))
		} else {
			_, err = deposit.Put(t.Context(), c.g, c.s, req, []byte(tt.content))
		}
		if !fault.Is(err, tt.code) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v, want %s", what, err, tt.code)
		}
	}
	if c.rows() != 0 || len(c.uses) != 0 || c.g.At() != at {
		t.Errorf("%d secrets, %v, revision %v after %v", c.rows(), c.uses, c.g.At(), at)
	}
}

// Nobody names a secret of somebody else, and nobody plays the service.
func TestTheGateTakesNoReferenceFromPeople(t *testing.T) {
	c := newScene(t)
	o := c.put("s", "a")
	for verb, input := range map[string]any{"key": map[string]any{"ref": "s-aaaaaaaaaaaaaaaaaaaaaaaaaa"}, "audit": nil} {
		_, err := c.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Act, Ref: ref("s"), Verb: verb, Input: input, Revision: o.Metadata.Revision}}})
		if want := map[string]fault.Code{"key": fault.Invalid, "audit": fault.Forbidden}[verb]; !fault.Is(err, want) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// A change that the gate refuses takes the secret along.
func TestASecretWhoseVerbFailsIsForgotten(t *testing.T) {
	c := newScene(t)
	c.put("s", "a")
	_, err := deposit.Put(t.Context(), broken{c.g}, c.s, deposit.Request{Actor: operator, Ref: ref("s"), Verb: "key"}, []byte("a:"+canary))
	if err == nil || c.rows() != 0 {
		t.Errorf("%v, %d secrets stay", err, c.rows())
	}
}

type broken struct{ *gate.Gate }

func (broken) Apply(context.Context, gate.Request) ([]gate.Result, error) {
	return nil, errors.New("no disk")
}

func TestRecordAndSecretTogether(t *testing.T) {
	c := newScene(t)
	for i, lock := range []string{"a", "b"} { // made, then replaced
		res, err := deposit.PutWith(t.Context(), c.g, c.s, deposit.Request{Actor: operator, Ref: ref("s"), Verb: "key"}, &resource.Object{Kind: "Safe", Spec: &safeSpec{Lock: lock}}, []byte(lock+":"+canary))
		if err != nil {
			t.Fatal(i, err)
		}
		if st := res.Object.State.(*safeState); st.Fits != lock || res.Object.Spec.(*safeSpec).Lock != lock || c.rows() != 1 {
			t.Errorf("%d: %+v, %d secrets", i, st, c.rows())
		}
	}
}
