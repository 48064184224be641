package access

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// AccessService is the service that ends accesses in time.
const AccessService = "access"

// AccessKinds are the four kinds of access, each with approvers of its own
// (control 2.1-11).
var AccessKinds = []string{"CodeAccess", "ApplicationAccess", "SystemAccess", "NetworkAccess"}

// Bounds of an access.
const (
	LongestAccess    = 366 * 24 * time.Hour // from when it was written last
	DefaultRecertify = 90 * 24 * time.Hour
)

// Term is for whom an access is, and for how long.
type Term struct {
	User      string
	Until     time.Time
	Recertify time.Duration
}

// CodeAccessSpec lets a user work on source code.
type CodeAccessSpec struct {
	User         string            `json:"user" required:"true" format:"name" en:"User" zh:"用户" help:"Of the tenant" help_zh:"该租户的用户"`
	Reason       string            `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
	Until        time.Time         `json:"until" required:"true" en:"Until" zh:"截止" help:"At most a year ahead; it ends by itself" help_zh:"最长一年,到期自动终止"`
	Recertify    resource.Duration `json:"recertify,omitempty" en:"Recertify every" zh:"复核周期" help:"Somebody else has to say again that it is needed; default 90d. Otherwise it ends" help_zh:"须由他人再次确认仍有必要,默认 90d;逾期则终止"`
	Repositories []string          `json:"repositories" required:"true" min:"1" max:"64" each:"max:'256'" en:"Repositories" zh:"代码仓库"`
	Rights       string            `json:"rights" required:"true" enum:"read,write" en:"Rights" zh:"权限"`
}

// ApplicationAccessSpec gives a user a role.
type ApplicationAccessSpec struct {
	User      string            `json:"user" required:"true" format:"name" en:"User" zh:"用户" help:"Of the tenant" help_zh:"该租户的用户"`
	Reason    string            `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
	Until     time.Time         `json:"until" required:"true" en:"Until" zh:"截止" help:"At most a year ahead; it ends by itself" help_zh:"最长一年,到期自动终止"`
	Recertify resource.Duration `json:"recertify,omitempty" en:"Recertify every" zh:"复核周期" help:"Somebody else has to say again that it is needed; default 90d. Otherwise it ends" help_zh:"须由他人再次确认仍有必要,默认 90d;逾期则终止"`
	Role      string            `json:"role" required:"true" format:"name" en:"Role" zh:"角色" help:"Of the tenant; he has it as long as the access is in force" help_zh:"该租户的角色;访问有效期间用户拥有该角色"`
}

// SystemAccessSpec lets a user enter hosts.
type SystemAccessSpec struct {
	User      string            `json:"user" required:"true" format:"name" en:"User" zh:"用户" help:"Of the tenant" help_zh:"该租户的用户"`
	Reason    string            `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
	Until     time.Time         `json:"until" required:"true" en:"Until" zh:"截止" help:"At most a year ahead; it ends by itself" help_zh:"最长一年,到期自动终止"`
	Recertify resource.Duration `json:"recertify,omitempty" en:"Recertify every" zh:"复核周期" help:"Somebody else has to say again that it is needed; default 90d. Otherwise it ends" help_zh:"须由他人再次确认仍有必要,默认 90d;逾期则终止"`
	Hosts     []string          `json:"hosts" required:"true" min:"1" max:"256" each:"max:'253'" en:"Hosts" zh:"主机"`
	Accounts  []string          `json:"accounts" required:"true" min:"1" max:"16" each:"max:'64'" en:"Accounts" zh:"账号" help:"On the hosts" help_zh:"主机上的账号"`
}

// NetworkAccessSpec lets a user's network reach another.
type NetworkAccessSpec struct {
	User      string            `json:"user" required:"true" format:"name" en:"User" zh:"用户" help:"Of the tenant" help_zh:"该租户的用户"`
	Reason    string            `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
	Until     time.Time         `json:"until" required:"true" en:"Until" zh:"截止" help:"At most a year ahead; it ends by itself" help_zh:"最长一年,到期自动终止"`
	Recertify resource.Duration `json:"recertify,omitempty" en:"Recertify every" zh:"复核周期" help:"Somebody else has to say again that it is needed; default 90d. Otherwise it ends" help_zh:"须由他人再次确认仍有必要,默认 90d;逾期则终止"`
	From      []string          `json:"from" required:"true" min:"1" max:"64" each:"max:'64'" en:"From" zh:"来源" help:"Networks, as in 10.1.0.0/24" help_zh:"网段,例如 10.1.0.0/24"`
	To        []string          `json:"to" required:"true" min:"1" max:"64" each:"max:'64'" en:"To" zh:"目标" help:"Networks, as in 10.2.0.5/32" help_zh:"网段,例如 10.2.0.5/32"`
	Ports     []string          `json:"ports" required:"true" min:"1" max:"64" each:"max:'16'" en:"Ports" zh:"端口" help:"As in tcp/443" help_zh:"例如 tcp/443"`
}

// AccessState is when it was last said to be needed.
type AccessState struct {
	Certified *time.Time `json:"certified,omitempty" en:"Certified" zh:"复核时间"`
	By        string     `json:"by,omitempty" en:"By" zh:"复核人"`
}

// TermOf is the term of an access; ok is false for another kind.
func TermOf(o *resource.Object) (t Term, ok bool) {
	switch s := o.Spec.(type) {
	case *CodeAccessSpec:
		return Term{s.User, s.Until, time.Duration(s.Recertify)}, true
	case *ApplicationAccessSpec:
		return Term{s.User, s.Until, time.Duration(s.Recertify)}, true
	case *SystemAccessSpec:
		return Term{s.User, s.Until, time.Duration(s.Recertify)}, true
	case *NetworkAccessSpec:
		return Term{s.User, s.Until, time.Duration(s.Recertify)}, true
	}
	return Term{}, false
}

// AccessEnds is when an access ends unless somebody acts, and why.
func AccessEnds(o *resource.Object) (at time.Time, why string) {
	t, _ := TermOf(o)
	at, why = t.Until, "its term is over"
	if most := o.Metadata.Updated.Add(LongestAccess); most.Before(at) {
		at, why = most, "a year is over"
	}
	every := cmp.Or(t.Recertify, DefaultRecertify)
	since := o.Metadata.Created
	if s, ok := o.State.(*AccessState); ok && s != nil && s.Certified != nil {
		since = *s.Certified
	}
	if again := since.Add(every); again.Before(at) {
		at, why = again, "nobody certified it again"
	}
	return at, why
}

// CodeAccess declares the kind.
func CodeAccess() *resource.Kind {
	return accessKind(resource.Kind{
		Name: "CodeAccess", Plural: "codeaccesses", Short: "codeaccess", Title: resource.T("Code access", "代码访问"),
		Doc:     resource.T("Lets a user work on source code, for a term. It is requested, approved by those who answer for code, ends by itself and is certified again meanwhile.", "在期限内允许用户访问源代码。须经申请并由代码审批人批准,到期自动终止,期间须定期复核。"),
		Columns: []resource.Column{{Title: resource.T("Repositories", "代码仓库"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*CodeAccessSpec).Repositories, ",") }}},
		Example: `kind: CodeAccess
metadata: {tenant: platform, name: ann-edge}
spec:
  user: ann
  reason: Works on the edge
  until: 2027-05-01T00:00:00Z
  repositories: [edge]
  rights: write
`}, resource.Behaviour[CodeAccessSpec]{Validate: func(_ *resource.Metadata, s *CodeAccessSpec, r *resource.Report) { validRecertify(s.Recertify, r) }})
}

// ApplicationAccess declares the kind.
func ApplicationAccess() *resource.Kind {
	return accessKind(resource.Kind{
		Name: "ApplicationAccess", Plural: "applicationaccesses", Short: "applicationaccess", Title: resource.T("Application access", "应用访问"),
		Doc:     resource.T("Gives a user a role, for a term. It is requested, approved by those who answer for applications, ends by itself and is certified again meanwhile.", "在期限内授予用户一个角色。须经申请并由应用审批人批准,到期自动终止,期间须定期复核。"),
		Columns: []resource.Column{{Title: resource.T("Role", "角色"), Value: func(o *resource.Object) string { return o.Spec.(*ApplicationAccessSpec).Role }}},
		Example: `kind: ApplicationAccess
metadata: {tenant: platform, name: ann-security}
spec:
  user: ann
  reason: On duty for the edge
  until: 2027-02-01T00:00:00Z
  role: security
`}, resource.Behaviour[ApplicationAccessSpec]{
		Validate: func(_ *resource.Metadata, s *ApplicationAccessSpec, r *resource.Report) {
			validRecertify(s.Recertify, r)
		},
		Grants: func(m *resource.Metadata, s *ApplicationAccessSpec) []resource.Grant {
			return []resource.Grant{{
				Principal: resource.Ref{Kind: "User", Tenant: m.Tenant, Name: s.User},
				Role:      resource.Ref{Kind: "Role", Tenant: m.Tenant, Name: s.Role},
			}}
		},
	})
}

// SystemAccess declares the kind.
func SystemAccess() *resource.Kind {
	return accessKind(resource.Kind{
		Name: "SystemAccess", Plural: "systemaccesses", Short: "systemaccess", Title: resource.T("System access", "系统访问"),
		Doc:     resource.T("Lets a user enter hosts, for a term. It is requested, approved by those who answer for systems, ends by itself and is certified again meanwhile.", "在期限内允许用户登录主机。须经申请并由系统审批人批准,到期自动终止,期间须定期复核。"),
		Columns: []resource.Column{{Title: resource.T("Hosts", "主机"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*SystemAccessSpec).Hosts, ",") }}},
		Example: `kind: SystemAccess
metadata: {tenant: platform, name: ann-web}
spec:
  user: ann
  reason: Runs the web servers
  until: 2027-02-01T00:00:00Z
  hosts: [web-1, web-2]
  accounts: [deploy]
`}, resource.Behaviour[SystemAccessSpec]{Validate: func(_ *resource.Metadata, s *SystemAccessSpec, r *resource.Report) { validRecertify(s.Recertify, r) }})
}

// NetworkAccess declares the kind.
func NetworkAccess() *resource.Kind {
	return accessKind(resource.Kind{
		Name: "NetworkAccess", Plural: "networkaccesses", Short: "networkaccess", Title: resource.T("Network access", "网络访问"),
		Doc:     resource.T("Lets a user's network reach another, for a term. It is requested, approved by those who answer for networks, ends by itself and is certified again meanwhile.", "在期限内允许用户所在网络访问另一网络。须经申请并由网络审批人批准,到期自动终止,期间须定期复核。"),
		Columns: []resource.Column{{Title: resource.T("To", "目标"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*NetworkAccessSpec).To, ",") }}},
		Example: `kind: NetworkAccess
metadata: {tenant: platform, name: ann-db}
spec:
  user: ann
  reason: Looks after the database
  until: 2027-02-01T00:00:00Z
  from: [10.1.0.0/24]
  to: [10.2.0.5/32]
  ports: [tcp/5432]
`}, resource.Behaviour[NetworkAccessSpec]{Validate: func(_ *resource.Metadata, s *NetworkAccessSpec, r *resource.Report) {
		validRecertify(s.Recertify, r)
		validNetworks("spec.from", s.From, r)
		validNetworks("spec.to", s.To, r)
		for i, p := range s.Ports {
			proto, port, ok := strings.Cut(p, "/")
			if n, err := strconv.ParseUint(port, 10, 16); !ok || err != nil || n == 0 || strconv.FormatUint(n, 10) != port || proto != "tcp" && proto != "udp" {
				r.Add(fmt.Sprintf("spec.ports[%d]", i), "%q is no port, as in tcp/443", "%q 不是有效端口(例如 tcp/443)", p)
			}
		}
	}})
}

// accessKind adds what all four have.
func accessKind[S any](k resource.Kind, b resource.Behaviour[S]) *resource.Kind {
	k.Scope, k.Nav, k.Version = resource.ScopeTenant, "access", 1
	k.Sensitivity, k.ApprovalClass, k.Retention = resource.SensitivityStaff, resource.ApprovalImportant, resource.Forever
	k.NewState = func() any { return &AccessState{} }
	k.Presence = true // asked for and certified by people who signed in
	k.Columns = append([]resource.Column{{Title: resource.T("User", "用户"), Value: func(o *resource.Object) string { t, _ := TermOf(o); return t.User }}}, k.Columns...)
	k.Columns = append(k.Columns, resource.Column{Title: resource.T("Ends", "终止时间"), Value: func(o *resource.Object) string {
		at, _ := AccessEnds(o)
		return at.UTC().Format(time.RFC3339)
	}})
	k.Verbs = []resource.Verb{resource.On(
		resource.Verb{Name: "recertify", Title: resource.T("Certify again", "复核"), Doc: resource.T("Says that it is still needed. Its user cannot.", "确认仍有必要。用户本人不可复核。")},
		func(a resource.Act[S, AccessState, resource.None]) error {
			t, _ := TermOf(&resource.Object{Spec: a.Spec})
			if a.Actor.Kind == "User" && a.Actor.Tenant == a.Metadata.Tenant && a.Actor.Name == t.User {
				return resource.Refuse("nobody certifies his own access", "不能复核本人的访问")
			}
			at := a.Time
			a.State.Certified, a.State.By = &at, a.Actor.Tenant+"/"+a.Actor.Name
			return nil
		})}
	return resource.Define(k, b)
}

func validRecertify(every resource.Duration, r *resource.Report) {
	if d := time.Duration(every); d < 0 || d > LongestAccess {
		r.Add("spec.recertify", "want at most 366d", "最长 366d")
	}
}

func validNetworks(path string, list []string, r *resource.Report) {
	for i, n := range list {
		if p, err := netip.ParsePrefix(n); err != nil || p.Masked() != p {
			r.Add(fmt.Sprintf("%s[%d]", path, i), "%q is no network, as in 10.2.0.5/32", "%q 不是有效网段(例如 10.2.0.5/32)", n)
		}
	}
}
