package approvals_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

var alice = identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: "acme", Name: "alice"}, Door: "api", MFA: true}

const asked = "what-is-asked-for"

// acme has alice, who has every right in it, and a site of a class.
func acme(t *testing.T, class string) (*cell, *resource.Object) {
	t.Helper()
	c := start(t)
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {title: A}\n",
		"kind: User\nmetadata: {tenant: acme, name: alice}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: owner}\nspec: {cedar: 'permit (principal == User::\"acme/alice\", action, resource);'}\n",
	} {
		c.does(op, y)
	}
	by := op // a class below the highest is given by two, or while there is one founder
	if class == "production-user" {
		by = alice
	}
	c.does(by, "kind: Site\nmetadata: {tenant: acme, name: shop, labels: {dun.dev/class: "+class+"}}\nspec: {hosts: [a.test], origins: [{url: 'http://127.0.0.1:1'}]}\n")
	o, err := c.Get(t.Context(), alice, resource.Ref{Kind: "Site", Tenant: "acme", Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

// ask makes a request of alice.
func (c *cell) ask(ch ...gate.Change) resource.Ref {
	c.t.Helper()
	_, err := c.Apply(c.t.Context(), gate.Request{Actor: alice, Ask: true, Changes: ch})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		c.t.Fatal(err)
	}
	return w.Request
}

func patch(o *resource.Object, p map[string]any) gate.Change {
	return gate.Change{Op: gate.Patch, Ref: o.Ref(), Revision: o.Metadata.Revision, Patch: p}
}

func noted(class string) map[string]any {
	labels := map[string]any{"note": asked}
	if class != "" {
		labels[resource.LabelClass] = class
	}
	return map[string]any{"metadata": map[string]any{"labels": labels}}
}

// reads is what each way of reading gives somebody of a request.
func (c *cell) reads(a identity.Actor, r resource.Ref) map[string]string {
	c.t.Helper()
	ctx := c.t.Context()
	out := map[string]string{}
	say := func(name string, v any, err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatalf("%s as %s: %v", name, a, err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			c.t.Fatal(err)
		}
		out[name] += string(b)
	}
	o, err := c.Get(ctx, a, r)
	say("get", o, err)
	l, err := c.List(ctx, a, gate.ListOptions{Kind: r.Kind, Tenant: gate.AllTenants})
	say("list", l, err)
	h, err := c.History(ctx, a, r, 0, 0)
	say("history", h, err)
	then, err := c.GetAt(ctx, a, r, o.Metadata.Revision, time.Time{})
	say("revision", then, err)
	list, err := c.Gate.Asked(ctx, a, o)
	say("difference", list, err)
	p, err := c.Prove(ctx, a, r, 0)
	for _, v := range p.Entry.Values {
		say("proof", string(v), err)
	}
	f, err := c.Watch(a, []string{r.Kind}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := f.Next(ctx)
	say("watch", b, err)
	// What comes while one watches: the status that the service tells.
	if _, err := c.SetStatus(ctx, identity.Service(access.ApprovalService), r, &access.ChangeRequestStatus{Replayed: len(a.Principal.Tenant) + int(c.At().Revision), Days: 30, Different: 1, Denied: []string{asked}}); err != nil {
		c.t.Fatal(err)
	}
	b, err = f.Next(ctx)
	say("watch", b, err)
	if a == alice {
		return out // reads no log
	}
	book, err := c.Book(a, gate.MainLog)
	if err != nil {
		c.t.Fatal(err)
	}
	leaves, err := book.Leaves(ctx, 0, gate.MaxPage)
	for _, x := range leaves {
		for _, v := range x.Values {
			say("log", string(v), err)
		}
	}
	var bundle bytes.Buffer
	err = book.Export(ctx, &bundle, nil)
	say("export", values(c.t, bundle.Bytes()), err)
	return out
}

// values is what a bundle says, in plain text.
func values(t *testing.T, bundle []byte) string {
	t.Helper()
	out := ""
	for _, quoted := range regexp.MustCompile(`"[A-Za-z0-9+/]{40,}={0,2}"`).FindAll(bundle, -1) {
		b, err := base64.StdEncoding.DecodeString(string(bytes.Trim(quoted, `"`)))
		if err == nil {
			out += string(b)
		}
	}
	return out
}

// TestARequestShowsItsContentToWhoReadsTheRecord: whoever may decide it sees
// that there is one, and what it is about.
func TestARequestShowsItsContentToWhoReadsTheRecord(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		now, then string // class of the record, and of what is asked for
		raised    string // class that it has when it is read
		shown     bool   // to those of the platform
	}{
		"neither":  {now: "internal", then: "", shown: true},
		"present":  {now: "production-user", then: "internal"},
		"proposed": {now: "internal", then: "production-user"},
		"both":     {now: "production-user", then: ""},
		"since":    {now: "internal", then: "", raised: "production-user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, site := acme(t, tt.now)
			r := c.ask(patch(site, noted(tt.then)))
			if tt.raised != "" {
				if _, err := c.Apply(t.Context(), gate.Request{Actor: alice, Changes: []gate.Change{patch(site, map[string]any{"metadata": map[string]any{"labels": map[string]any{resource.LabelClass: tt.raised}}})}}); err != nil {
					t.Fatal(err)
				}
			}
			for way, got := range c.reads(op, r) {
				if strings.Contains(got, asked) != tt.shown {
					t.Errorf("%s: shown is %v, want %v: %s", way, !tt.shown, tt.shown, got)
				}
				if mark := strings.Contains(got, `"withheld":true`); (way == "get" || way == "list" || way == "history" || way == "watch") && mark == tt.shown {
					t.Errorf("%s: marked as withheld is %v: %s", way, mark, got)
				}
			}
			for way, got := range c.reads(alice, r) {
				if !strings.Contains(got, asked) {
					t.Errorf("%s: hidden from who reads the record: %s", way, got)
				}
			}
		})
	}
}

// TestWhoMayNotReadMayDecide: and his answer shows no more than the rest does.
func TestWhoMayNotReadMayDecide(t *testing.T) {
	t.Parallel()
	c, site := acme(t, "production-user")
	r := c.ask(patch(site, noted("")))
	o, err := c.Get(t.Context(), op, r)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Apply(t.Context(), gate.Request{Actor: op, IdempotencyKey: "k", Changes: []gate.Change{{Op: gate.Act, Ref: r, Verb: "approve", Revision: o.Metadata.Revision}}})
	if err != nil {
		t.Fatal(err)
	}
	if s := out[0].Object.Spec.(*access.ChangeRequestSpec); s.Changes[0].Content != "" || !s.Changes[0].Withheld || s.Changes[0].Name != "shop" {
		t.Errorf("%+v", s.Changes)
	}
	c.run()
	now, err := c.Get(t.Context(), alice, r)
	if err != nil {
		t.Fatal(err)
	}
	site, err = c.Get(t.Context(), alice, site.Ref())
	if err != nil || site.Metadata.Labels["note"] != asked || now.State.(*access.ChangeRequestState).Phase != access.PhaseDone || now.Spec.(*access.ChangeRequestSpec).Changes[0].Content == "" {
		t.Errorf("%v %+v %+v", err, site.Metadata, now.State)
	}
	for way, got := range c.reads(op, r) { // also of what is over
		if strings.Contains(got, asked) {
			t.Errorf("%s, once it is done: %s", way, got)
		}
	}
}

// TestOneHiddenRecordHidesARequest: the records of a request may lie in each
// other.
func TestOneHiddenRecordHidesARequest(t *testing.T) {
	t.Parallel()
	c, site := acme(t, "production-user")
	open := object(t, "kind: Site\nmetadata: {tenant: acme, name: open, labels: {note: "+asked+", dun.dev/class: internal}}\nspec: {hosts: [b.test], origins: [{url: 'http://127.0.0.1:1'}]}\n")
	r := c.ask(gate.Change{Op: gate.Put, Ref: open.Ref(), Object: open}, patch(site, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}))
	for way, got := range c.reads(op, r) {
		if strings.Contains(got, asked) {
			t.Errorf("%s: %s", way, got)
		}
	}
}

// TestWhyARequestFailedIsContent: it may repeat what was asked for.
func TestWhyARequestFailedIsContent(t *testing.T) {
	t.Parallel()
	c, site := acme(t, "production-user")
	r := c.ask(patch(site, noted("")))
	end := access.RequestEndInput{Phase: access.PhaseFailed, Outcome: asked}
	for _, step := range []struct {
		by identity.Actor
		gate.Change
	}{{op, gate.Change{Verb: "approve"}}, {identity.Service(access.ApprovalService), gate.Change{Verb: "end", Input: end}}} {
		o, err := c.Get(t.Context(), alice, r)
		if err != nil {
			t.Fatal(err)
		}
		step.Op, step.Ref, step.Revision = gate.Act, r, o.Metadata.Revision
		if _, err := c.Apply(t.Context(), gate.Request{Actor: step.by, Changes: []gate.Change{step.Change}}); err != nil {
			t.Fatal(err)
		}
	}
	for way, got := range c.reads(op, r) {
		if strings.Contains(got, asked) {
			t.Errorf("%s: %s", way, got)
		}
	}
}

// TestARequestOfAnUnknownBaseIsWithheld: where the history of the record is
// gone, nobody can tell what the patch would make.
func TestARequestOfAnUnknownBaseIsWithheld(t *testing.T) {
	t.Parallel()
	c, site := acme(t, "internal")
	r := c.ask(patch(site, noted("")))
	if _, err := c.Apply(t.Context(), gate.Request{Actor: alice, Changes: []gate.Change{{Op: gate.Delete, Ref: site.Ref(), Revision: site.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	if got := c.reads(op, r)["get"]; !strings.Contains(got, asked) {
		t.Errorf("while its history is there: %s", got)
	}
	if _, err := c.Erase(t.Context(), op, site.Ref(), "asked by the tenant"); err != nil {
		t.Fatal(err)
	}
	for _, a := range []identity.Actor{op, alice} {
		if got := c.reads(a, r); strings.Contains(got["get"], asked) || !strings.Contains(got["get"], `"withheld":true`) {
			t.Errorf("%s: %s", a, got["get"])
		}
	}
}
