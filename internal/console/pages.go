package console

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"

	"github.com/a-h/templ"
)

// pages lists what whoever is signed in may ask for. Each page asks policy for
// what it shows.
func (c *Console) pages(mux *routes) {
	for pattern, h := range map[string]func(*visit) error{
		"GET /records/{plural}": c.list, "GET /new/{plural}": c.create, "POST /new/{plural}": c.create,
		"POST /bulk/{plural}": c.bulk, "POST /views/{plural}": c.saveView,
		"GET /search": c.search, "GET /events": c.events, "GET /events/live": c.tail,
		"GET /audit": c.audit, "POST /audit/check": c.auditCheck, "POST /audit/export": c.auditExport, "GET /access": c.access, "GET /usage": c.usage, "GET /sign-ups": c.signUps, "POST /sign-ups/{id}/{do}": c.decideSignUp, "GET /gallery": c.gallery, "GET /account": c.account, "POST /account/end": c.endSession,
		"POST /account/password": c.changePassword, "GET /account/app": c.changeApp, "POST /account/app": c.changeApp,
		"POST /account/passkey/ask": c.askNewPasskey, "POST /account/passkey": c.addPasskey, "POST /account/passkey/remove": c.removePasskey,
		"POST /origins/{tenant}/{name}": c.testOrigins, "GET /certificates/new": c.certificate, "POST /certificates/new": c.certificate,
	} {
		mux.HandleFunc(pattern, c.closed(h))
	}
	const one = " /records/{plural}/{tenant}/{name}"
	for pattern, h := range map[string]func(*visit) error{
		"GET" + one: c.record, "GET" + one + "/edit": c.edit, "POST" + one + "/edit": c.edit, "GET" + one + "/history": c.history,
		"GET" + one + "/proof": c.proof, "POST" + one + "/bundle": c.bundle, "GET" + one + "/delete": c.remove, "POST" + one + "/delete": c.remove,
		"GET" + one + "/revert": c.revert, "POST" + one + "/revert": c.revert, "GET" + one + "/traffic": c.flood, "GET" + one + "/traffic/live": c.floodLive, "POST" + one + "/evidence": c.evidence,
		"GET" + one + "/do/{verb}": c.act, "POST" + one + "/do/{verb}": c.act,
	} {
		mux.HandleFunc(pattern, c.closed(h))
	}
}

func packs(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") }

func pack(b []byte, level int) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// send writes a whole page, packed where the browser can and it pays. Another
// site cannot make a page reflect words beside a secret and watch its length:
// without the cookie, which is never sent from there, there is no page.
func (v *visit) send(status int, body []byte) error {
	h := v.head()
	if packs(v.r) && len(body) > 1<<10 {
		packed, err := pack(body, gzip.BestSpeed)
		if err != nil {
			return fmt.Errorf("pack: %w", err)
		}
		h.Set("Content-Encoding", "gzip")
		body = packed
	}
	v.w.WriteHeader(status)
	if _, err := v.w.Write(body); err != nil {
		v.c.opt.Log.Debug("client left", "req", v.actor.Request, "err", err)
	}
	return nil
}

func (v *visit) head() http.Header {
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.tag())
	h.Set("Vary", "Accept-Encoding, Cookie, Accept-Language")
	return h
}

// stream writes a long page as it is made, so that its beginning is there
// before its end. A page that breaks off ends the connection.
func (v *visit) stream(page templ.Component) error {
	h := v.head()
	if !packs(v.r) {
		v.w.WriteHeader(http.StatusOK)
		return v.broken(page.Render(v.r.Context(), v.w))
	}
	h.Set("Content-Encoding", "gzip")
	v.w.WriteHeader(http.StatusOK)
	w, err := gzip.NewWriterLevel(v.w, gzip.BestSpeed)
	if err != nil {
		return v.broken(err)
	}
	if err := page.Render(v.r.Context(), w); err != nil {
		return v.broken(err)
	}
	return v.broken(w.Close())
}

func (v *visit) broken(err error) error {
	if err != nil {
		v.c.opt.Log.Info("a page broke off", "req", v.actor.Request, "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
