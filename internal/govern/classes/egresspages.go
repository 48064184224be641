package classes

import (
	"fmt"
	"net/url"
	"strings"
)

// page is one address of API or console, and what in its answer is the record.
type page struct {
	name, path string
	needle     string // never a part of the path, which an answer may repeat
	form       string // of a POST; "" = GET
	operators  bool   // of the platform's log: no tenant has it, so it has no twin here
	stop       string // of a stream of records: what shows that it has come past the marker
	follows    bool   // a stream of events: one is told as soon as it is open
}

func (p page) api() bool { return strings.HasPrefix(p.path, "/api/") }

// pagesOf lists every address that shows content of a ban, of its events or of
// the log. One that is added to API or console is added here.
func pagesOf(s *stage) []page {
	name, marker := s.Ref.Name, s.Marker
	api, one, q := "/api/v1/"+canaryTenant, "/records/bans/"+canaryTenant+"/"+name, url.QueryEscape("check="+checkName)
	const synced = `"type":"synced"`
	event := name // is in no path of events
	return []page{
		{name: "API record", path: api + "/bans/" + name, needle: marker},
		{name: "API record at a revision", path: fmt.Sprintf("%s/bans/%s?revision=%d", api, name, s.First), needle: marker},
		{name: "API list", path: api + "/bans?labels=" + q, needle: marker},
		{name: "API list of all tenants", path: "/api/v1/-/bans?limit=1000&labels=" + q, needle: marker},
		{name: "API watch", path: api + "/bans?watch=", needle: marker, stop: synced},
		{name: "API watch of several kinds", path: "/api/v1/-/watch?watch=&kinds=ban%2Csite", needle: marker, stop: synced},
		{name: "API history", path: api + "/bans/" + name + "/history", needle: marker},
		{name: "API proof", path: api + "/bans/" + name + "/proof", needle: marker},
		{name: "API access", path: api + "/access?action=ban.read&record=ban%2F" + name, needle: `"allowed":true`},
		{name: "API events", path: api + "/events?kind=canary", needle: event},
		{name: "API events of all tenants", path: "/api/v1/-/events?kind=canary", needle: event},
		{name: "API events as they come", path: api + "/events?kind=canary&follow=true", needle: event, follows: true},
		{name: "API events of all tenants as they come", path: "/api/v1/-/events?kind=canary&follow=true", needle: event, follows: true},
		{name: "API usage", path: api + "/usage", needle: `"tenant":"` + canaryTenant + `"`},
		{name: "API audit log", path: "/api/v1/-/audit/leaves?newest=1000", needle: marker, operators: true},
		{name: "API export", path: fmt.Sprintf("/api/v1/-/audit/export?from=%d", s.log), needle: marker, operators: true},
		{name: "console record", path: one, needle: marker},
		{name: "console form", path: one + "/edit", needle: marker},
		{name: "console YAML", path: one + "/edit?as=yaml", needle: marker},
		{name: "console history", path: one + "/history", needle: marker},
		{name: "console difference", path: fmt.Sprintf("%s/history?from=%d&to=%d", one, s.First, s.Second), needle: marker},
		{name: "console revert", path: fmt.Sprintf("%s/revert?to=%d", one, s.First), needle: marker},
		{name: "console proof", path: one + "/proof", needle: name + "/bundle"},
		{name: "console bundle", path: one + "/bundle", form: "revision=0", needle: marker},
		{name: "console list", path: "/records/bans?tenant=" + canaryTenant, needle: name},
		{name: "console search", path: "/search?q=" + q, needle: name},
		{name: "console events", path: "/events?kind=canary&live=off", needle: event},
		{name: "console events as they come", path: "/events/live?kind=canary", needle: event, follows: true},
		{name: "console request", path: "/blocks/" + s.request, needle: event},
		{name: "console usage", path: "/usage?tenant=" + canaryTenant, needle: "<bdi>" + canaryTenant + "</bdi>"},
		{name: "console audit log", path: "/audit", needle: name, operators: true},
		{name: "console audit export", path: "/audit/export", form: fmt.Sprintf("seq=%d", s.log), needle: marker, operators: true},
	}
}
