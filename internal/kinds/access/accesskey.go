package access

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// KeyService is the service that knows access keys and when they were used.
const KeyService = "accesskeys"

// KeyPurpose is what the secret of an access key is sealed for.
const KeyPurpose = "accesskey-issue"

// Limits of access keys.
const (
	// KeysEach is how many keys somebody may have: one that is in use, and the
	// one that takes its place.
	KeysEach = 2
	// KeyLife is how long a key lives that names no end.
	KeyLife = 90 * 24 * time.Hour
	// KeyPrefix begins the id of a key.
	KeyPrefix = "AK"
)

// AccessKeySpec says for whom a key stands, and how far.
type AccessKeySpec struct {
	User     string     `json:"user,omitempty" format:"name" en:"User" zh:"用户" help:"Of the tenant, whose rights it has; only he makes its secret" help_zh:"本租户的用户,密钥拥有其权限;只有其本人可生成密钥内容"`
	Service  string     `json:"service,omitempty" format:"name" en:"Service" zh:"服务" help:"Instead of a user: a program of the tenant, which gets rights by a role binding" help_zh:"代替用户:本租户的程序,由角色绑定授予权限"`
	Write    bool       `json:"write,omitempty" en:"Write" zh:"可写" help:"May change something; default: it reads only" help_zh:"可以更改;默认只读"`
	Networks []string   `json:"networks,omitempty" max:"16" each:"max:'64'" en:"Networks" zh:"网段" help:"From where it is taken, as in 192.0.2.0/24; default: from anywhere" help_zh:"允许使用的来源,例如 192.0.2.0/24;默认不限"`
	Expires  *time.Time `json:"expires,omitempty" en:"Expires" zh:"到期" help:"From then on it is refused; default: 90 days after the record was made" help_zh:"到期后拒绝;默认为创建后 90 天"`
	Disabled bool       `json:"disabled,omitempty" en:"Disabled" zh:"已停用" help:"Refused at once" help_zh:"立即拒绝"`
}

// AccessKeyState is the id by which requests name the key, and its sealed
// secret.
type AccessKeyState struct {
	KeyID  string     `json:"keyID,omitempty" en:"Key id" zh:"密钥标识" help:"AccessKeyId of AWS Signature Version 4; no secret" help_zh:"AWS 签名版本 4 的 AccessKeyId;并非机密"`
	Secret string     `json:"secret,omitempty" en:"Sealed secret" zh:"封存的密钥" help:"Reference of the sealed secret" help_zh:"封存机密的引用"`
	Issued *time.Time `json:"issued,omitempty" en:"Issued" zh:"签发时间"`
}

// AccessKeyStatus is when the key was used last, to the minute.
type AccessKeyStatus struct {
	Used   *time.Time `json:"used,omitempty" en:"Last use" zh:"最近使用" help:"Told once a minute at most" help_zh:"至多每分钟更新一次"`
	Source string     `json:"source,omitempty" en:"From" zh:"来源" help:"Address of the last use" help_zh:"最近使用的来源地址"`
}

// AccessKey declares the kind.
func AccessKey() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "AccessKey", Plural: "accesskeys", Short: "accesskey", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Access key", "访问密钥"),
		Doc:     resource.T("An id and a secret by which a program signs its requests to the API (AWS Signature Version 4, region local, service dun). The secret is made by the cell and shown once: dun key create. A user or service has two at most, so that one can take the place of the other.", "程序对 API 请求签名所用的标识和密钥(AWS 签名版本 4,区域 local,服务 dun)。密钥由本集群生成且只显示一次:dun key create。每个用户或服务至多两个,以便轮换。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("For", "所属"), Value: func(o *resource.Object) string { return ownerText(o.Spec.(*AccessKeySpec)) }},
			{Title: resource.T("Key id", "密钥标识"), Value: func(o *resource.Object) string { return keyState(o).KeyID }},
			{Title: resource.T("May", "权限"), Value: func(o *resource.Object) string {
				if o.Spec.(*AccessKeySpec).Write {
					return "read, write"
				}
				return "read"
			}},
			{Title: resource.T("State", "状态"), Value: keyCondition},
			{Title: resource.T("Until", "有效期至"), Value: func(o *resource.Object) string {
				return o.Spec.(*AccessKeySpec).Until(&o.Metadata).UTC().Format(time.RFC3339)
			}},
			{Title: resource.T("Last use", "最近使用"), Value: func(o *resource.Object) string {
				if s, ok := o.Status.(*AccessKeyStatus); ok && s != nil && s.Used != nil {
					return s.Used.UTC().Format(time.RFC3339)
				}
				return ""
			}},
		},
		Example: `kind: AccessKey
metadata: {tenant: acme, name: deploy-1}
spec: {service: deploy, write: true, networks: [192.0.2.0/24]}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone, Retention: resource.Forever, Presence: true,
		NewState: func() any { return new(AccessKeyState) }, NewStatus: func() any { return new(AccessKeyStatus) }, StatusOwner: KeyService,
		Settle: settleKey, Verbs: []resource.Verb{issueKey()},
	}, resource.Behaviour[AccessKeySpec]{Validate: validateKey, Claims: keyClaims, Refs: func(m *resource.Metadata, s *AccessKeySpec) []resource.Reference {
		if s.User == "" {
			return nil
		}
		return []resource.Reference{{Path: "spec.user", To: s.Owner(m.Tenant)}}
	}})
}

// Owner is whom the key stands for.
func (s *AccessKeySpec) Owner(tenant string) resource.Ref {
	if s.User != "" {
		return resource.Ref{Kind: "User", Tenant: tenant, Name: s.User}
	}
	return resource.Ref{Kind: "Service", Tenant: tenant, Name: s.Service}
}

// Until is when the key ends.
func (s *AccessKeySpec) Until(m *resource.Metadata) time.Time {
	if s.Expires != nil {
		return *s.Expires
	}
	return m.Created.Add(KeyLife)
}

// From reports whether the key is taken from an address.
func (s *AccessKeySpec) From(source string) bool {
	if len(s.Networks) == 0 {
		return true
	}
	a, err := netip.ParseAddr(source)
	for _, n := range s.Networks {
		if p, perr := netip.ParsePrefix(n); err == nil && perr == nil && p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// issueKey gives the key its secret. Nobody makes one that stands for somebody
// else: he could act, and assent, as two.
func issueKey() resource.Verb {
	return resource.OnSecret(
		resource.Verb{Name: "issue", Title: resource.T("Make the secret", "生成密钥内容"), Doc: resource.T("Makes the secret and shows it once. Of a user's key only he himself does it, and never by an access key.", "生成密钥内容并只显示一次。用户的密钥只能由其本人登录后生成,不能通过访问密钥生成。")},
		resource.Secret{Made: true, Max: 128},
		func(a resource.Act[AccessKeySpec, AccessKeyState, resource.Sealed]) error {
			owner := a.Spec.Owner(a.Metadata.Tenant)
			if a.State.Secret != "" {
				return resource.Refuse("it has a secret, which is shown once; make another key", "密钥内容已生成且只显示一次;请另建密钥")
			}
			if owner.Kind == "User" && (a.Actor.Kind != owner.Kind || a.Actor.Tenant != owner.Tenant || a.Actor.Name != owner.Name) {
				return resource.Refuse("only %s makes the secret of his own key; for a program make a key of a service", "只有 %s 可生成自己的密钥内容;程序请使用服务的密钥", owner)
			}
			now := a.Time
			*a.State = AccessKeyState{KeyID: KeyPrefix + strings.ToUpper(strings.TrimPrefix(a.Input.Ref, "s-")), Secret: a.Input.Ref, Issued: &now}
			return nil
		})
}

// settleKey takes the secret away where the key is to stand for somebody else.
func settleKey(old, next *resource.Object) any {
	if old == nil {
		return new(AccessKeyState)
	}
	a, b := old.Spec.(*AccessKeySpec), next.Spec.(*AccessKeySpec)
	if a.User != b.User || a.Service != b.Service {
		return new(AccessKeyState)
	}
	return next.State
}

// keyClaims are the id of the key, and one of the places that its owner has.
func keyClaims(o *resource.Object) []resource.Claim {
	s, ok := o.Spec.(*AccessKeySpec)
	if !ok {
		return nil
	}
	var out []resource.Claim
	if id := keyState(o).KeyID; id != "" {
		out = append(out, resource.Claim{Path: "state.keyID", Value: id})
	}
	if !s.Disabled {
		owner := s.Owner(o.Metadata.Tenant)
		out = append(out, resource.Claim{Path: "spec." + strings.ToLower(owner.Kind), Value: owner.Name, Within: owner.Kind + " " + owner.Tenant, Most: KeysEach})
	}
	return out
}

func keyState(o *resource.Object) *AccessKeyState {
	if s, ok := o.State.(*AccessKeyState); ok && s != nil {
		return s
	}
	return new(AccessKeyState)
}

func ownerText(s *AccessKeySpec) string {
	if s.User != "" {
		return "user/" + s.User
	}
	return "service/" + s.Service
}

func keyCondition(o *resource.Object) string {
	switch s := o.Spec.(*AccessKeySpec); {
	case keyState(o).Secret == "":
		return "without secret"
	case s.Disabled:
		return "disabled"
	case !time.Now().Before(s.Until(&o.Metadata)):
		return "expired"
	}
	return "active"
}

func validateKey(m *resource.Metadata, s *AccessKeySpec, r *resource.Report) {
	switch {
	case (s.User == "") == (s.Service == ""):
		r.Add("spec.user", "name a user or a service", "user 与 service 须填且仅填一项")
	case s.Service != "" && m.Tenant == resource.Platform:
		r.Add("spec.service", "services of the platform are parts of Dun itself; make a user, or a tenant for the program", "平台的服务是 Dun 自身的组成部分;请使用用户,或为该程序建立租户")
	}
	for i, n := range s.Networks {
		if p, err := netip.ParsePrefix(n); err != nil || p.Masked() != p {
			r.Add(fmt.Sprintf("spec.networks[%d]", i), "%q is not a network, as in 192.0.2.0/24", "%q 不是有效网段,例如 192.0.2.0/24", n)
		}
	}
}
