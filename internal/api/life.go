package api

import (
	"io"
	"mime"
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// life lists the operations on state, status and finalizers, of the kinds that
// have them.
func (h kindHandler) life(one string, write []param) []operation {
	var out []operation
	revision := []param{{"revision", "That was read"}}
	k := h.k
	for i := range k.Verbs {
		v := &k.Verbs[i]
		if v.Secret != nil && v.Secret.Made {
			out = append(out, h.madeOperation(one, v))
			continue
		}
		if v.Secret != nil {
			out = append(out, h.secretOperation(one, v))
			continue
		}
		out = append(out, operation{
			id: v.Name + k.Name, method: http.MethodPost, path: one + "/" + v.Name, summary: v.Title.En + ": " + v.Doc.En, header: write, query: revision,
			body: jsonType, bodyOptional: true, bodySchema: k.Name + "-" + v.Name, status: 200, reply: jsonType, replySchema: k.Name,
			handle: func(c *call) error { return h.act(c, v.Name) },
		})
	}
	if k.NewStatus != nil {
		out = append(out, operation{
			id: "status" + k.Name, method: http.MethodPut, path: one + "/status", summary: "Report the status, as its owner " + k.StatusOwner,
			body: jsonType, bodySchema: k.Name + "Status", status: 200, reply: jsonType, replySchema: k.Name, handle: h.status,
		})
	}
	if len(k.Finalizers) > 0 {
		out = append(out, operation{
			id: "finalize" + k.Name, method: http.MethodDelete, path: one + "/finalizers/{finalizer}", summary: "Say that a service has cleaned up; of a record that is being deleted the last one ends it",
			header: write, query: revision, status: 200, reply: jsonType, replySchema: "Document", handle: h.finalize,
		})
	}
	return out
}

// body reads the whole body, which must have the content type.
func (c *call) body(want string) ([]byte, error) {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, err
	}
	if t, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); len(body) > 0 && (err != nil || t != want) {
		return nil, fault.New(fault.Invalid, "send Content-Type: %s", "请使用 Content-Type: %s", want)
	}
	return body, nil
}

// document reads a JSON body; none is nil.
func (c *call) document() ([]byte, *resource.Node, error) {
	body, err := c.body(jsonType)
	if err != nil || len(body) == 0 {
		return nil, nil, err
	}
	n, err := resource.ParseJSON(body)
	return body, n, err
}

// act carries out a verb at the revision that was read.
func (h kindHandler) act(c *call, verb string) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return err
	}
	body, n, err := c.document()
	if err != nil {
		return err
	}
	ch := gate.Change{Op: gate.Act, Ref: r, Verb: verb, Revision: rev}
	if n != nil {
		ch.Input = n.Any()
	}
	return h.apply(c, ch, c.hash(body))
}

func (h kindHandler) status(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	_, n, err := c.document()
	if err != nil {
		return err
	}
	if n == nil {
		return fault.New(fault.Invalid, "send the status as a JSON body", "请以 JSON 正文发送 status")
	}
	o, err := h.a.opt.Gate.SetStatus(c.r.Context(), c.actor, r, n.Any())
	if err != nil {
		return err
	}
	return c.json(200, o)
}

func (h kindHandler) finalize(c *call) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return err
	}
	return h.apply(c, gate.Change{Op: gate.Release, Ref: r, Verb: c.r.PathValue("finalizer"), Revision: rev}, c.hash(nil))
}
