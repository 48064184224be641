package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity/upstream"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Upstream is what the console asks of attached identity providers.
type Upstream interface {
	// Providers lists those of a tenant.
	Providers(ctx context.Context, tenant string) ([]upstream.Provider, error)
	Ask(ctx context.Context, p upstream.Provider, redirect, back string) (to string, q upstream.Question, err error)
	Answer(ctx context.Context, p upstream.Provider, redirect string, q upstream.Question, state, code string) (upstream.Said, error)
	// Match finds the one user of the tenant whom the provider means.
	Match(ctx context.Context, p upstream.Provider, said string) (name string, ok bool)
}

// questionCookie carries what was asked while the browser is away. It comes
// back from another site, so that it cannot be strict.
const questionCookie = "__Host-dun-question"

const donePath = "/sign-in/done"

// providers lists what the sign-in page offers: the platform's. Those of a
// tenant have addresses of their own, which the tenant tells its people.
func (v *visit) providers() []upstream.Provider {
	if v.c.opt.Upstream == nil {
		return nil
	}
	list, err := v.c.opt.Upstream.Providers(v.r.Context(), resource.Platform)
	if err != nil {
		v.c.opt.Log.Error("providers", "req", v.actor.Request, "err", err)
	}
	return list
}

func viaPath(p upstream.Provider, back string) string {
	return "/sign-in/via/" + p.Ref.Tenant + "/" + p.Ref.Name + "?" + url.Values{"back": {back}}.Encode()
}

func (v *visit) provider(tenant, name string) (upstream.Provider, error) {
	if v.c.opt.Upstream == nil || !resource.ValidName(tenant) {
		return upstream.Provider{}, nothingHere()
	}
	list, err := v.c.opt.Upstream.Providers(v.r.Context(), tenant)
	if err != nil {
		return upstream.Provider{}, err
	}
	i := slices.IndexFunc(list, func(p upstream.Provider) bool { return p.Ref.Name == name })
	if i < 0 {
		return upstream.Provider{}, nothingHere()
	}
	return list[i], nil
}

// redirect is where a provider sends people back to. The provider compares it
// with what was registered, so that a made-up host leads nowhere.
func (v *visit) redirect() string { return "https://" + v.r.Host + donePath }

// via sends the browser to a provider.
func (c *Console) via(v *visit) error {
	p, err := v.provider(v.r.PathValue("tenant"), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	to, q, err := c.opt.Upstream.Ask(v.r.Context(), p, v.redirect(), local(v.r.URL.Query().Get("back")))
	if err != nil {
		return err
	}
	sealed, err := c.seal.close(q)
	if err != nil {
		return err
	}
	v.questionCookie(sealed, upstream.QuestionLife)
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

func (v *visit) questionCookie(value string, life time.Duration) {
	http.SetCookie(v.w, &http.Cookie{
		Name: questionCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(life.Seconds()),
	})
}

// answered takes the provider's answer. What it needs is in the cookie of the
// browser that asked: an answer that somebody else got opens nothing here.
func (c *Console) answered(v *visit) error {
	var q upstream.Question
	k, err := v.r.Cookie(questionCookie)
	if err == nil {
		err = c.seal.open(k.Value, &q)
	}
	if err != nil {
		return v.refused(notAsked(), signInForm{back: "/"})
	}
	v.questionCookie("", -time.Second)
	p, err := v.provider(q.Tenant, q.Name)
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	said, err := c.opt.Upstream.Answer(v.r.Context(), p, v.redirect(), q, query.Get("state"), query.Get("code"))
	if err != nil {
		v.c.opt.Log.Info("a provider's answer is refused", "req", v.actor.Request, "tenant", q.Tenant, "name", q.Name, "err", err)
		return v.refused(err, signInForm{back: q.Back})
	}
	who, ticket, err := c.opt.SignIn.Upstream(v.r.Context(), v.actor, q.Tenant, said, func(s string) (string, bool) { return c.opt.Upstream.Match(v.r.Context(), p, s) })
	if err != nil {
		return v.refused(err, signInForm{back: q.Back})
	}
	if ticket != "" {
		return v.render(http.StatusOK, outside(v, signInForm{ticket: ticket, back: q.Back}))
	}
	if err := v.admit(who, ""); err != nil {
		return err
	}
	// The browser comes from another site: a redirect would not carry the
	// session. A page of ours that goes on by itself does.
	return v.render(http.StatusOK, onward(v, q.Back))
}

func notAsked() error {
	return fault.New(fault.Unauthenticated, "this browser asked for no sign-in, or it took too long; begin again", "此浏览器未发起登录,或已超时;请重新开始")
}

// local is a path of this site; anything else is the first page.
func local(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
