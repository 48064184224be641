package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// system tries an operation that no kind has. One that is not named here fails
// the test: whoever adds it says what it may tell.
func (m *matrix) system(id, method, path string) {
	m.t.Helper()
	m.cells++
	at := func(tenant string) ask {
		return ask{method: method, path: strings.NewReplacer("{tenant}", tenant, "{control}", "2.1-13", "{name}", m.flooded).Replace(path), header: []string{"Content-Type", "application/json"}}
	}
	with := func(query, body string) func(string) ask {
		return func(tenant string) ask {
			q := at(tenant)
			q.path += strings.ReplaceAll(query, "TENANT", tenant)
			q.body = strings.ReplaceAll(body, "TENANT", tenant)
			return q
		}
	}
	asked, owner, mark := at, m.owner, ""
	switch id {
	case "enter", "enrol", "join": // by a secret that is too long to guess; they name no tenant
		return
	case "signIn":
		asked = with("", `{"tenant":"TENANT","name":"ann","password":"x","code":"1"}`)
		m.same(path, m.as("", asked(marker)), m.as("", asked("nowhere")), marker)
		return
	case "exchangeSession":
		m.silent(path, m.as(m.beta, at("")))
		m.beta = m.fresh("beta")
		return
	case "status", "posture", "postureRun", "auditCheck", "auditCheckpoint":
		owner = m.operator
	case "auditConsistency":
		asked, owner = with("?from=1", ""), m.operator
	case "auditLeaves":
		asked, owner, mark = with("?newest=1000", ""), m.operator, marker
	case "auditExport":
		asked, owner, mark = with("?tenant=TENANT", ""), m.operator, "manifest.json"
	case "events":
		asked, mark = with("?limit=1000", ""), "event-"+marker
		m.silent("all events", m.as(m.beta, asked("-")))
	case "usage":
		mark = "site-of-" + marker
	case "attackEvidence":
		mark = "packets-of-" + marker
	case "traffic":
		mark = "flood-on-" + marker
	case "explainAccess", "access":
		asked, mark = with("?action=site.read&record=site/"+marker, ""), `"allowed":true`
	case "transaction":
		asked = with("", `{"changes":[{"op":"patch","kind":"Site","tenant":"TENANT","name":"TENANT","patch":{"metadata":{"revision":7},"spec":{}}}]}`)
	case "auditErase":
		asked, owner = with("", `{"kind":"site","name":"`+marker+`","reason":"x"}`), m.operator
	case "watch": // see watches
		return
	default:
		m.t.Errorf("%s %s (%s): say in this test what it may tell, and to whom", method, path, id)
		return
	}
	hidden := m.as(m.beta, asked(marker))
	m.same(path, hidden, m.as(m.beta, asked("nowhere")), marker)
	m.silent(path, hidden, marker)
	if hidden.status < 400 {
		m.leak("%s %s: %d %s", method, path, hidden.status, hidden.body)
	}
	a := m.as(owner, asked(marker))
	if good := a.status == 200 || a.status == 409 || a.status == 400 && id == "auditErase"; !good || !strings.Contains(opened(a.body), mark) {
		m.t.Errorf("%s %s: its owner does not get it: %d %.300s", method, path, a.status, a.body)
	}
}

func (m *matrix) fresh(tenant string) string {
	m.t.Helper()
	token, _, err := m.gate.OpenSession(m.t.Context(), identity.Actor{Principal: dayzero.Operator}, resource.Ref{Kind: "User", Tenant: tenant, Name: "ann"}, "")
	if err != nil {
		m.t.Fatal(err)
	}
	return token
}

// watches reads streams: of every kind, alone and all at once, and of events.
func (m *matrix) watches() {
	m.t.Helper()
	var kinds []string
	paths := map[string]*resource.Kind{}
	for _, k := range m.gate.Registry().All() {
		if public(k) {
			continue
		}
		kinds = append(kinds, k.Short)
		tenant, _ := m.home(k)
		paths["/api/v1/"+tenant+"/"+k.Plural+"?watch="], paths["/api/v1/-/"+k.Plural+"?watch="] = k, k
	}
	paths["/api/v1/-/watch?kinds="+strings.Join(kinds, ",")+"&watch="] = m.kind("Site")
	for path, k := range paths {
		_, owner := m.home(k)
		for session, want := range map[string]bool{m.beta: false, owner: true} {
			m.token = session
			w, seen := m.watch(path), false
			for more := true; more; {
				f := w.any()
				b, err := json.Marshal(f)
				if err != nil {
					m.t.Fatal(err)
				}
				seen = seen || strings.Contains(string(b), marker) || f["type"] == "put" && strings.Contains(string(b), m.names[k.Name])
				more = f["type"] != "synced"
			}
			w.close()
			if seen != want {
				m.leak("%s: seen %v, want %v", path, seen, want)
			}
		}
	}
	m.token = m.beta
	mine := m.watch("/api/v1/-/events?follow=true")
	m.token = m.owner
	theirs := m.watch("/api/v1/-/events?follow=true")
	for _, tenant := range []string{marker, "beta"} {
		m.events.Add(events.Event{V: 1, ID: "follow-" + tenant, Time: time.Now(), Part: "edge", Kind: "block", Tenant: tenant})
	}
	mine.next("event", "follow-beta")
	theirs.next("event", "follow-"+marker)
}
