package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// system lists the operations that no kind has.
func (a *API) system() []operation {
	doc := "Document"
	return []operation{
		a.accessOperation(),
		a.signInOperation(),
		a.usageOperation(),
		a.trafficOperation(),
		a.evidenceOperation(),
		a.enterOperation(),
		a.enrolOperation(),
		a.joinOperation(),
		{id: "status", method: http.MethodGet, path: "/api/v1/status", summary: "State of the cell, its roles and nodes", status: 200, reply: jsonType, replySchema: doc, handle: a.status},
		{id: "exchangeSession", method: http.MethodPost, path: "/api/v1/session", summary: "Exchange the live session for a new one", status: 201, reply: jsonType, replySchema: doc, handle: a.session},
		{id: "watch", method: http.MethodGet, path: "/api/v1/-/watch", summary: "One stream of several kinds", status: 200, reply: "application/x-ndjson", handle: a.watchMany,
			query: []param{{"kinds", "Names, as in site,ban"}, {"watch", "Position; empty = everything first"}}},
		{id: "transaction", method: http.MethodPost, path: "/api/v1/-/transaction", summary: "Several changes, all of them or none", maxBody: maxTransaction,
			header: append([]param{{"Idempotency-Key", "Makes a retried transaction one, for 24 hours"}, {"Dun-Reason", "Why, for the audit log; UTF-8, percent-encoded"}}, approvalHeaders...),
			body:   jsonType, bodySchema: "Transaction", status: 200, reply: jsonType, replySchema: doc, handle: a.transaction},
		{id: "events", method: http.MethodGet, path: "/api/v1/{tenant}/events", summary: "Search events, newest first", status: 200, reply: jsonType, replySchema: doc, handle: a.events,
			query: []param{{"kind", "block, ban, origin, limit …"}, {"request", "Request id"}, {"action", "blocked, detected or allowed"}, {"object", "As in site/shop"},
				{"since", "RFC 3339 time"}, {"until", "RFC 3339 time"}, {"limit", "1 to 1000, default 100"}, {"after", "Cursor"}, {"order", "newest (default) or oldest"},
				{"follow", "true: a stream of what comes, as NDJSON; only kind, request, action and object narrow it"}}},
		{id: "posture", method: http.MethodGet, path: "/api/v1/-/posture", summary: "Controls that have a check, and what it last gave", status: 200, reply: jsonType, replySchema: doc, handle: a.posture},
		{id: "postureRun", method: http.MethodPost, path: "/api/v1/-/posture/{control}/run", summary: "Try one control now; the result is a leaf", status: 200, reply: jsonType, replySchema: doc, handle: a.tryControl},
		{id: "auditCheckpoint", method: http.MethodGet, path: "/api/v1/-/audit/checkpoint", summary: "Signed head of the log, covering all that was committed before", status: 200, reply: "text/plain", handle: a.checkpoint, query: []param{{"log", "main (default) or denials"}}},
		{id: "auditConsistency", method: http.MethodGet, path: "/api/v1/-/audit/consistency", summary: "Proof that an older log is the beginning of the newest", status: 200, reply: jsonType, replySchema: doc, handle: a.consistency,
			query: []param{{"log", "main (default) or denials"}, {"from", "Size of the older log"}}},
		{id: "auditLeaves", method: http.MethodGet, path: "/api/v1/-/audit/leaves", summary: "Leaves with what they commit to", status: 200, reply: jsonType, replySchema: doc, handle: a.leaves,
			query: []param{{"from", "First number, from 0"}, {"limit", "1 to 1000, default 100"}, {"newest", "Instead of from: only the newest so many"}, {"log", "main (default) or denials"}}},
		{id: "auditCheck", method: http.MethodGet, path: "/api/v1/-/audit/check", summary: "Prove that records, history and log agree", status: 200, reply: jsonType, replySchema: doc, handle: a.check},
		{id: "auditErase", method: http.MethodPost, path: "/api/v1/{tenant}/audit/erase", summary: "Erase what history and log say about a record that is gone", body: jsonType, bodySchema: doc, status: 200, reply: jsonType, replySchema: doc, handle: a.erase},
		{id: "auditExport", method: http.MethodGet, path: "/api/v1/-/audit/export", summary: "Bundle of leaves and proofs", status: 200, reply: "application/x-tar", handle: a.export,
			query: []param{{"from", "First number"}, {"to", "Last number"}, {"tenant", "Only leaves of this tenant"}, {"log", "main (default) or denials"}}},
	}
}

func (a *API) status(c *call) error {
	if err := a.opt.Gate.May(c.actor, "status.read", resource.Platform); err != nil {
		return err
	}
	return c.json(200, a.opt.Status())
}

func (a *API) session(c *call) error {
	if c.token == "" {
		return fault.New(fault.Forbidden, "an access key opens no session; sign in for one", "访问密钥不能开启会话;请登录")
	}
	token, expires, err := a.opt.Gate.OpenSession(c.r.Context(), c.actor, c.actor.Principal, c.token)
	if err != nil {
		return err
	}
	return c.json(201, map[string]any{"token": token, "expires": expires})
}

// reason reads the Dun-Reason header.
func (c *call) reason() (string, error) {
	s, err := url.PathUnescape(c.r.Header.Get("Dun-Reason"))
	if err != nil || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fault.New(fault.Invalid, "Dun-Reason: want percent-encoded UTF-8 in one line", "Dun-Reason:应为百分号编码的单行 UTF-8")
	}
	return s, nil
}

func (a *API) events(c *call) error {
	v := c.r.URL.Query()
	q := events.Query{Kind: v.Get("kind"), Request: v.Get("request"), Action: v.Get("action"), Object: v.Get("object"), After: v.Get("after"), NewestFirst: v.Get("order") != "oldest"}
	if tenant := c.r.PathValue("tenant"); tenant == gate.AllTenants {
		if q.Tenants = a.opt.Gate.Tenants(c.actor, "event.read"); len(q.Tenants) == 0 {
			return c.json(200, map[string]any{"items": []events.Event{}, "next": ""})
		}
		if a.opt.Gate.May(c.actor, "event.read", resource.Platform) == nil {
			q.Tenants = append(q.Tenants, "") // what belongs to no tenant is the operator's
		}
	} else {
		if err := a.opt.Gate.May(c.actor, "event.read", tenant); err != nil {
			return fault.New(fault.NotFound, "there is no tenant %q", "租户 %q 不存在", tenant).Because(err)
		}
		q.Tenants = []string{tenant}
	}
	q.Keep = a.opt.Gate.Sees(c.actor)
	if v.Get("follow") == "true" {
		return a.follow(c, q)
	}
	limit, err := number(v.Get("limit"), "limit")
	if err != nil {
		return err
	}
	q.Limit = int(min(limit, 1000))
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			if *to, err = moment(s, name); err != nil {
				return err
			}
		}
	}
	// Whoever asks about a block he has just seen must find it. Under a flood,
	// or with a full disk, what is searchable already has to do.
	soon, cancel := context.WithTimeout(c.r.Context(), time.Second)
	defer cancel()
	if err := a.opt.Events.Flush(soon); err != nil {
		a.opt.Log.Debug("events are behind", "req", c.req, "err", err)
	}
	list, next, err := a.opt.Events.Search(c.r.Context(), q)
	if err != nil {
		return err
	}
	if list == nil {
		list = []events.Event{}
	}
	return c.json(200, map[string]any{"items": list, "next": next})
}

// book opens the log that the query names.
func (c *call) book() (*gate.Book, error) {
	return c.api.opt.Gate.Book(c.actor, c.r.URL.Query().Get("log"))
}

func (a *API) checkpoint(c *call) error {
	book, err := c.book()
	if err != nil {
		return err
	}
	b, err := book.Checkpoint(c.r.Context())
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := c.w.Write(b); err != nil {
		a.opt.Log.Debug("client left", "req", c.req, "err", err)
	}
	return nil
}

func (a *API) consistency(c *call) error {
	from, err := number(c.r.URL.Query().Get("from"), "from")
	if err != nil {
		return err
	}
	book, err := c.book()
	if err != nil {
		return err
	}
	proof, note, err := book.Consistency(c.r.Context(), int64(from))
	if err != nil {
		return err
	}
	return c.json(200, map[string]any{"from": from, "proof": proof, "checkpoint": string(note)})
}

// LeafJSON is one leaf as the API shows it; null = erased or withheld.
type LeafJSON struct {
	Seq    uint64   `json:"seq"`
	Leaf   []byte   `json:"leaf"`
	Salts  [][]byte `json:"salts"`
	Values [][]byte `json:"values"`
}

func (a *API) leaves(c *call) error {
	v := c.r.URL.Query()
	from, err := number(v.Get("from"), "from")
	if err != nil {
		return err
	}
	limit, err := number(v.Get("limit"), "limit")
	if err != nil {
		return err
	}
	newest, err := number(v.Get("newest"), "newest")
	if err != nil {
		return err
	}
	book, err := c.book()
	if err != nil {
		return err
	}
	if newest > 0 {
		limit, from = min(newest, gate.MaxPage), uint64(book.Size())
		from -= min(from, limit)
	}
	list, err := book.Leaves(c.r.Context(), from, int(min(limit, gate.MaxPage)))
	if err != nil {
		return err
	}
	out := []LeafJSON{}
	for _, e := range list {
		out = append(out, LeafJSON{Seq: e.Seq, Leaf: e.Leaf, Salts: e.Salts[:], Values: e.Values[:]})
	}
	return c.json(200, map[string]any{"items": out})
}

func (a *API) check(c *call) error {
	r, err := a.opt.Gate.Check(c.r.Context(), c.actor)
	if err != nil {
		return err
	}
	return c.json(200, r)
}

func (a *API) export(c *call) error {
	v := c.r.URL.Query()
	from, err := number(v.Get("from"), "from")
	if err != nil {
		return err
	}
	to, err := number(v.Get("to"), "to")
	if err != nil {
		return err
	}
	tenant := v.Get("tenant")
	book, err := c.book()
	if err != nil {
		return err
	}
	w := &lateWriter{c: c}
	err = book.Export(c.r.Context(), w, func(e audit.Entry) bool {
		return e.Seq >= from && (to == 0 || e.Seq <= to) && (tenant == "" || string(e.Values[audit.FieldTenant]) == tenant)
	})
	if err != nil && w.begun {
		// The tar is cut: a client sees it end early and refuses it.
		a.opt.Log.Error("export cut", "req", c.req, "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// lateWriter sends the header with the first byte, so that an early error can
// still be a problem.
type lateWriter struct {
	c     *call
	begun bool
}

// Write implements io.Writer.
func (l *lateWriter) Write(b []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.c.w.Header().Set("Content-Type", "application/x-tar")
		l.c.w.Header().Set("Content-Disposition", `attachment; filename="b.tar"`)
	}
	return l.c.w.Write(b)
}

// Paths lists method and path of everything that is served, for tests.
func (a *API) Paths() []string {
	var out []string
	for path, item := range a.spec.api.OpenAPI().Paths {
		for _, method := range methodsOf(item) {
			out = append(out, method+" "+path)
		}
	}
	slices.Sort(out)
	return out
}
