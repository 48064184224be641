package api

import (
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	jsonType  = "application/json"
	patchType = "application/merge-patch+json"
)

// kind lists the operations that every kind has.
func (a *API) kind(k *resource.Kind) []operation {
	all := "/api/v1/{tenant}/" + k.Plural
	one := all + "/{name}"
	write := append([]param{{"Idempotency-Key", "Makes a retried write one write, for 24 hours"}, {"Dun-Reason", "Why, for the audit log; UTF-8, percent-encoded"}}, approvalHeaders...)
	h := kindHandler{a, k}
	return append([]operation{
		{id: "list" + k.Name, method: http.MethodGet, path: all, summary: "List " + k.Plural, status: 200, reply: jsonType, replySchema: k.Name + "List", handle: h.list,
			query: []param{{"labels", "Selector, as in a=b,c!=d"}, {"limit", "Records on a page, 1 to 1000000, default 100"}, {"after", "Cursor of the page before"},
				{"watch", "Stream of changes as NDJSON instead of a list: from this position, or with an empty value everything first"}}},
		{id: "get" + k.Name, method: http.MethodGet, path: one, summary: "Read one", status: 200, reply: jsonType, replySchema: k.Name, handle: h.get,
			query: []param{{"at", "As it was at this RFC 3339 time"}, {"revision", "As it was right after this revision"}}},
		{id: "put" + k.Name, method: http.MethodPut, path: one, summary: "Create, or replace at metadata.revision", header: write, body: jsonType, bodySchema: k.Name, status: 200, reply: jsonType, replySchema: k.Name, handle: h.put},
		{id: "patch" + k.Name, method: http.MethodPatch, path: one, summary: "Merge patch at metadata.revision (RFC 7396)", header: write, body: patchType, bodySchema: "Document", status: 200, reply: jsonType, replySchema: k.Name, handle: h.patch},
		{id: "delete" + k.Name, method: http.MethodDelete, path: one, summary: "Delete at a revision", header: write, query: []param{{"revision", "That was read"}}, status: 200, reply: jsonType, replySchema: "Document", handle: h.delete},
		{id: "history" + k.Name, method: http.MethodGet, path: one + "/history", summary: "Changes, newest first", status: 200, reply: jsonType, replySchema: "Document", handle: h.history,
			query: []param{{"before", "Only below this revision"}, {"limit", "1 to 1000, default 100"}}},
		{id: "proof" + k.Name, method: http.MethodGet, path: one + "/proof", summary: "Leaf and inclusion proof of a change", status: 200, reply: jsonType, replySchema: "Document", handle: h.proof,
			query: []param{{"revision", "Of the change; default the newest"}}},
	}, h.life(one, write)...)
}

type kindHandler struct {
	a *API
	k *resource.Kind
}

func (h kindHandler) ref(c *call) (resource.Ref, error) {
	r := resource.Ref{Kind: h.k.Name, Tenant: c.r.PathValue("tenant"), Name: c.r.PathValue("name")}
	if !resource.ValidName(r.Tenant) || !resource.ValidName(r.Name) {
		return r, fault.New(fault.Invalid, "the path holds no valid tenant and name", "路径中的租户或名称无效")
	}
	return r, nil
}

func (h kindHandler) list(c *call) error {
	q := c.r.URL.Query()
	if q.Has("watch") {
		return h.watch(c)
	}
	sel, err := resource.ParseSelector(q.Get("labels"))
	if err != nil {
		return err
	}
	limit, err := number(q.Get("limit"), "limit")
	if err != nil {
		return err
	}
	l, err := h.a.opt.Gate.Scan(c.actor, gate.ListOptions{
		Kind: h.k.Name, Tenant: c.r.PathValue("tenant"), Selector: sel, Limit: int(min(limit, gate.MaxList+1)), After: q.Get("after"),
	})
	if err != nil {
		return err
	}
	return c.stream(l)
}

func (h kindHandler) get(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	if !q.Has("at") && !q.Has("revision") {
		o, err := h.a.opt.Gate.Get(c.r.Context(), c.actor, r)
		if err != nil {
			return err
		}
		return c.json(200, o)
	}
	revision, err := number(q.Get("revision"), "revision")
	if err != nil {
		return err
	}
	var at time.Time
	if revision == 0 {
		if at, err = moment(q.Get("at"), "at"); err != nil {
			return err
		}
	}
	o, err := h.a.opt.Gate.GetAt(c.r.Context(), c.actor, r, revision, at)
	if err != nil {
		return err
	}
	return c.json(200, o)
}

// moment reads an RFC 3339 time.
func moment(s, name string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fault.New(fault.Invalid, "%s: want a time as in 2026-11-01T03:00:00Z", "%s:时间格式应如 2026-11-01T03:00:00Z", name)
	}
	return t, nil
}

func (h kindHandler) put(c *call) error {
	ch, hash, err := h.read(c, jsonType)
	if err != nil {
		return err
	}
	return h.apply(c, ch, hash)
}

func (h kindHandler) patch(c *call) error {
	ch, hash, err := h.read(c, patchType)
	if err != nil {
		return err
	}
	return h.apply(c, ch, hash)
}

// read decodes the body of a put or a patch.
func (h kindHandler) read(c *call, want string) (gate.Change, [32]byte, error) {
	var ch gate.Change
	r, err := h.ref(c)
	if err != nil {
		return ch, [32]byte{}, err
	}
	body, err := c.body(want)
	if err != nil {
		return ch, [32]byte{}, err
	}
	ch = gate.Change{Op: gate.Put, Ref: r}
	if want == patchType {
		ch.Op = gate.Patch
		return ch, c.hash(body), patchOf(body, &ch)
	}
	n, err := resource.ParseJSON(body)
	if err != nil {
		return ch, [32]byte{}, err
	}
	ch.Document = n
	return ch, c.hash(body), nil
}

func (c *call) hash(body []byte) [32]byte {
	h := sha256.New()
	io.WriteString(h, c.r.Method+" "+c.r.URL.Path+"?"+c.r.URL.RawQuery+"\n")
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

func (h kindHandler) delete(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return err
	}
	return h.apply(c, gate.Change{Op: gate.Delete, Ref: r, Revision: rev}, c.hash(nil))
}

func (h kindHandler) apply(c *call, ch gate.Change, hash [32]byte) error {
	reason, err := c.reason()
	if err != nil {
		return err
	}
	req := gate.Request{Actor: c.actor, Changes: []gate.Change{ch}, Reason: reason, IdempotencyKey: c.r.Header.Get("Idempotency-Key"), Hash: hash}
	if err := c.approval(&req); err != nil {
		return err
	}
	out, err := h.a.opt.Gate.Apply(c.r.Context(), req)
	if err != nil {
		return err
	}
	res := out[0]
	c.w.Header().Set("Dun-Revision", strconv.FormatUint(res.Revision, 10))
	if res.Unchanged {
		c.w.Header().Set("Dun-Unchanged", "true")
	}
	if res.Object == nil {
		return c.json(200, map[string]any{"deleted": res.Ref, "revision": res.Revision})
	}
	status := 200
	if res.Created {
		status = 201
	}
	return c.json(status, res.Object)
}

func (h kindHandler) history(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	before, err := number(c.r.URL.Query().Get("before"), "before")
	if err != nil {
		return err
	}
	limit, err := number(c.r.URL.Query().Get("limit"), "limit")
	if err != nil {
		return err
	}
	v, err := h.a.opt.Gate.History(c.r.Context(), c.actor, r, before, int(min(limit, gate.MaxPage)))
	if err != nil {
		return err
	}
	return c.json(200, map[string]any{"items": v})
}

func (h kindHandler) proof(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return err
	}
	p, err := h.a.opt.Gate.Prove(c.r.Context(), c.actor, r, rev)
	if err != nil {
		return err
	}
	log := h.a.opt.Gate.Log()
	return c.json(200, map[string]any{
		"origin": log.Origin, "vkey": log.VKey, "checkpoint": string(p.Checkpoint), "size": p.Size, "seq": p.Entry.Seq,
		"leaf": p.Entry.Leaf, "inclusion": p.Entry.Inclusion, "salts": p.Entry.Salts, "values": p.Entry.Values,
	})
}

// number reads a revision or a count; "" is 0.
func number(s, name string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil {
		return 0, fault.New(fault.Invalid, "%s: want a number, not %q", "%s:应为数字,而不是 %q", name, s)
	}
	return n, nil
}
