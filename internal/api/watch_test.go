package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// watcher reads a stream line by line.
type watcher struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

func (d *door) watch(path string) *watcher {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", d.srv.URL+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" {
		d.t.Fatalf("%s: %s", path, res.Status)
	}
	w := &watcher{d.t, bufio.NewScanner(res.Body), func() { cancel(); res.Body.Close() }}
	w.lines.Buffer(nil, 1<<20)
	d.t.Cleanup(w.close)
	return w
}

// any reads a frame.
func (w *watcher) any() map[string]any {
	w.t.Helper()
	if !w.lines.Scan() {
		w.t.Fatalf("the stream ended: %v", w.lines.Err())
	}
	var f map[string]any
	if err := json.Unmarshal(w.lines.Bytes(), &f); err != nil {
		w.t.Fatal(err)
	}
	return f
}

// next reads a frame and wants its type; what follows must be in the line.
func (w *watcher) next(typ string, words ...string) map[string]any {
	w.t.Helper()
	f := w.any()
	if f["v"] != 1.0 || f["type"] != typ {
		w.t.Fatalf("want %s, got %s", typ, w.lines.Text())
	}
	for _, x := range words {
		if !strings.Contains(w.lines.Text(), x) {
			w.t.Fatalf("%q is missing in %s", x, w.lines.Text())
		}
	}
	return f
}

func (d *door) ban(name, label string) string {
	d.t.Helper()
	a := d.call("PUT", "/api/v1/platform/bans/"+name, `{"kind":"Ban","metadata":{"tenant":"platform","name":"`+name+`","labels":{"l":"`+label+`"}},"spec":{"action":"ban","sources":["203.0.113.1"]}}`)
	if a.status != 201 {
		d.t.Fatalf("%d %s", a.status, a.body)
	}
	return a.header.Get("Dun-Revision")
}

func TestAWatchTellsWhatMoves(t *testing.T) {
	d := newDoor(t)
	d.ban("a", "x")
	w := d.watch("/api/v1/platform/bans?watch=")
	w.next("put", `"name":"a"`)
	at := w.next("synced")["at"].(string)
	rev := d.ban("b", "x")
	w.next("put", `"name":"b"`)
	d.call("DELETE", "/api/v1/platform/bans/b?revision="+rev, "")
	w.next("delete", `"name":"b"`, `"ref"`)
	d.call("PUT", "/api/v1/platform/sites/shop", site) // not of this kind
	d.ban("c", "x")
	w.next("put", `"name":"c"`)

	// Resumed at a position: only what came after it.
	r := d.watch("/api/v1/platform/bans?watch=" + url.QueryEscape(at))
	r.next("put", `"name":"b"`)
	r.next("delete", `"name":"b"`)
	r.next("put", `"name":"c"`)

	// Several kinds in one stream.
	m := d.watch("/api/v1/-/watch?kinds=site,ban&watch=")
	m.next("put", `"kind":"Site"`)
	m.next("put", `"name":"a"`)
	m.next("put", `"name":"c"`)
	m.next("synced")
}

func TestARecordThatLeavesTheFilterArrivesAsDelete(t *testing.T) {
	d := newDoor(t)
	rev := d.ban("a", "x")
	fresh := d.watch("/api/v1/platform/bans?watch=&labels=l%3Dx")
	fresh.next("put", `"name":"a"`)
	at := fresh.next("synced")["at"].(string)
	resumed := d.watch("/api/v1/platform/bans?labels=l%3Dx&watch=" + url.QueryEscape(at))
	d.ban("never", "y")
	if a := d.call("PATCH", "/api/v1/platform/bans/a", `{"metadata":{"revision":`+rev+`,"labels":{"l":"y"}}}`); a.status != 200 {
		t.Fatal(a.body)
	}
	fresh.next("delete", `"name":"a"`)
	resumed.next("delete", `"name":"a"`)
}

func TestAWatchEndsWhenItsGroundMoves(t *testing.T) {
	d := newDoor(t)
	d.ban("a", "x")
	w := d.watch("/api/v1/platform/bans?watch=")
	w.next("put")
	w.next("synced")
	// Policy moves: list again.
	if a := d.call("PUT", "/api/v1/platform/roles/r", `{"kind":"Role","metadata":{"tenant":"platform","name":"r"},"spec":{}}`); a.status != 201 {
		t.Fatal(a.body)
	}
	if a := d.call("PUT", "/api/v1/platform/users/u", `{"kind":"User","metadata":{"tenant":"platform","name":"u"},"spec":{}}`); a.status != 201 {
		t.Fatal(a.body)
	}
	// Neither moved what this watcher sees; a policy may.
	d.ban("b", "x")
	w.next("put", `"name":"b"`)
	if a := d.call("PUT", "/api/v1/platform/policies/p", `{"kind":"Policy","metadata":{"tenant":"platform","name":"p"},"spec":{"cedar":"forbid (principal, action, resource is Ban) when { resource.name == \"a\" };"}}`); a.status != 201 {
		t.Fatal(a.body)
	}
	w.next("gone")

	// A position of another epoch: gone at once.
	d.watch("/api/v1/platform/bans?watch=nothere.3").next("gone")
	if a := d.call("GET", "/api/v1/platform/bans?watch=nonsense", ""); a.status != 400 {
		t.Errorf("%d", a.status)
	}

	// A session that ended: cut at the next frame.
	s := d.watch("/api/v1/platform/bans?watch=")
	s.next("put")
	s.next("synced")
	if _, _, err := d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, dayzero.Operator, d.token); err != nil {
		t.Fatal(err)
	}
	var err error
	var token string
	if token, _, err = d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, dayzero.Operator, ""); err != nil {
		t.Fatal(err)
	}
	d.token = token
	d.ban("z", "x")
	s.next("error", "unauthenticated")

	// The server stops: the stream ends.
	e := d.watch("/api/v1/platform/bans?watch=")
	e.next("put")
	e.next("put")
	e.next("synced")
	d.api.Stop()
	if e.lines.Scan() {
		t.Errorf("after the end: %s", e.lines.Text())
	}
}

func TestEventsAreFollowed(t *testing.T) {
	d := newDoor(t)
	w := d.watch("/api/v1/-/events?follow=true&kind=block")
	d.events.Add(events.Event{Time: time.Now(), Kind: "ban", Tenant: "platform", Request: "r1"})
	d.events.Add(events.Event{Time: time.Now(), Kind: "block", Tenant: "platform", Request: "r2"})
	w.next("event", `"request":"r2"`)
	d.events.Add(events.Event{Time: time.Now(), Kind: "block", Tenant: "nobody", Request: "r3"}) // of no tenant that is seen
	d.events.Add(events.Event{Time: time.Now(), Kind: "block", Tenant: "platform", Request: "r4"})
	w.next("event", `"request":"r4"`)
	// A session that ended sees nothing more.
	if _, _, err := d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, dayzero.Operator, d.token); err != nil {
		t.Fatal(err)
	}
	d.events.Add(events.Event{Time: time.Now(), Kind: "block", Tenant: "platform", Request: "r5"})
	w.next("error", "unauthenticated")
}
