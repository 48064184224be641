package api

import (
	"io"
	"net/http"
	"strconv"

	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/resource"
)

const octets = "application/octet-stream"

// secretOperation is the write-only door of a verb that takes a secret: the
// body is the secret itself, and no answer holds it.
func (h kindHandler) secretOperation(one string, v *resource.Verb) operation {
	return operation{
		id: v.Name + h.k.Name, method: http.MethodPut, path: one + "/" + v.Name, summary: v.Title.En + ": " + v.Doc.En,
		header: []param{{"Dun-Reason", "Why, for the audit log; UTF-8, percent-encoded"}}, query: []param{{"revision", "That was read; absent = as it is now"}},
		body: octets, maxBody: int64(v.Secret.Max) + 1, status: 200, reply: jsonType, replySchema: h.k.Name,
		handle: func(c *call) error { return h.putSecret(c, v) },
	}
}

// madeOperation is the door of a verb whose secret the cell makes: the answer
// holds it, this once.
func (h kindHandler) madeOperation(one string, v *resource.Verb) operation {
	return operation{
		id: v.Name + h.k.Name, method: http.MethodPost, path: one + "/" + v.Name, summary: v.Title.En + ": " + v.Doc.En,
		header: []param{{"Dun-Reason", "Why, for the audit log; UTF-8, percent-encoded"}}, query: []param{{"revision", "That was read; absent = as it is now"}},
		status: 201, reply: jsonType, replySchema: "Document",
		handle: func(c *call) error { return h.makeSecret(c, v) },
	}
}

func (h kindHandler) makeSecret(c *call, v *resource.Verb) error {
	req, err := h.secretRequest(c, v)
	if err != nil {
		return err
	}
	res, shown, err := deposit.Make(c.r.Context(), h.a.opt.Gate, h.a.opt.Secrets, req)
	defer shown.Wipe()
	if err != nil {
		return err
	}
	c.w.Header().Set("Dun-Revision", strconv.FormatUint(res.Revision, 10))
	return c.json(201, map[string]any{"record": res.Object, "secret": string(shown.Reveal())})
}

func (h kindHandler) secretRequest(c *call, v *resource.Verb) (deposit.Request, error) {
	r, err := h.ref(c)
	if err != nil {
		return deposit.Request{}, err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return deposit.Request{}, err
	}
	reason, err := c.reason()
	return deposit.Request{Actor: c.actor, Ref: r, Verb: v.Name, Revision: rev, Reason: reason}, err
}

func (h kindHandler) putSecret(c *call, v *resource.Verb) error {
	req, err := h.secretRequest(c, v)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(c.r.Body)
	if err != nil {
		clear(content)
		return err
	}
	res, err := deposit.Put(c.r.Context(), h.a.opt.Gate, h.a.opt.Secrets, req, content)
	if err != nil {
		return err
	}
	c.w.Header().Set("Dun-Revision", strconv.FormatUint(res.Revision, 10))
	return c.json(200, res.Object)
}
