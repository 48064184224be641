package edge

import (
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ACME says that a certificate is got, and renewed when two thirds of its life
// are over, from an authority by RFC 8555.
type ACME struct {
	Directory string   `json:"directory" required:"true" max:"512" en:"Directory" zh:"目录" help:"https:// address of the authority's directory" help_zh:"证书机构目录的 https:// 地址"`
	Names     []string `json:"names" required:"true" min:"1" max:"32" each:"format:'host'" en:"Names" zh:"名称" help:"DNS names, without wildcards; each must be a host of a site of the tenant, which answers the challenge" help_zh:"DNS 名称,不含通配符;须为该租户站点的域名,由站点应答验证"`
	Terms     bool     `json:"terms" en:"Terms" zh:"服务条款" help:"The authority's terms of service are agreed to; needed" help_zh:"同意证书机构的服务条款;必须勾选"`
	Email     string   `json:"email,omitempty" max:"254" en:"Email" zh:"邮箱" help:"Where the authority writes to" help_zh:"供证书机构联系"`
	CA        string   `json:"ca,omitempty" max:"16384" en:"Authority of the directory" zh:"目录的根证书" help:"PEM certificates that sign the directory's own certificate; default: the system's" help_zh:"签发目录自身证书的 PEM 证书;默认使用系统证书库"`
}

// IssueInput is what the service certificates got from an authority.
type IssueInput struct {
	Chain string `json:"chain" required:"true" max:"24576" en:"Certificate chain" zh:"证书链"`
	Key   string `json:"key" required:"true" max:"28" en:"Private key" zh:"私钥" help:"Reference of the sealed secret" help_zh:"封存机密的引用"`
	Order string `json:"order" required:"true" max:"64" en:"Order" zh:"申请" help:"Fingerprint of what was asked for" help_zh:"申请内容的指纹"`
}

func issue() resource.Verb {
	return resource.On(
		resource.Verb{Name: "issue", By: CertificateOwner, Title: resource.T("Issue", "签发"), Doc: resource.T("Takes the certificate that an ACME authority gave.", "采用 ACME 机构签发的证书。")},
		func(a resource.Act[CertificateSpec, CertificateState, IssueInput]) error {
			if a.Spec.ACME == nil {
				return resource.Refuse("it is no longer got from an authority", "该证书已不再由证书机构签发")
			}
			chain, why := ParseChain(a.Input.Chain)
			if why != nil {
				a.Add("input.chain", "%s", "%s", *why)
				return nil
			}
			*a.State = CertificateState{Key: a.Input.Key, PublicKey: PublicKeyHash(chain[0].PublicKey), Chain: a.Input.Chain, Order: a.Input.Order}
			return nil
		})
}

// Covers reports whether the pair in force has every name that is wanted.
func (s *ACME) Covers(names []string) bool {
	return !slices.ContainsFunc(s.Names, func(n string) bool { return !slices.Contains(names, strings.ToLower(n)) })
}

func validateACME(a *ACME, r *resource.Report) {
	u, err := url.Parse(a.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		r.Add("spec.acme.directory", "want an https:// address", "应为 https:// 地址")
	}
	if !a.Terms {
		r.Add("spec.acme.terms", "the authority's terms of service must be agreed to", "必须同意证书机构的服务条款")
	}
	seen := map[string]bool{}
	for i, n := range a.Names {
		path := fmt.Sprintf("spec.acme.names[%d]", i)
		_, err := netip.ParseAddr(n)
		switch {
		case strings.HasPrefix(n, "*"):
			r.Add(path, "a wildcard is proven by DNS alone, which is not offered; name each host, or upload a certificate", "通配符只能通过 DNS 验证,暂不支持;请列出各域名或上传证书")
		case err == nil:
			r.Add(path, "want a DNS name, not an address", "应为 DNS 名称,而不是地址")
		case seen[strings.ToLower(n)]:
			r.Add(path, "%q is given twice", "%q 重复", n)
		}
		seen[strings.ToLower(n)] = true
	}
	if e := a.Email; e != "" && (strings.Count(e, "@") != 1 || strings.HasPrefix(e, "@") || strings.HasSuffix(e, "@") || strings.ContainsFunc(e, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`,;<>"`, c) })) {
		r.Add("spec.acme.email", "want one address, as in ops@example.com", "应为一个邮箱地址,例如 ops@example.com")
	}
	if b, _ := pem.Decode([]byte(a.CA)); a.CA != "" {
		if b == nil {
			r.Add("spec.acme.ca", "want certificates in PEM", "应为 PEM 格式的证书")
		} else if _, why := ParseChain(a.CA); why != nil {
			r.Add("spec.acme.ca", "%s", "%s", *why)
		}
	}
}
