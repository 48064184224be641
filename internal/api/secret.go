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

func (h kindHandler) putSecret(c *call, v *resource.Verb) error {
	r, err := h.ref(c)
	if err != nil {
		return err
	}
	rev, err := number(c.r.URL.Query().Get("revision"), "revision")
	if err != nil {
		return err
	}
	reason, err := c.reason()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(c.r.Body)
	if err != nil {
		clear(content)
		return err
	}
	res, err := deposit.Put(c.r.Context(), h.a.opt.Gate, h.a.opt.Secrets, deposit.Request{Actor: c.actor, Ref: r, Verb: v.Name, Revision: rev, Reason: reason}, content)
	if err != nil {
		return err
	}
	c.w.Header().Set("Dun-Revision", strconv.FormatUint(res.Revision, 10))
	return c.json(200, res.Object)
}
