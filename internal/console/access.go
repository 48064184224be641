package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

type answer struct{ policy.Explanation }

// access explains a decision before anybody tries.
func (c *Console) access(v *visit) error {
	q := v.r.URL.Query()
	if q.Get("action") == "" {
		return v.render(http.StatusOK, accessPage(v, q, nil, nil))
	}
	ask := gate.AccessQuestion{Principal: v.actor.Principal, Action: q.Get("action")}
	record, ok := v.named(q.Get("record"), resource.Platform)
	who := true
	if s := q.Get("principal"); s != "" {
		ask.Principal, who = principal(s, v.actor.Principal.Tenant)
	}
	var trouble *fault.Error
	if !ok || !who {
		trouble = fault.New(fault.Invalid, "want user/TENANT/NAME and KIND/TENANT/NAME, as in site/acme/shop", "应为 user/租户/名称 和 类型/租户/名称,例如 site/acme/shop")
		return v.render(trouble.Code.Status(), accessPage(v, q, nil, trouble))
	}
	ask.Record = record
	x, err := c.opt.Gate.Explain(v.r.Context(), v.actor, ask)
	if err != nil {
		if trouble = fault.Of(err); trouble.Code == fault.Internal {
			return err
		}
		return v.render(trouble.Code.Status(), accessPage(v, q, nil, trouble))
	}
	return v.render(http.StatusOK, accessPage(v, q, &answer{x}, nil))
}

// named reads KIND/TENANT/NAME, or KIND/NAME in the tenant.
func (v *visit) named(s, tenant string) (resource.Ref, bool) {
	parts := strings.Split(s, "/")
	if len(parts) == 2 {
		parts = []string{parts[0], tenant, parts[1]}
	}
	if len(parts) != 3 || !resource.ValidName(parts[1]) || !resource.ValidName(parts[2]) {
		return resource.Ref{}, false
	}
	k, err := v.c.opt.Gate.Registry().Find(parts[0])
	if err != nil {
		return resource.Ref{}, false
	}
	if k.Scope == resource.ScopePlatform {
		parts[1] = resource.Platform
	}
	return resource.Ref{Kind: k.Name, Tenant: parts[1], Name: parts[2]}, true
}

func principal(s, tenant string) (resource.Ref, bool) {
	parts := strings.Split(s, "/")
	if len(parts) == 2 {
		parts = []string{parts[0], tenant, parts[1]}
	}
	if len(parts) == 3 && resource.ValidName(parts[1]) && resource.ValidName(parts[2]) {
		for _, kind := range policy.Principals() {
			if strings.EqualFold(kind, parts[0]) {
				return resource.Ref{Kind: kind, Tenant: parts[1], Name: parts[2]}, true
			}
		}
	}
	return resource.Ref{}, false
}

// actions are every action that policy knows.
func (v *visit) actions() []string {
	var out []string
	for _, k := range v.c.opt.Gate.Registry().All() {
		for _, a := range policy.Actions(k) {
			out = append(out, strings.ToLower(k.Name)+"."+a)
		}
	}
	return append(out, policy.TenantActions()...)
}

func join(list []string) string { return strings.Join(list, ", ") }

func effectTone(effect string) part.Tone {
	if effect == "permit" {
		return part.Good
	}
	return part.Bad
}

// exclusions are the narrowest exceptions from the rules of a block, each as
// the address of a filled form; none for who may not write them.
func (v *visit) exclusions(e *events.Event) []part.Link {
	k, err := v.c.opt.Gate.Registry().Kind("Exclusion")
	_, site, ok := strings.Cut(e.Object, "/")
	if err != nil || !ok || e.Action == "allowed" || !resource.ValidName(site) || !slices.Contains(v.c.opt.Gate.CreateIn(v.actor, k.Name, maxTenants), e.Tenant) {
		return nil
	}
	var out []part.Link
	for _, r := range e.Rules[:min(len(e.Rules), 5)] {
		q := url.Values{"metadata.tenant": {e.Tenant}, "metadata.name": {strings.TrimRight(site[:min(len(site), 50)], "-") + "-" + strconv.Itoa(r.ID)}, "spec.site": {site}, "spec.rule": {strconv.Itoa(r.ID)}}
		if route := e.Attributes["path"]; route != "" && !strings.ContainsAny(route, "\"\\*\n") {
			q.Set("spec.route", route)
		}
		if strings.Contains(r.Where, ":") && !strings.ContainsAny(r.Where, "\"\\ |,'\n") {
			q.Set("spec.argument", r.Where)
		}
		out = append(out, part.Link{Text: strconv.Itoa(r.ID), Href: newPath(k) + "?" + q.Encode()})
	}
	return out
}
