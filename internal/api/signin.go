package api

import (
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/resource"
)

// maxSignIn is how many bytes of a body are read of somebody unknown.
const maxSignIn = 8 << 10

func (a *API) signInOperation() operation {
	return operation{
		id: "signIn", method: http.MethodPost, path: "/api/v1/sign-in", public: true, maxBody: maxSignIn, summary: "Sign in by password and one-time code; opens a session",
		body: jsonType, bodySchema: "SignIn", status: 201, reply: jsonType, replySchema: "Document", handle: a.signIn,
	}
}

func signInSchema() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{
		"type": "object", "additionalProperties": false, "required": []string{"name", "password", "code"},
		"properties": map[string]any{"tenant": text, "name": text, "password": text, "code": text},
	}
}

// signIn checks both proofs at once: the answer does not say which was wrong.
func (a *API) signIn(c *call) error {
	var in struct{ Tenant, Name, Password, Code string }
	if err := c.small(&in); err != nil {
		return err
	}
	if in.Tenant == "" {
		in.Tenant = resource.Platform
	}
	c.actor = identity.Actor{Door: "api", Source: identity.Source(c.r.RemoteAddr), Request: c.req}
	who, err := a.opt.SignIn.Both(c.r.Context(), c.actor, signin.Login{Tenant: in.Tenant, Name: in.Name, Password: in.Password}, in.Code)
	if fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Exhausted) {
		target := resource.Ref{Kind: "User", Tenant: in.Tenant, Name: in.Name}
		if _, there := a.opt.Gate.Subject(target); !there {
			target = resource.Ref{Kind: "Session", Tenant: resource.Platform}
		}
		a.opt.Gate.RefusedAt(c.actor, target, "sign-in")
	}
	if err != nil {
		return err
	}
	return a.open(c, who, "", false)
}

// open opens the session of somebody who proved himself by two factors, in
// place of the one that he had. alone ends what others opened by what he had
// before.
func (a *API) open(c *call, who signin.Passed, replaces string, alone bool) error {
	c.actor.Principal, c.actor.Proof, c.actor.MFA = who.User, who.Proof, true
	token, expires, err := a.opt.Gate.OpenSession(c.r.Context(), c.actor, who.User, replaces)
	if err == nil && alone {
		_, err = a.opt.Gate.EndSessions(c.r.Context(), c.actor, token, gate.People)
	}
	if err != nil {
		return err
	}
	log := a.opt.Gate.Log()
	return c.json(201, map[string]any{
		"token": token, "expires": expires, "tenant": who.User.Tenant, "log": map[string]string{"origin": log.Origin, "vkey": log.VKey},
	})
}
