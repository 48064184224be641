package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signup"
	"github.com/dun-sec/dun/internal/core/resource"
)

// decideSignUps is the right to decide who gets a tenant.
const decideSignUps = "signup.decide"

// SignUps is what the console asks about strangers who want a tenant.
type SignUps interface {
	Ask(ctx context.Context, w signup.Wish) (token string, err error)
	Pending(ctx context.Context, a identity.Actor) ([]signup.Pending, error)
	Made(p signup.Pending) bool
	Approve(ctx context.Context, a identity.Actor, id string) error
	Refuse(ctx context.Context, a identity.Actor, id string) error
}

// signUpForm is what a stranger sees.
type signUpForm struct {
	wish  signup.Wish
	link  string // of the second page; shown this once
	wrong *fault.Error
}

// signUp takes the wish of a stranger. The answer is the same whether the tenant
// is there or not.
func (c *Console) signUp(v *visit) error {
	if c.opt.SignUps == nil {
		return nothingHere()
	}
	if v.r.Method == http.MethodGet {
		return v.render(http.StatusOK, signUpPage(v, signUpForm{}))
	}
	f := signUpForm{wish: signup.Wish{Source: v.actor.Source}}
	for name, to := range map[string]*string{"tenant": &f.wish.Tenant, "name": &f.wish.Name, "note": &f.wish.Note} {
		*to = strings.TrimSpace(v.r.PostFormValue(name))
	}
	err := c.opt.SignIn.Knock(v.actor.Source)
	token := ""
	if err == nil {
		token, err = c.opt.SignUps.Ask(v.r.Context(), f.wish)
	}
	if err != nil {
		if f.wrong = fault.Of(err); f.wrong.Code == fault.Internal || f.wrong.Code == fault.Unavailable {
			return err
		}
		return v.render(f.wrong.Code.Status(), signUpPage(v, f))
	}
	f.link = "https://" + v.r.Host + "/enter?t=" + url.QueryEscape(token)
	return v.render(http.StatusCreated, signUpPage(v, f))
}

// signUps lists who waits.
func (c *Console) signUps(v *visit) error {
	if c.opt.SignUps == nil || !c.opt.Gate.MayAny(v.actor, decideSignUps, resource.Platform) {
		return nothingHere()
	}
	list, err := c.opt.SignUps.Pending(v.r.Context(), v.actor)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, signUpsPage(v, list))
}

func (c *Console) decideSignUp(v *visit) error {
	if c.opt.SignUps == nil || !c.opt.Gate.MayAny(v.actor, decideSignUps, resource.Platform) {
		return nothingHere()
	}
	var err error
	switch id := v.r.PathValue("id"); v.r.PathValue("do") {
	case "approve":
		err = c.opt.SignUps.Approve(v.r.Context(), v.actor, id)
	case "refuse":
		err = c.opt.SignUps.Refuse(v.r.Context(), v.actor, id)
	default:
		return nothingHere()
	}
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/sign-ups", http.StatusSeeOther)
	return nil
}
