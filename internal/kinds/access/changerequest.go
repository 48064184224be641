package access

import (
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ApprovalService is the service that ends change requests and carries them out.
const ApprovalService = "approvals"

// Phases of a change request.
const (
	PhaseOpen       = "open"
	PhaseApproved   = "approved" // to be carried out, within its window
	PhaseDone       = "done"
	PhaseDenied     = "denied"
	PhaseCancelled  = "cancelled"
	PhaseExpired    = "expired"
	PhaseFailed     = "failed"     // what was approved could not be carried out
	PhaseGlass      = "glass"      // carried out without approval, to be reviewed until it expires
	PhaseUnreviewed = "unreviewed" // nobody reviewed it in time
	PhaseRejected   = "rejected"   // reviewed, and refused: it has no business to be in force
)

// ChangeRequestSpec is a change that waits, exactly as it was asked for. It
// never changes: what was approved is what is carried out.
type ChangeRequestSpec struct {
	Changes    []RequestedChange `json:"changes" required:"true" min:"1" max:"100" en:"Changes" zh:"更改"`
	Reason     string            `json:"reason,omitempty" max:"1024" en:"Reason" zh:"理由"`
	Requester  string            `json:"requester" required:"true" format:"name" en:"Requested by" zh:"请求人"`
	Tenant     string            `json:"requesterTenant" required:"true" format:"name" en:"Requester's tenant" zh:"请求人租户"`
	UID        string            `json:"requesterUID,omitempty" max:"26" en:"Requester's UID" zh:"请求人 UID"`
	MFA        bool              `json:"mfa,omitempty" en:"Two factors" zh:"双因素" help:"The requester had proven two factors" help_zh:"请求人已通过双因素验证"`
	BreakGlass bool              `json:"breakGlass,omitempty" en:"Break glass" zh:"应急" help:"It was carried out at once, without approval; others review it until it expires" help_zh:"已在未经审批的情况下立即执行;须由他人在到期前复核"`
	Door       string            `json:"door,omitempty" max:"32" en:"Door" zh:"入口"`
	Source     string            `json:"source,omitempty" max:"64" en:"Source" zh:"来源"`
	Rules      []string          `json:"rules,omitempty" max:"32" en:"Rules" zh:"规则" help:"Approval rules that ask for assent" help_zh:"要求审批的规则"`
	Steps      []RequestStep     `json:"steps" required:"true" min:"1" max:"64" en:"Steps" zh:"步骤"`
	NotBefore  *time.Time        `json:"notBefore,omitempty" en:"Not before" zh:"不早于" help:"Window in which it is carried out" help_zh:"执行时间窗口"`
	NotAfter   *time.Time        `json:"notAfter,omitempty" en:"Not after" zh:"不晚于"`
	Expires    time.Time         `json:"expires" required:"true" en:"Expires" zh:"到期时间"`
}

// Asker is the user who asked.
func (s *ChangeRequestSpec) Asker() resource.Ref {
	return resource.Ref{Kind: "User", Tenant: s.Tenant, Name: s.Requester, UID: s.UID}
}

// RequestedChange is one change of one record.
type RequestedChange struct {
	Op       string `json:"op" required:"true" enum:"put,patch,delete,act,release" en:"Operation" zh:"操作"`
	Kind     string `json:"kind" required:"true" max:"64" en:"Kind" zh:"类型"`
	Tenant   string `json:"tenant" required:"true" format:"name" en:"Tenant" zh:"租户"`
	Name     string `json:"name" required:"true" max:"127" en:"Name" zh:"名称"`
	UID      string `json:"uid,omitempty" max:"26" en:"UID" zh:"UID"`
	Revision uint64 `json:"revision,omitempty" en:"Base revision" zh:"基准修订" help:"That was read; 0 = the record is to be made" help_zh:"读取时的修订;0 = 新建"`
	Action   string `json:"action" required:"true" max:"64" en:"Action" zh:"动作" help:"As in create" help_zh:"例如 create"`
	Verb     string `json:"verb,omitempty" max:"64" en:"Verb" zh:"操作名"`
	Content  string `json:"content,omitempty" max:"49152" en:"Content" zh:"内容" help:"The record, the patch or the verb's input, in JSON" help_zh:"记录、补丁或操作的输入,JSON 格式"`
	Withheld bool   `json:"withheld,omitempty" en:"Content withheld" zh:"内容已隐去" help:"You may not read every record that the request is about, so its content is not shown to you" help_zh:"您无权查看该请求涉及的全部记录,因此不显示其内容"`
}

// Person is one who takes part.
type Person struct {
	Kind   string `json:"kind" required:"true" enum:"User,Service,Node" en:"Kind" zh:"类型"`
	Tenant string `json:"tenant" required:"true" format:"name" en:"Tenant" zh:"租户"`
	Name   string `json:"name" required:"true" format:"name" en:"Name" zh:"名称"`
	UID    string `json:"uid,omitempty" max:"26" en:"UID" zh:"UID"`
}

// Ref is the record of the person.
func (p Person) Ref() resource.Ref {
	return resource.Ref{Kind: p.Kind, Tenant: p.Tenant, Name: p.Name, UID: p.UID}
}

// RequestStep is a step of a rule as it was when the request was made.
type RequestStep struct {
	Rule string       `json:"rule" required:"true" max:"128" en:"Rule" zh:"规则" help:"tenant/name" help_zh:"租户/名称"`
	Step ApprovalStep `json:"step" required:"true" en:"Step" zh:"步骤"`
}

// Needed is how many have to assent.
func (s RequestStep) Needed() int { return max(1, s.Step.Count) }

// ChangeRequestState is how far it is.
type ChangeRequestState struct {
	Phase     string       `json:"phase" en:"Phase" zh:"阶段" help:"open, approved, done, denied, cancelled, expired or failed; of a break-glass change glass, done, rejected or unreviewed" help_zh:"open、approved、done、denied、cancelled、expired 或 failed;应急更改为 glass、done、rejected 或 unreviewed"`
	Step      int          `json:"step" en:"Step" zh:"当前步骤"`
	Since     time.Time    `json:"since" en:"Since" zh:"步骤开始时间"`
	Votes     []Vote       `json:"votes,omitempty" en:"Votes" zh:"审批意见"`
	Handed    []Delegation `json:"handed,omitempty" en:"Delegations" zh:"委托"`
	Outcome   string       `json:"outcome,omitempty" en:"Outcome" zh:"结果"`
	Revisions []uint64     `json:"revisions,omitempty" en:"Revisions" zh:"产生的修订"`
}

// Vote is what one person said.
type Vote struct {
	By     Person    `json:"by" en:"By" zh:"审批人"`
	Step   int       `json:"step" en:"Step" zh:"步骤"`
	At     time.Time `json:"at" en:"At" zh:"时间"`
	Yes    bool      `json:"yes" en:"Assent" zh:"同意"`
	MFA    bool      `json:"mfa,omitempty" en:"Two factors" zh:"双因素"`
	Reason string    `json:"reason,omitempty" en:"Reason" zh:"理由"`
}

// Delegation hands one person's say in one step to another.
type Delegation struct {
	From   Person    `json:"from" en:"From" zh:"委托人"`
	To     Person    `json:"to" en:"To" zh:"受托人"`
	Step   int       `json:"step" en:"Step" zh:"步骤"`
	At     time.Time `json:"at" en:"At" zh:"时间"`
	Reason string    `json:"reason,omitempty" en:"Reason" zh:"理由"`
}

// VoteInput is what approve, deny and cancel take.
type VoteInput struct {
	Reason string `json:"reason,omitempty" max:"1024" en:"Reason" zh:"理由"`
}

// DelegateInput is what delegate takes.
type DelegateInput struct {
	To     string `json:"to" required:"true" format:"name" en:"To" zh:"受托人" help:"A user of your tenant" help_zh:"本租户的用户"`
	Reason string `json:"reason,omitempty" max:"1024" en:"Reason" zh:"理由"`
}

// RequestEndInput is what the service of approvals says of the end.
type RequestEndInput struct {
	Phase     string   `json:"phase" required:"true" enum:"done,failed,expired,unreviewed" en:"Phase" zh:"阶段"`
	Outcome   string   `json:"outcome,omitempty" max:"1024" en:"Outcome" zh:"结果"`
	Revisions []uint64 `json:"revisions,omitempty" max:"100" en:"Revisions" zh:"产生的修订"`
}

// ChangeRequestStatus is what was found out for those who decide.
type ChangeRequestStatus struct {
	Replayed  int      `json:"replayed" en:"Replayed" zh:"重放的决定" help:"Decisions of the last days that were made again under the policy as it would be" help_zh:"在拟议策略下重新做出的近期决定数"`
	Days      int      `json:"days" en:"Days" zh:"天数"`
	Denied    []string `json:"denied,omitempty" en:"Now refused" zh:"将被拒绝" help:"What was allowed and would be refused; the first 20" help_zh:"原本允许而将被拒绝的决定;前 20 项"`
	Allowed   []string `json:"allowed,omitempty" en:"Now allowed" zh:"将被允许" help:"What was refused and would be allowed; the first 20" help_zh:"原本拒绝而将被允许的决定;前 20 项"`
	Different int      `json:"different" en:"Different" zh:"不同数"`
}

// ChangeRequest declares the kind.
func ChangeRequest() *resource.Kind {
	act := func(name, en, zh, den, dzh string, do func(resource.Act[ChangeRequestSpec, ChangeRequestState, VoteInput]) error) resource.Verb {
		return resource.On(resource.Verb{Name: name, Title: resource.T(en, zh), Doc: resource.T(den, dzh)}, do)
	}
	return resource.Define(resource.Kind{
		Name: "ChangeRequest", Plural: "changerequests", Short: "changerequest", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Change request", "变更请求"),
		Doc:     resource.T("A change that waits for the assent of others. The change that needs it makes it, or dun request; once approved it is carried out as it was asked for, if nothing has moved since.", "等待他人审批的更改。由需要审批的更改或 dun request 产生;批准后若记录未变,则按原样执行。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Phase", "阶段"), Value: func(o *resource.Object) string { return requestState(o).Phase }},
			{Title: resource.T("Requested by", "请求人"), Value: func(o *resource.Object) string {
				s := o.Spec.(*ChangeRequestSpec)
				return s.Tenant + "/" + s.Requester
			}},
			{Title: resource.T("Changes", "更改"), Value: func(o *resource.Object) string {
				var out []string
				for i, c := range o.Spec.(*ChangeRequestSpec).Changes {
					if i == 3 {
						out = append(out, "…")
						break
					}
					out = append(out, c.Action+" "+c.Kind+" "+c.Tenant+"/"+c.Name)
				}
				return strings.Join(out, ", ")
			}},
			{Title: resource.T("Step", "步骤"), Value: stepOf},
		},
		Example: `kind: ChangeRequest
metadata: {tenant: platform, name: cr-example}
spec:
  reason: the new colleague watches the night
  requester: operator
  requesterTenant: platform
  rules: [platform/builtin-access]
  steps: [{rule: platform/builtin-access, step: {name: second-person, roles: [operator]}}]
  expires: 2026-12-02T09:00:00Z
  changes:
    - {op: put, kind: Role, tenant: platform, name: watch, action: create, content: '{"kind":"Role","metadata":{"tenant":"platform","name":"watch"},"spec":{"description":"Watches"}}'}
`,
		Own: true, Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalNone, Presence: true, Retention: resource.Forever,
		NewState: func() any { return &ChangeRequestState{Phase: PhaseOpen} }, NewStatus: func() any { return new(ChangeRequestStatus) }, StatusOwner: ApprovalService,
		Settle: func(old, next *resource.Object) any {
			if old != nil {
				return old.State
			}
			s := &ChangeRequestState{Phase: PhaseOpen, Since: next.Metadata.Created}
			if next.Spec.(*ChangeRequestSpec).BreakGlass {
				s.Phase = PhaseGlass
			}
			return s
		},
		Verbs: []resource.Verb{
			act("approve", "Approve", "批准", "Assents to the change. Who asked for it cannot, nor whoever may not make it himself.", "同意此更改。请求人本人以及无权进行该更改者不能批准。", approve),
			act("deny", "Deny", "拒绝", "Refuses the change for good.", "拒绝此更改,不可撤销。", deny),
			act("cancel", "Cancel", "撤回", "Takes the request back; who asked for it may.", "撤回请求;由请求人执行。", cancel),
			resource.On(resource.Verb{Name: "delegate", Title: resource.T("Delegate", "委托"), Doc: resource.T("Hands your say in this step to somebody else; it is kept who did.", "将您在此步骤的审批权委托给他人;委托会被记录。")}, delegate),
			resource.On(resource.Verb{Name: "end", By: ApprovalService, Title: resource.T("End", "结束"), Doc: resource.T("Says what became of it.", "记录其结果。")}, endRequest),
		},
	}, resource.Behaviour[ChangeRequestSpec]{Validate: func(_ *resource.Metadata, s *ChangeRequestSpec, r *resource.Report) {
		if s.NotBefore != nil && s.NotAfter != nil && !s.NotBefore.Before(*s.NotAfter) {
			r.Add("spec.notAfter", "the window closes before it opens", "窗口在开始之前就已结束")
		}
	}})
}

func requestState(o *resource.Object) *ChangeRequestState {
	if s, ok := o.State.(*ChangeRequestState); ok && s != nil {
		return s
	}
	return &ChangeRequestState{Phase: PhaseOpen}
}

func stepOf(o *resource.Object) string {
	spec, st := o.Spec.(*ChangeRequestSpec), requestState(o)
	if st.Phase != PhaseOpen || st.Step >= len(spec.Steps) {
		return ""
	}
	step := spec.Steps[st.Step]
	yes := 0
	for _, v := range st.Votes {
		if v.Step == st.Step && v.Yes {
			yes++
		}
	}
	return fmt.Sprintf("%s %d/%d", step.Step.Name, yes, step.Needed())
}

type vote = resource.Act[ChangeRequestSpec, ChangeRequestState, VoteInput]

func who(r resource.Ref) Person { return Person{Kind: r.Kind, Tenant: r.Tenant, Name: r.Name} }

func same(a, b Person) bool { return a.Kind == b.Kind && a.Tenant == b.Tenant && a.Name == b.Name }

// open refuses what is over.
func open(s *ChangeRequestState) error {
	if s.Phase != PhaseOpen {
		return resource.Refuse("the request is %s", "该请求的状态为 %s", s.Phase)
	}
	return nil
}

// approve counts one assent; the last one of the last step approves. Who may is
// the gate's to say: it asks govern/approvals.
func approve(a vote) error {
	s := a.State
	glass := s.Phase == PhaseGlass
	if !glass {
		if err := open(s); err != nil {
			return err
		}
	}
	if a.Time.After(a.Spec.Expires) {
		return resource.Refuse("the request has expired", "该请求已过期")
	}
	for _, v := range s.Votes {
		if same(v.By, who(a.Actor)) {
			return resource.Refuse("you have assented already, in step %d", "您已在步骤 %d 中同意", v.Step+1)
		}
	}
	s.Votes = append(s.Votes, Vote{By: who(a.Actor), Step: s.Step, At: a.Time, Yes: true, MFA: a.MFA, Reason: a.Input.Reason})
	yes := 0
	for _, v := range s.Votes {
		if v.Step == s.Step && v.Yes {
			yes++
		}
	}
	if yes < a.Spec.Steps[s.Step].Needed() {
		return nil
	}
	s.Step, s.Since = s.Step+1, a.Time
	if s.Step == len(a.Spec.Steps) {
		s.Phase = PhaseApproved
		if glass {
			s.Phase = PhaseDone
		}
	}
	return nil
}

func deny(a vote) error {
	if a.State.Phase == PhaseGlass {
		a.State.Votes = append(a.State.Votes, Vote{By: who(a.Actor), Step: a.State.Step, At: a.Time, MFA: a.MFA, Reason: a.Input.Reason})
		a.State.Phase, a.State.Outcome = PhaseRejected, a.Input.Reason
		return nil
	}
	if err := open(a.State); err != nil {
		return err
	}
	a.State.Votes = append(a.State.Votes, Vote{By: who(a.Actor), Step: a.State.Step, At: a.Time, Reason: a.Input.Reason})
	a.State.Phase, a.State.Outcome = PhaseDenied, a.Input.Reason
	return nil
}

func cancel(a vote) error {
	if a.State.Phase != PhaseApproved {
		if err := open(a.State); err != nil {
			return err
		}
	}
	a.State.Phase, a.State.Outcome = PhaseCancelled, a.Input.Reason
	return nil
}

func delegate(a resource.Act[ChangeRequestSpec, ChangeRequestState, DelegateInput]) error {
	s := a.State
	if err := open(s); err != nil {
		return err
	}
	from, to := who(a.Actor), Person{Kind: "User", Tenant: a.Actor.Tenant, Name: a.Input.To}
	if same(from, to) {
		return resource.Refuse("that is you", "不能委托给自己")
	}
	for _, d := range s.Handed {
		if d.Step == s.Step && (same(d.From, to) || same(d.From, from)) {
			return resource.Refuse("a delegation does not go back, and is given once", "委托不能返还,且只能委托一次")
		}
	}
	s.Handed = append(s.Handed, Delegation{From: from, To: to, Step: s.Step, At: a.Time, Reason: a.Input.Reason})
	return nil
}

func endRequest(a resource.Act[ChangeRequestSpec, ChangeRequestState, RequestEndInput]) error {
	s := a.State
	if s.Phase != PhaseApproved && !(s.Phase == PhaseOpen && a.Input.Phase == PhaseExpired) && !(s.Phase == PhaseGlass && a.Input.Phase == PhaseUnreviewed) {
		return resource.Refuse("the request is %s", "该请求的状态为 %s", s.Phase)
	}
	s.Phase, s.Outcome, s.Revisions = a.Input.Phase, a.Input.Outcome, a.Input.Revisions
	return nil
}
