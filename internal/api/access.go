package api

import (
	"net/http"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// AccessJSON answers who may do what, and why.
type AccessJSON struct {
	Allowed   bool            `json:"allowed"`
	Principal string          `json:"principal"` // as in user/acme/alice
	Action    string          `json:"action"`
	Record    string          `json:"record"` // as in site/acme/shop
	Decided   []policy.Ruling `json:"decided"`
	Missing   []string        `json:"missing"`
	Roles     []string        `json:"roles"`
}

func (a *API) accessOperation() operation {
	return operation{
		id: "explainAccess", method: http.MethodGet, path: "/api/v1/{tenant}/access", summary: "May somebody do something to a record, and why", status: 200, reply: jsonType, replySchema: "Document", handle: a.access,
		query: []param{{"principal", "As in user/alice, service/edge or user/acme/alice; default oneself"}, {"action", "As in site.update"}, {"record", "As in site/shop or tenant/acme"}},
	}
}

func (a *API) access(c *call) error {
	v, tenant := c.r.URL.Query(), c.r.PathValue("tenant")
	q := gate.AccessQuestion{Principal: c.actor.Principal, Action: v.Get("action")}
	if !resource.ValidName(tenant) {
		return fault.New(fault.Invalid, "the path holds no valid tenant", "路径中的租户无效")
	}
	var err error
	if s := v.Get("principal"); s != "" {
		if q.Principal, err = principal(s, tenant); err != nil {
			return err
		}
	}
	kind, name, ok := strings.Cut(v.Get("record"), "/")
	if !ok || !resource.ValidName(name) {
		return fault.New(fault.Invalid, "record: want KIND/NAME, as in site/shop", "record:应为 类型/名称,例如 site/shop")
	}
	k, err := a.opt.Gate.Registry().Find(kind)
	if err != nil {
		return err
	}
	q.Record = resource.Ref{Kind: k.Name, Tenant: tenant, Name: name}
	if k.Scope == resource.ScopePlatform {
		q.Record.Tenant = resource.Platform
	}
	x, err := a.opt.Gate.Explain(c.r.Context(), c.actor, q)
	if err != nil {
		return err
	}
	out := AccessJSON{
		Allowed: x.Allowed, Principal: strings.ToLower(q.Principal.Kind) + "/" + q.Principal.Tenant + "/" + q.Principal.Name, Action: q.Action,
		Record: k.Short + "/" + q.Record.Tenant + "/" + name, Decided: x.Decided, Missing: inLang(x.Missing, c.lang), Roles: x.Roles,
	}
	// A list without anything is a list.
	out.Decided, out.Missing, out.Roles = append([]policy.Ruling{}, out.Decided...), append([]string{}, out.Missing...), append([]string{}, out.Roles...)
	return c.json(200, out)
}

// principal reads KIND/NAME, which is of the tenant, or KIND/TENANT/NAME.
func principal(s, tenant string) (resource.Ref, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 2 {
		parts = []string{parts[0], tenant, parts[1]}
	}
	if len(parts) == 3 && resource.ValidName(parts[1]) && resource.ValidName(parts[2]) {
		for _, kind := range policy.Principals() {
			if strings.ToLower(kind) == parts[0] {
				return resource.Ref{Kind: kind, Tenant: parts[1], Name: parts[2]}, nil
			}
		}
	}
	return resource.Ref{}, fault.New(fault.Invalid, "principal: want user/NAME, service/NAME or node/NAME, or with its tenant as in user/acme/alice", "principal:应为 user/名称、service/名称或 node/名称,也可带租户,例如 user/acme/alice")
}
