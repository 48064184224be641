package api

import (
	"context"
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
)

// JoinFunc lets a machine become a node by its token.
type JoinFunc = func(context.Context, identity.Actor, nodelink.JoinRequest) (*nodelink.JoinReply, error)

// joinOperation is the door of machines that have a token and nothing else.
func (a *API) joinOperation() operation {
	return operation{
		id: "join", method: http.MethodPost, path: nodelink.JoinPath, public: true, maxBody: maxSignIn, summary: "Use up a join token; makes the machine a node",
		body: jsonType, bodySchema: "Join", status: 201, reply: jsonType, replySchema: "Document", handle: a.join,
	}
}

func joinSchema() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{
		"type": "object", "additionalProperties": false, "required": []string{"v", "token", "secret", "public"},
		"properties": map[string]any{"v": map[string]any{"type": "integer"}, "token": text, "secret": text, "public": text},
	}
}

func (a *API) join(c *call) error {
	var in nodelink.JoinRequest
	if err := c.small(&in); err != nil {
		return err
	}
	if a.opt.Join == nil {
		return fault.New(fault.NotFound, "machines do not join here", "此处不接受机器加入")
	}
	out, err := a.opt.Join(c.r.Context(), identity.Actor{Door: "api", Source: identity.Source(c.r.RemoteAddr), Request: c.req}, in)
	if err != nil {
		return err
	}
	return c.json(201, out)
}
