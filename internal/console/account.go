package console

import (
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

// account shows who is signed in, how, and where.
func (c *Console) account(v *visit) error { return c.showAccount(v, http.StatusOK, nil) }

func (c *Console) showAccount(v *visit, status int, wrong *fault.Error) error {
	sessions, err := c.opt.Gate.OwnSessions(v.token)
	if err != nil {
		return err
	}
	proofs, err := c.opt.SignIn.Proofs(v.r.Context(), v.uid)
	if err != nil {
		return err
	}
	return v.render(status, accountPage(v, sessions, proofs, wrong))
}

// endSession ends one other session of the visitor, or all others.
func (c *Console) endSession(v *visit) error {
	id := v.r.PostFormValue("session")
	switch id {
	case "":
		return fault.New(fault.Invalid, "no session is named", "未指明会话")
	case "all":
		id = ""
	}
	if _, err := c.opt.Gate.EndSessions(v.r.Context(), v.actor, v.token, id); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/account", http.StatusSeeOther)
	return nil
}

// mistake is an error that the form itself can show.
func mistake(err error) (*fault.Error, bool) {
	if err == nil {
		return nil, false
	}
	e := fault.Of(err)
	return e, e.Code == fault.Invalid || e.Code == fault.Forbidden || e.Code == fault.Exhausted
}

// changePassword replaces the visitor's password and signs out whoever signed
// in by the old one.
func (c *Console) changePassword(v *visit) error {
	typed := v.r.PostFormValue("password")
	err := error(fault.New(fault.Invalid, "the two passwords differ", "两次输入的密码不一致"))
	if typed == v.r.PostFormValue("again") {
		err = c.opt.SignIn.SetPassword(v.r.Context(), v.actor, v.actor.Principal, v.uid, v.r.PostFormValue("current"), typed)
	}
	return c.changed(v, err, func(e *fault.Error) error { return c.showAccount(v, e.Code.Status(), e) })
}

// changeApp shows a new app's secret and, once the password and a code of it
// were sent, takes it in place of the old.
func (c *Console) changeApp(v *visit) error {
	show := func(status int, wrong *fault.Error) error {
		return v.render(status, appPage(v, c.opt.SignIn.DraftApp(v.actor.Principal, v.uid), wrong))
	}
	proofs, err := c.opt.SignIn.Proofs(v.r.Context(), v.uid)
	if err != nil {
		return err
	}
	if !proofs.Password {
		return nothingHere()
	}
	if v.r.Method == http.MethodGet {
		return show(http.StatusOK, nil)
	}
	err = c.opt.SignIn.SetApp(v.r.Context(), v.actor, v.actor.Principal, v.uid, v.r.PostFormValue("current"), v.r.PostFormValue("code"))
	return c.changed(v, err, func(e *fault.Error) error { return show(e.Code.Status(), e) })
}

func (c *Console) changed(v *visit, err error, again func(*fault.Error) error) error {
	if e, shown := mistake(err); shown {
		v.retryAfter(e)
		return again(e)
	}
	if err != nil {
		return err
	}
	if err := v.endOthers(); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/account", http.StatusSeeOther)
	return nil
}

// how says how a session was opened.
func (v *visit) how(p identity.Proof) string {
	switch p {
	case identity.ProofPassword:
		return v.t("password and code", "密码和验证码")
	case identity.ProofPasskey:
		return v.t("passkey", "通行密钥")
	case identity.ProofUpstream:
		return v.t("sign-in provider", "登录提供方")
	case identity.ProofLink:
		return v.t("one-time link", "一次性链接")
	case identity.ProofMachine:
		return v.t("on the machine", "本机")
	}
	return v.t("the program", "程序")
}
