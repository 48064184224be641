package console

import (
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/text"
)

// The prefix __Host- makes browsers refuse the cookie from any other host,
// path or scheme.
const (
	sessionCookie  = "__Host-dun"
	languageCookie = "__Host-dun-lang"
)

// visit is one request of one person.
type visit struct {
	c        *Console
	w        http.ResponseWriter
	r        *http.Request
	lang     text.Lang
	actor    identity.Actor
	token    string
	signedIn bool
	// enrolling is whoever entered by a link: he sets how he proves himself,
	// and does nothing else.
	enrolling bool
	uid       string // of the user
}

func (c *Console) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{c: c, w: w, r: r, lang: text.Accept(r.Header.Get("Accept-Language"))}
	if k, err := r.Cookie(languageCookie); err == nil {
		if l, ok := text.Parse(k.Value); ok {
			v.lang = l
		}
	}
	v.actor = identity.Actor{Door: "console", Source: identity.Source(r.RemoteAddr), Request: w.Header().Get("Dun-Request-Id")}
	k, err := r.Cookie(sessionCookie)
	if err != nil {
		return v
	}
	s, err := c.opt.Gate.Authenticate(k.Value)
	if err == nil {
		v.actor, v.token, v.uid, v.signedIn = s.Actor(v.actor), k.Value, s.UID, true
		return v
	}
	if s, err := c.opt.Gate.Enrolling(k.Value); err == nil {
		v.actor, v.token, v.uid, v.enrolling = s.Actor(v.actor), k.Value, s.UID, true
		return v
	}
	c.opt.Gate.Refused(v.actor, "Session", "authenticate")
	return v
}

// t picks the wording of the page's language.
func (v *visit) t(en, zh string) string { return text.T(en, zh).In(v.lang) }

// tag is the language as HTML names it.
func (v *visit) tag() string {
	if v.lang == text.Chinese {
		return "zh-CN"
	}
	return "en"
}

// status is the state of the cell, for whoever may read it.
func (v *visit) status() (s telemetry.Status, ok bool) {
	if !v.c.opt.Gate.MayAny(v.actor, "status.read", resource.Platform) {
		return s, false
	}
	return v.c.opt.Status(), true
}

func (v *visit) cookie(name, value string, life time.Duration) {
	http.SetCookie(v.w, &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(life.Seconds()),
	})
}

// back is the page that a form was sent from; never one of another site.
func (v *visit) back() string { return local(v.r.PostFormValue("back")) }

// language keeps the choice of language for a year and goes back to the page.
func (c *Console) language(v *visit) error {
	l, ok := text.Parse(v.r.PostFormValue("lang"))
	if !ok {
		return fault.New(fault.Invalid, "Dun speaks en and zh", "Dun 支持 en 和 zh")
	}
	v.cookie(languageCookie, string(l), 365*24*time.Hour)
	http.Redirect(v.w, v.r, v.back(), http.StatusSeeOther)
	return nil
}

// here is the page's own address, for the way back.
func (v *visit) here() string {
	if v.r.Method != http.MethodGet {
		return "/"
	}
	return v.r.URL.RequestURI()
}
