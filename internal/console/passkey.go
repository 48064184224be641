package console

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

const jsonType = "application/json"

// json answers a script of ours.
func (v *visit) json(x any) error {
	v.w.Header().Set("Content-Type", jsonType)
	return json.NewEncoder(v.w).Encode(x)
}

// sorry answers a script of ours with the reason in the page's language.
func (v *visit) sorry(err error) error {
	e := fault.Of(err)
	if e.Code == fault.Internal || e.Code == fault.Unavailable {
		v.c.opt.Log.Error("a passkey failed", "req", v.actor.Request, "err", err)
	}
	v.retryAfter(e)
	v.w.Header().Set("Content-Type", jsonType)
	v.w.WriteHeader(e.Code.Status())
	return json.NewEncoder(v.w).Encode(map[string]string{"error": e.Detail.In(v.lang)})
}

func noPasskeyHere() error {
	return fault.New(fault.Invalid, "passkeys work under a DNS name that console.names of the configuration gives", "通行密钥仅在配置 console.names 指定的域名下可用")
}

// askPasskey says what the browser is to prove.
func (c *Console) askPasskey(v *visit) error {
	at, ok := v.place()
	if !ok {
		return v.sorry(noPasskeyHere())
	}
	ask, err := c.opt.SignIn.AskPasskey(at)
	if err != nil {
		return v.sorry(err)
	}
	return v.json(json.RawMessage(ask))
}

// passkey takes the proof and opens the session.
func (c *Console) passkey(v *visit) error {
	at, ok := v.place()
	if !ok {
		return v.sorry(noPasskeyHere())
	}
	body, err := io.ReadAll(v.r.Body)
	if err != nil {
		return v.sorry(err)
	}
	who, err := c.opt.SignIn.Passkey(v.r.Context(), v.actor, at, body)
	if err != nil {
		v.c.opt.Gate.Refused(v.actor, "Session", "sign-in")
		return v.sorry(err)
	}
	if err := v.admit(who, ""); err != nil {
		return v.sorry(err)
	}
	return v.json(map[string]string{"to": ""})
}

// askNewPasskey says what the browser is to make.
func (c *Console) askNewPasskey(v *visit) error {
	at, ok := v.place()
	if !ok {
		return v.sorry(noPasskeyHere())
	}
	ask, err := c.opt.SignIn.AskNewPasskey(v.r.Context(), at, v.actor.Principal, v.uid)
	if err != nil {
		return v.sorry(err)
	}
	return v.json(json.RawMessage(ask))
}

// addPasskey keeps what the browser made; whoever entered by a link is let in
// by it.
func (c *Console) addPasskey(v *visit) error {
	at, ok := v.place()
	if !ok {
		return v.sorry(noPasskeyHere())
	}
	var in struct {
		Title    string          `json:"title"`
		Password string          `json:"password"`
		Answer   json.RawMessage `json:"answer"`
	}
	if err := json.NewDecoder(v.r.Body).Decode(&in); err != nil {
		return v.sorry(fault.New(fault.Invalid, "this is no passkey", "这不是通行密钥").Because(err))
	}
	had, err := c.opt.SignIn.Proofs(v.r.Context(), v.uid)
	if err != nil {
		return v.sorry(err)
	}
	if had.Password && !v.enrolling {
		if err := c.opt.SignIn.Confirm(v.r.Context(), v.actor, v.actor.Principal, v.uid, in.Password); err != nil {
			return v.sorry(err)
		}
	}
	if err := c.opt.SignIn.AddPasskey(v.r.Context(), v.actor, at, v.actor.Principal, v.uid, in.Title, in.Answer); err != nil {
		return v.sorry(err)
	}
	if v.enrolling {
		if err := v.enrolled(identity.ProofPasskey, had.Any()); err != nil {
			return v.sorry(err)
		}
		return nil
	}
	return v.json(map[string]string{"to": "/account"})
}

// removePasskey forgets one of the visitor's.
func (c *Console) removePasskey(v *visit) error {
	if err := c.opt.SignIn.RemovePasskey(v.r.Context(), v.actor, v.actor.Principal, v.uid, v.r.PostFormValue("passkey")); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/account", http.StatusSeeOther)
	return nil
}
