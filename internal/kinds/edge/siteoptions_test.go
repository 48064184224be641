package edge

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

func TestOptionsOfASiteThatAreRefused(t *testing.T) {
	k := Site()
	for name, tt := range map[string]struct{ options, field string }{
		"line end in a directive":  {`headers: {csp: {directives: ["default-src 'self'\r\nX: y"]}}`, "spec.headers.csp.directives[0]"},
		"two policies in one":      {`headers: {csp: {directives: ["default-src a; script-src b"]}}`, "spec.headers.csp.directives[0]"},
		"directive twice":          {`headers: {csp: {directives: [img-src a, img-src b]}}`, "spec.headers.csp.directives[1]"},
		"no directive":             {`headers: {csp: {directives: ["'self'"]}}`, "spec.headers.csp.directives[0]"},
		"preload without a year":   {`headers: {hsts: {preload: true, subdomains: true, maxAge: 30d}}`, "spec.headers.hsts.preload"},
		"HSTS for a second":        {`headers: {hsts: {maxAge: 1s}}`, "spec.headers.hsts.maxAge"},
		"unknown referrer policy":  {`headers: {referrerPolicy: "a\r\nb: c"}`, "spec.headers.referrerPolicy"},
		"breaker that rests a day": {`traffic: {breaker: {rest: 1d}}`, "spec.traffic.breaker.rest"},
		"more than three retries":  {`traffic: {retries: {attempts: 4}}`, "spec.traffic.retries.attempts"},
		"unknown balance":          {`traffic: {balance: sticky}`, "spec.traffic.balance"},
		"pass-through in clear":    {`passThrough: {}`, "spec.origins[0]"},
		"pass-through with a WAF": {`passThrough: {}
  waf: {mode: block}`, "spec.waf.mode"},
		"pass-through with TLS": {`passThrough: {}
  tls: {redirect: true}`, "spec.tls"},
		"pass-through with health": {`passThrough: {}
  health: {path: /}`, "spec.health"},
		"pass-through with a body": {`passThrough: {}
  limits: {body: 1MiB}`, "spec.limits"},
		"rate over a day":           {`limits: {rate: {requests: 1, per: 1d}}`, "spec.limits.rate.per"},
		"rate of nothing":           {`limits: {rate: {requests: 0}}`, "spec.limits.rate.requests"},
		"route with a query":        {`limits: {routes: [{path: "/a?b", concurrency: 1}]}`, "spec.limits.routes[0].path"},
		"route without a limit":     {`limits: {routes: [{path: /a}]}`, "spec.limits.routes[0]"},
		"route that is given twice": {`limits: {routes: [{path: /a, concurrency: 1}, {path: /a, concurrency: 2}]}`, "spec.limits.routes[1].path"},
	} {
		docs, err := resource.ParseYAML([]byte("kind: Site\nmetadata: {tenant: acme, name: s}\nspec:\n  hosts: [a.example]\n  origins: [{url: 'http://127.0.0.1:1'}]\n  " + tt.options + "\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o, err := k.Decode(docs[0])
		if err == nil {
			err = k.Validate(o)
		}
		if err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%s: %v, want %s", name, err, tt.field)
		}
	}
}

// TestAPassThroughSiteHasNoClass: nobody sees what it answers, and the label
// would promise that something is held back.
func TestAPassThroughSiteHasNoClass(t *testing.T) {
	k := Site()
	for name, tt := range map[string]struct {
		labels, options string
		refused         bool
	}{
		"labelled":              {", labels: {dun.dev/class: public}", "passThrough: {}", true},
		"with another label":    {", labels: {team: web}", "passThrough: {}", false},
		"labelled, and opened":  {", labels: {dun.dev/class: public}", "", false},
		"of the highest, above": {", labels: {dun.dev/class: production}", "passThrough: {}", true},
	} {
		docs, err := resource.ParseYAML([]byte("kind: Site\nmetadata: {tenant: acme, name: s" + tt.labels + "}\nspec:\n  hosts: [a.example]\n  origins: [{url: 'https://127.0.0.1:1'}]\n  " + tt.options + "\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o, err := k.Decode(docs[0])
		if err == nil {
			err = k.Validate(o)
		}
		if tt.refused != (err != nil && strings.Contains(err.Error(), "metadata.labels.dun.dev/class")) || !tt.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
