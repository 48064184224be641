package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
)

// enterOperation burns a one-time link; enrolOperation sets password and app by
// the session that it opened, which is worth nothing else.
func (a *API) enterOperation() operation {
	return operation{
		id: "enter", method: http.MethodPost, path: "/api/v1/enter", public: true, maxBody: maxSignIn, summary: "Use up a one-time link; tells the key for an authenticator app",
		body: jsonType, bodySchema: "Enter", status: 201, reply: jsonType, replySchema: "Document", handle: a.enter,
	}
}

func (a *API) enrolOperation() operation {
	return operation{
		id: "enrol", method: http.MethodPost, path: "/api/v1/enrol", public: true, maxBody: maxSignIn, summary: "Set password and app by the session of a link; opens a session",
		body: jsonType, bodySchema: "Enrol", status: 201, reply: jsonType, replySchema: "Document", handle: a.enrol,
	}
}

func enterSchema() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "required": []string{"token"}, "properties": map[string]any{"token": map[string]any{"type": "string"}}}
}

func enrolSchema() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{"type": "object", "additionalProperties": false, "required": []string{"password", "code"}, "properties": map[string]any{"password": text, "code": text}}
}

// small reads the body of somebody unknown, strictly.
func (c *call) small(into any) error {
	body, err := c.body(jsonType)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fault.New(fault.Invalid, "send the JSON object that /openapi.json describes", "请发送 /openapi.json 所述的 JSON 对象")
	}
	return nil
}

func (a *API) enter(c *call) error {
	var in struct{ Token string }
	if err := c.small(&in); err != nil {
		return err
	}
	by := identity.Actor{Door: "api", Source: identity.Source(c.r.RemoteAddr), Request: c.req}
	if a.opt.Enter == nil {
		return fault.New(fault.NotFound, "links are not used here", "此处不使用链接")
	}
	who, err := a.opt.Enter(in.Token)
	if err != nil {
		a.opt.Gate.Refused(by, "Link", "enter")
		return err
	}
	by.Principal, by.Proof = who, identity.ProofLink
	token, expires, err := a.opt.Gate.OpenSession(c.r.Context(), by, who, "")
	if err != nil {
		return err
	}
	s, err := a.opt.Gate.Enrolling(token)
	if err != nil {
		return err
	}
	app := a.opt.SignIn.DraftApp(s.Principal, s.UID)
	return c.json(201, map[string]any{"token": token, "expires": expires, "tenant": who.Tenant, "name": who.Name, "key": app.Key, "uri": app.URI})
}

func (a *API) enrol(c *call) error {
	_, token, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	s, err := a.opt.Gate.Enrolling(strings.TrimSpace(token))
	if err != nil {
		return err
	}
	var in struct{ Password, Code string }
	if err := c.small(&in); err != nil {
		return err
	}
	by := s.Actor(identity.Actor{Door: "api", Source: identity.Source(c.r.RemoteAddr), Request: c.req})
	had, err := a.opt.SignIn.Proofs(c.r.Context(), s.UID)
	if err != nil {
		return err
	}
	if err := a.opt.SignIn.Set(c.r.Context(), by, s.Principal, s.UID, in.Password, in.Code); err != nil {
		return err
	}
	c.actor = by
	return a.open(c, signin.Proven(s.Principal, s.UID, identity.ProofPassword), strings.TrimSpace(token), had.Any())
}
