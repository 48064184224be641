package edge

import (
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// CertificateOwner is the service that watches over certificates.
const CertificateOwner = "certificates"

// KeyPurpose is what the private key of a certificate is sealed for.
const KeyPurpose = "certificate-key"

// CertificateSpec is the public half of a certificate.
type CertificateSpec struct {
	Chain string `json:"chain,omitempty" max:"24576" en:"Certificate chain" zh:"证书链" help:"PEM: the certificate itself first, then those that sign it; at most 8, 24 KiB. Never the private key" help_zh:"PEM:先是证书本身,随后是签发证书;至多 8 张、24 KiB。切勿放入私钥"`
	ACME  *ACME  `json:"acme,omitempty" en:"ACME" zh:"ACME" help:"Got and renewed by itself, instead of a chain" help_zh:"自动申请和续期,代替证书链"`
}

// CertificateState is the pair in force: a sealed key and the chain that it
// belongs to. A new chain in the spec replaces the pair only with its key.
type CertificateState struct {
	Key       string `json:"key,omitempty" en:"Private key" zh:"私钥" help:"Reference of the sealed secret" help_zh:"封存机密的引用"`
	PublicKey string `json:"publicKey,omitempty" en:"Public key" zh:"公钥" help:"SHA-256 of the key's public half (SubjectPublicKeyInfo), in hex" help_zh:"密钥公开部分(SubjectPublicKeyInfo)的 SHA-256,十六进制"`
	Chain     string `json:"chain,omitempty" en:"Chain of the key" zh:"密钥对应的证书链" help:"That the key was put for; it serves until a new chain has its key, too" help_zh:"存入密钥时的证书链;新证书链补齐私钥之前由它继续服务"`
	Order     string `json:"order,omitempty" en:"Order" zh:"申请" help:"Fingerprint of what the authority was asked for; empty = it was uploaded" help_zh:"向证书机构申请的内容指纹;空 = 上传所得"`
}

// Conditions of a certificate.
const (
	CertificateReady    = "ready"
	CertificateHalf     = "half"     // the key of the chain is missing
	CertificateExpiring = "expiring" // 30 days or less
	CertificateExpired  = "expired"
	CertificatePending  = "pending" // none was got of the authority yet
)

// CertificateStatus is how long the pair in force lives and whether it is whole.
type CertificateStatus struct {
	Condition   string     `json:"condition" enum:"ready,half,expiring,expired,pending" en:"Condition" zh:"状况" help:"ready, half (the key of the chain is missing), expiring (30 days or less; of ACME 14), expired, or pending (the authority gave none yet)" help_zh:"ready、half(缺少证书链的私钥)、expiring(30 天以内,ACME 为 14 天)、expired 或 pending(证书机构尚未签发)"`
	Serving     bool       `json:"serving" en:"Serving" zh:"服务中" help:"A pair of chain and key is in force" help_zh:"有一对证书链和私钥已生效"`
	Names       []string   `json:"names,omitempty" en:"Names" zh:"名称" help:"That the certificate in force covers; the first 64" help_zh:"生效证书覆盖的名称;前 64 个"`
	NotBefore   *time.Time `json:"notBefore,omitempty" en:"Valid from" zh:"生效时间"`
	NotAfter    *time.Time `json:"notAfter,omitempty" en:"Valid until" zh:"有效期至"`
	Issuer      string     `json:"issuer,omitempty" en:"Issuer" zh:"签发者"`
	Fingerprint string     `json:"fingerprint,omitempty" en:"Fingerprint" zh:"指纹" help:"SHA-256 of the certificate, in hex" help_zh:"证书的 SHA-256,十六进制"`
	Warned      *int       `json:"warned,omitempty" en:"Warned at" zh:"已提醒" help:"Days before the end that an event told last: 30, 14, 7, 1; 0 = it has expired" help_zh:"最近一次事件提醒的剩余天数:30、14、7、1;0 = 已过期"`

	Trouble  string     `json:"trouble,omitempty" en:"Trouble" zh:"问题" help:"Why the authority gave none when it was asked last; what is in force serves on" help_zh:"最近一次向证书机构申请失败的原因;已生效的证书继续服务"`
	Failures int        `json:"failures,omitempty" en:"Failures" zh:"失败次数" help:"In a row" help_zh:"连续次数"`
	Asked    *time.Time `json:"asked,omitempty" en:"Asked" zh:"申请时间" help:"When the authority was asked last" help_zh:"最近一次申请的时间"`
	Next     *time.Time `json:"next,omitempty" en:"Next" zh:"下次申请" help:"When it is asked again" help_zh:"下次申请的时间"`
	For      string     `json:"for,omitempty" max:"64" en:"Asked for" zh:"申请内容" help:"Fingerprint of what was asked for; who changes that need not wait for the next try" help_zh:"申请内容的指纹;更改申请内容后会立即重试"`
}

// Certificate declares the kind.
func Certificate() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Certificate", Plural: "certificates", Short: "certificate", Scope: resource.ScopeTenant, Nav: "edge",
		Title:   resource.T("Certificate", "证书"),
		Doc:     resource.T("A TLS certificate of the tenant's own. Sites of the tenant use it by name, or where it covers a host of theirs; the most specific name counts. The private key is put by dun secret put, sealed, and never shown.", "租户自有的 TLS 证书。该租户的站点按名称引用它,或在其覆盖站点域名时自动使用,以最具体的名称为准。私钥以 dun secret put 存入并封存,永不显示。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Names", "名称"), Value: func(o *resource.Object) string { return few(namesOf(o)) }},
			{Title: resource.T("Condition", "状况"), Value: condition},
			{Title: resource.T("Valid until", "有效期至"), Value: validUntil},
		},
		Example: certificateExample, Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"edge"},
		NewState: func() any { return new(CertificateState) }, NewStatus: func() any { return new(CertificateStatus) }, StatusOwner: CertificateOwner,
		Verbs: []resource.Verb{putKey(), issue()},
	}, resource.Behaviour[CertificateSpec]{Validate: validateCertificate})
}

func putKey() resource.Verb {
	return resource.OnSecret(
		resource.Verb{Name: "key", Title: resource.T("Put the private key", "存入私钥"), Doc: resource.T("Seals the private key of the chain: one unencrypted PEM block, at most 16 KiB. It is refused when it does not belong to the chain.", "封存证书链的私钥:一个未加密的 PEM 块,至多 16 KiB。与证书链不匹配时拒绝。")},
		resource.Secret{Max: maxKeyPEM, Check: checkKey},
		func(a resource.Act[CertificateSpec, CertificateState, resource.Sealed]) error {
			if a.Spec.ACME != nil {
				return resource.Refuse("its key is made with the certificate that the authority gives", "该证书的私钥随证书机构签发的证书一同生成")
			}
			chain, why := ParseChain(a.Spec.Chain)
			if why != nil || PublicKeyHash(chain[0].PublicKey) != a.Input.Fingerprint {
				return resource.Refuse("the chain was changed meanwhile; put its key again", "证书链已更改;请重新存入其私钥")
			}
			*a.State = CertificateState{Key: a.Input.Ref, PublicKey: a.Input.Fingerprint, Chain: a.Spec.Chain}
			return nil
		})
}

// InForce is the pair of a Certificate that serves: the chain, and the reference
// of its key. A chain of the spec that has the key of the state is in force at
// once; else the one that the key was put for goes on. ok = there is one.
func InForce(o *resource.Object) (chain, key string, ok bool) {
	spec, _ := o.Spec.(*CertificateSpec)
	state, _ := o.State.(*CertificateState)
	if spec == nil || state == nil || state.Key == "" {
		return "", "", false
	}
	if c, why := ParseChain(spec.Chain); why == nil && PublicKeyHash(c[0].PublicKey) == state.PublicKey {
		return spec.Chain, state.Key, true
	}
	return state.Chain, state.Key, true
}

// Whole reports whether what people want is in force: the chain of the spec
// with its key, or a certificate of the authority for every name.
func Whole(o *resource.Object) bool {
	chain, _, ok := InForce(o)
	s := o.Spec.(*CertificateSpec)
	if !ok || s.ACME == nil {
		return ok && chain == s.Chain
	}
	c, why := ParseChain(chain)
	return why == nil && s.ACME.Covers(Names(c[0]))
}

func namesOf(o *resource.Object) []string {
	s := o.Spec.(*CertificateSpec)
	if s.ACME != nil {
		return s.ACME.Names
	}
	c, why := ParseChain(s.Chain)
	if why != nil {
		return nil
	}
	return Names(c[0])
}

func condition(o *resource.Object) string {
	if s, ok := o.Status.(*CertificateStatus); ok && s != nil {
		return s.Condition
	}
	return ""
}

func validUntil(o *resource.Object) string {
	if s, ok := o.Status.(*CertificateStatus); ok && s != nil && s.NotAfter != nil {
		return s.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

func validateCertificate(_ *resource.Metadata, s *CertificateSpec, r *resource.Report) {
	switch {
	case s.ACME != nil && s.Chain != "":
		r.Add("spec.acme", "give a chain or acme, not both", "chain 与 acme 只能二选一")
		return
	case s.ACME != nil:
		validateACME(s.ACME, r)
		return
	case s.Chain == "":
		r.Add("spec.chain", "is required, or acme", "chain 与 acme 须填一项")
		return
	}
	chain, why := ParseChain(s.Chain)
	if why != nil {
		r.Add("spec.chain", "%s", "%s", *why)
		return
	}
	judgeChain(chain, time.Now(), r)
}
