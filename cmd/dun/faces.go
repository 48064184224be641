package main

import (
	"net/http"
	"strings"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/console"
)

// door is what the console's door serves: the API under its paths, pages
// everywhere else.
type door struct {
	api   *api.API
	pages *console.Console
}

// faces builds both over the running cell.
func faces(p agent.Parts) (http.Handler, error) {
	pages, err := console.New(console.Options{
		Gate: p.Gate, Events: p.Events, Status: p.Status, Enter: p.Enter, NodeID: p.NodeID, Log: p.Log.With("part", "console"),
		Checks: p.Checks, Views: p.Views, Usage: p.Usage, SignIn: p.SignIn, Names: p.Names, Upstream: p.Upstream, Traffic: p.Traffic, Floods: p.Floods, Trace: p.Trace, Evidence: p.Evidence, TestOrigin: originTest(p.Dial), UploadCertificate: uploadCertificate(p), MakeSecret: makeSecret(p), SignUps: signUps(p),
	})
	if err != nil {
		return nil, err
	}
	return &door{
		api:   api.New(api.Options{Gate: p.Gate, Events: p.Events, Checks: p.Checks, SignIn: p.SignIn, Enter: p.Enter, Join: p.Join, Secrets: p.Secrets, Keys: p.Keys, Usage: p.Usage, Floods: p.Floods, Evidence: p.Evidence, Status: func() any { return p.Status() }, Version: version, NodeID: p.NodeID, Log: p.Log.With("part", "api")}),
		pages: pages,
	}, nil
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/openapi.json" || r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/") {
		d.api.ServeHTTP(w, r)
		return
	}
	d.pages.ServeHTTP(w, r)
}

// Stop ends the streams of both.
func (d *door) Stop() {
	d.api.Stop()
	d.pages.Stop()
}
