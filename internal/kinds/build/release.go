// Package build holds the kinds of how services are made and go live. It
// owns their words and the order of the gates, never what makes the evidence.
package build

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// FreshFor is how long evidence holds.
const FreshFor = 30 * 24 * time.Hour

// maxEvidence bounds what one release keeps.
const maxEvidence = 64

// Gate is one stage of making a service, and the evidence without which it is
// not passed, by level of the data that the service handles (control 2.1-15).
type Gate struct {
	Name string
	All  []string // of every release
	High []string // beside that, of one that handles production data
}

// Gates are passed in this order (controls 2.1-16, 9.3-1).
var Gates = []Gate{
	{"requirements", []string{"requirements"}, []string{"risk-assessment"}},
	{"design", []string{"test-plan"}, []string{"design-review", "threat-model"}},
	{"coding", []string{"rules-scan"}, nil},
	{"audit", []string{"white-box"}, []string{"black-box", "manual-review"}},
	{"release", []string{"hardening"}, []string{"security-review"}},
}

// needs lists the evidence of a gate.
func (g Gate) needs(level string) []string {
	if level == "standard" {
		return g.All
	}
	return append(slices.Clone(g.All), g.High...)
}

// ReleaseSpec is one version of a service on its way to production.
type ReleaseSpec struct {
	Service string `json:"service" required:"true" format:"name" en:"Service" zh:"服务"`
	Commit  string `json:"commit" required:"true" max:"64" en:"Commit" zh:"提交" help:"Hash of the commit: 40 or 64 hexadecimal digits" help_zh:"提交哈希:40 或 64 位十六进制数字"`
	Level   string `json:"level,omitempty" enum:"standard,high" en:"Level" zh:"级别" help:"high (default): it handles production data, and each gate asks for more" help_zh:"high(默认):处理生产数据,各阶段要求更多"`
}

// ReleaseState is how far it is.
type ReleaseState struct {
	Passed   []string   `json:"passed,omitempty" en:"Passed gates" zh:"已通过阶段"`
	Evidence []Evidence `json:"evidence,omitempty" en:"Evidence" zh:"证据"`
	Live     *time.Time `json:"live,omitempty" en:"Live" zh:"上线时间"`
}

// Evidence is what somebody says that he has found about a commit.
type Evidence struct {
	Name   string    `json:"name" en:"Name" zh:"名称"`
	Commit string    `json:"commit" en:"Commit" zh:"提交"`
	Digest string    `json:"digest" en:"Digest" zh:"摘要"`
	Time   time.Time `json:"time" en:"Time" zh:"时间"`
	By     string    `json:"by" en:"By" zh:"提供人"`
}

// AttestInput is what attest takes.
type AttestInput struct {
	Name   string    `json:"name" required:"true" format:"name" en:"Name" zh:"名称" help:"As in white-box" help_zh:"例如 white-box"`
	Commit string    `json:"commit" required:"true" max:"64" en:"Commit" zh:"提交" help:"That it is about" help_zh:"证据对应的提交"`
	Digest string    `json:"digest" required:"true" max:"71" en:"Digest" zh:"摘要" help:"sha256: and 64 hexadecimal digits, of the report" help_zh:"报告的摘要:sha256: 加 64 位十六进制数字"`
	Time   time.Time `json:"time,omitzero" en:"Time" zh:"时间" help:"When the report was made; default now" help_zh:"报告生成时间,默认当前时间"`
}

// ReleaseStateOf is the state of a release, never nil.
func ReleaseStateOf(o *resource.Object) *ReleaseState {
	if s, ok := o.State.(*ReleaseState); ok && s != nil {
		return s
	}
	return &ReleaseState{}
}

// Release declares the kind.
func Release() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Release", Plural: "releases", Short: "release", Scope: resource.ScopeTenant, Nav: "build",
		Title:   resource.T("Release", "发布"),
		Doc:     resource.T("One version of a service on its way to production. Each gate is passed with fresh evidence about this very commit, in order; going live needs the assent of security.", "服务的一个版本及其上线过程。各阶段须凭针对该提交的有效证据依次通过;上线须经安全团队批准。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Service", "服务"), Value: func(o *resource.Object) string { return o.Spec.(*ReleaseSpec).Service }},
			{Title: resource.T("Commit", "提交"), Value: func(o *resource.Object) string { c := o.Spec.(*ReleaseSpec).Commit; return c[:min(len(c), 12)] }},
			{Title: resource.T("Passed", "已通过"), Value: func(o *resource.Object) string {
				s := ReleaseStateOf(o)
				if s.Live != nil {
					return "live"
				}
				if len(s.Passed) == 0 {
					return "-"
				}
				return s.Passed[len(s.Passed)-1]
			}},
			{Title: resource.T("Waits for", "等待"), Value: func(o *resource.Object) string {
				s := ReleaseStateOf(o)
				if s.Live != nil {
					return "-"
				}
				if _, why := lacking(o.Spec.(*ReleaseSpec), s, min(len(s.Passed)+1, len(Gates)), time.Now()); why != "" {
					return why
				}
				if len(s.Passed) == len(Gates) {
					return "publish"
				}
				return "advance"
			}},
		},
		Example: `kind: Release
metadata: {tenant: platform, name: shop-42}
spec:
  service: shop
  commit: 8f14e45fceea167a5a36dedd4bea2543f0f5c1aa
  level: high
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
		NewState: func() any { return &ReleaseState{} },
		Verbs: []resource.Verb{
			resource.On(resource.Verb{Name: "attest", Title: resource.T("Give evidence", "提供证据"), Doc: resource.T("Says what was found about a commit; newer evidence of a name replaces the older.", "说明针对某提交的检查结果;同名的新证据替换旧证据。")}, attest),
			resource.On(resource.Verb{Name: "advance", Title: resource.T("Pass the next gate", "通过下一阶段"), Doc: resource.T("Refused while evidence of this or an earlier gate is missing, older than 30 days, or about another commit.", "若本阶段或之前阶段的证据缺失、超过 30 天或针对其他提交,则拒绝。")}, advance),
			resource.On(resource.Verb{Name: "publish", Title: resource.T("Go live", "上线"), Doc: resource.T("After the last gate; security assents.", "通过最后阶段后执行;须经安全团队批准。")}, publish),
		},
	}, resource.Behaviour[ReleaseSpec]{Validate: func(_ *resource.Metadata, s *ReleaseSpec, r *resource.Report) {
		if !commitHash(s.Commit) {
			r.Add("spec.commit", "want 40 or 64 small hexadecimal digits", "应为 40 或 64 位小写十六进制数字")
		}
	}})
}

func commitHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && (len(b) == 20 || len(b) == 32) && hex.EncodeToString(b) == s
}

func attest(a resource.Act[ReleaseSpec, ReleaseState, AttestInput]) error {
	at := a.Input.Time
	if at.IsZero() {
		at = a.Time
	}
	h, err := hex.DecodeString(a.Input.Digest[min(7, len(a.Input.Digest)):])
	switch {
	case !commitHash(a.Input.Commit):
		a.Add("input.commit", "want 40 or 64 small hexadecimal digits", "应为 40 或 64 位小写十六进制数字")
		return nil
	case len(a.Input.Digest) != 71 || a.Input.Digest[:7] != "sha256:" || err != nil || len(h) != 32:
		a.Add("input.digest", "want sha256: and 64 hexadecimal digits", "应为 sha256: 加 64 位十六进制数字")
		return nil
	case at.After(a.Time.Add(time.Minute)):
		a.Add("input.time", "lies in the future", "为将来的时间")
		return nil
	case a.State.Live != nil:
		return resource.Refuse("it is live; a new version is a new release", "已上线;新版本须另建发布")
	}
	e := Evidence{Name: a.Input.Name, Commit: a.Input.Commit, Digest: a.Input.Digest, Time: at.UTC(), By: a.Actor.Tenant + "/" + a.Actor.Name}
	if i := slices.IndexFunc(a.State.Evidence, func(x Evidence) bool { return x.Name == e.Name }); i >= 0 {
		a.State.Evidence[i] = e
		return nil
	}
	if len(a.State.Evidence) == maxEvidence {
		return resource.Refuse("it has %d pieces of evidence, and no room for more", "已有 %d 份证据,无法再增加", maxEvidence)
	}
	a.State.Evidence = append(a.State.Evidence, e)
	return nil
}

// lacking says what is wrong with the evidence of the first n gates; "" = nothing.
func lacking(s *ReleaseSpec, st *ReleaseState, n int, now time.Time) (gate, why string) {
	for _, g := range Gates[:n] {
		for _, name := range g.needs(s.Level) {
			i := slices.IndexFunc(st.Evidence, func(x Evidence) bool { return x.Name == name })
			switch {
			case i < 0:
				return g.Name, name + " is missing"
			case st.Evidence[i].Commit != s.Commit:
				return g.Name, name + " is about commit " + st.Evidence[i].Commit[:12]
			case now.Sub(st.Evidence[i].Time) > FreshFor:
				return g.Name, name + " is stale: of " + st.Evidence[i].Time.UTC().Format(time.DateOnly)
			}
		}
	}
	return "", ""
}

func advance(a resource.Act[ReleaseSpec, ReleaseState, resource.None]) error {
	n := len(a.State.Passed)
	if n == len(Gates) {
		return resource.Refuse("every gate is passed; publish it", "已通过全部阶段;请执行 publish")
	}
	if gate, why := lacking(a.Spec, a.State, n+1, a.Time); why != "" {
		return resource.Refuse("the gate %s is shut: %s", "阶段 %s 未通过:%s", gate, why)
	}
	a.State.Passed = append(a.State.Passed, Gates[n].Name)
	return nil
}

func publish(a resource.Act[ReleaseSpec, ReleaseState, resource.None]) error {
	if a.State.Live != nil {
		return resource.Refuse("it is live already", "已经上线")
	}
	if n := len(a.State.Passed); n < len(Gates) {
		return resource.Refuse("the gate %s is not passed yet", "阶段 %s 尚未通过", Gates[n].Name)
	}
	if gate, why := lacking(a.Spec, a.State, len(Gates), a.Time); why != "" {
		return resource.Refuse("the gate %s is shut: %s", "阶段 %s 未通过:%s", gate, why)
	}
	at := a.Time
	a.State.Live = &at
	return nil
}

// Needs lists the evidence of every gate at a level, for forms and checks.
func Needs(level string) (out []string) {
	for _, g := range Gates {
		out = append(out, g.needs(level)...)
	}
	return out
}
