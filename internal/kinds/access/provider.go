package access

import (
	"crypto/x509"
	"net/url"
	"slices"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ProviderPurpose is what a provider's client secret is sealed for.
const ProviderPurpose = "provider-secret"

// IdentityProviderSpec is an OpenID Connect provider by which users of the
// tenant sign in (OpenID Connect Core 1.0).
type IdentityProviderSpec struct {
	Title        string   `json:"title,omitempty" max:"64" en:"Title" zh:"名称" help:"What people see on the button; default: the name" help_zh:"登录按钮上显示的名称;默认使用记录名称"`
	Issuer       string   `json:"issuer" required:"true" max:"512" en:"Issuer" zh:"签发者" help:"https:// address under which the provider describes itself (/.well-known/openid-configuration)" help_zh:"提供方公布自身信息的 https:// 地址(/.well-known/openid-configuration)"`
	ClientID     string   `json:"clientID" required:"true" max:"256" en:"Client id" zh:"客户端标识" help:"As the provider registered this cell; the secret is put by dun secret put" help_zh:"提供方为本集群登记的标识;密钥以 dun secret put 存入"`
	Match        string   `json:"match,omitempty" enum:"email,name" en:"Match" zh:"匹配方式" help:"How a person is found the first time: a user of the tenant with the same e-mail address (default), or of the same name as preferred_username. From then on the provider's subject counts" help_zh:"首次登录时如何找到用户:邮箱相同的租户用户(默认),或名称与 preferred_username 相同的用户。此后以提供方的 subject 为准"`
	TrustEmail   bool     `json:"trustEmail,omitempty" en:"Trust e-mail" zh:"信任邮箱" help:"Take addresses that the provider does not call verified: only of a provider that gives them out itself" help_zh:"接受提供方未标记为已验证的邮箱:仅适用于自行分配邮箱的提供方"`
	SecondFactor []string `json:"secondFactor,omitempty" max:"16" each:"max:'128'" en:"Second factor" zh:"第二因素" help:"Values of acr or amr that say the provider asked for two factors, as in mfa; without one of them a code of the user's own app is asked here, too" help_zh:"表示提供方已验证两个因素的 acr 或 amr 值,例如 mfa;若无此值,还会在此要求用户自己的验证码"`
	CA           string   `json:"ca,omitempty" max:"16384" en:"Authority" zh:"根证书" help:"PEM certificates that sign the provider's own; default: the system's" help_zh:"签发提供方证书的 PEM 证书;默认使用系统证书库"`
}

// IdentityProviderState holds the sealed client secret.
type IdentityProviderState struct {
	Secret string `json:"secret,omitempty" en:"Client secret" zh:"客户端密钥" help:"Reference of the sealed secret" help_zh:"封存机密的引用"`
}

// IdentityProvider declares the kind.
func IdentityProvider() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "IdentityProvider", Plural: "identityproviders", Short: "provider", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Identity provider", "身份提供方"),
		Doc:     resource.T("An OpenID Connect provider by which users of the tenant sign in to the console. It says who somebody is; users and their rights stay here. The provider sends people back to https://CONSOLE/sign-in/done.", "供租户用户登录控制台的 OpenID Connect 提供方。它只说明用户是谁;用户及其权限仍在此处管理。回调地址为 https://控制台/sign-in/done。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Issuer", "签发者"), Value: func(o *resource.Object) string { return o.Spec.(*IdentityProviderSpec).Issuer }},
			{Title: resource.T("Secret", "密钥"), Value: func(o *resource.Object) string {
				if s, ok := o.State.(*IdentityProviderState); ok && s.Secret != "" {
					return "sealed"
				}
				return "missing"
			}},
		},
		Example: `kind: IdentityProvider
metadata: {tenant: platform, name: corp}
spec: {title: Corporate sign-in, issuer: "https://id.example.com", clientID: dun, secondFactor: [mfa]}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
		NewState: func() any { return new(IdentityProviderState) },
		Verbs:    []resource.Verb{putClientSecret()},
	}, resource.Behaviour[IdentityProviderSpec]{Validate: validateProvider})
}

func putClientSecret() resource.Verb {
	return resource.OnSecret(
		resource.Verb{Name: "secret", Title: resource.T("Put the client secret", "存入客户端密钥"), Doc: resource.T("Seals the secret that the provider gave this cell as its client.", "封存提供方分配给本集群的客户端密钥。")},
		resource.Secret{Max: 4096},
		func(a resource.Act[IdentityProviderSpec, IdentityProviderState, resource.Sealed]) error {
			a.State.Secret = a.Input.Ref
			return nil
		})
}

func validateProvider(_ *resource.Metadata, s *IdentityProviderSpec, r *resource.Report) {
	u, err := url.Parse(s.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		r.Add("spec.issuer", "want an https:// address without a query", "应为不带查询参数的 https:// 地址")
	}
	if s.TrustEmail && s.Match == "name" {
		r.Add("spec.trustEmail", "means nothing where people are found by name", "按名称匹配时无意义")
	}
	if slices.Contains(s.SecondFactor, "") {
		r.Add("spec.secondFactor", "an empty value would match a provider that says nothing", "空值会匹配未作说明的提供方")
	}
	if s.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(s.CA)) {
		r.Add("spec.ca", "want certificates in PEM", "应为 PEM 格式的证书")
	}
}
