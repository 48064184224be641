// Package classes proves what classes and types of data do: each check makes
// data of its own in a rehearsal, tries what a caller could try, and leaves
// nothing behind. It owns the checks of controls 1-1, 1-3 to 1-5, 2.1-8, 4.0-1 to
// 4.0-10 and 4.0-13, and what is late about data; it decides nothing, core/policy
// and core/gate do.
package classes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// Gate is what the checks ask of the gate.
type Gate interface {
	Founding() bool
	Registry() *resource.Registry
	Scan(identity.Actor, gate.ListOptions) (*gate.Listing, error)
	RehearseData(context.Context, func(gate.Rehearsal) error) error
}

// Checks are tried as the founder, who may do everything that nothing forbids.
func Checks(g Gate, founder resource.Ref) []assurance.Check {
	c := checks{g, identity.Actor{Principal: founder, Door: "posture", MFA: true}}
	check := func(control, en, zh string, probe func(context.Context, *assurance.Evidence) error) assurance.Check {
		return assurance.Check{
			Control: control, Scope: assurance.Production, Period: time.Hour, Title: text.T(en, zh),
			Cost:     text.T("rehearsed changes and decisions, undone", "演练的更改与判定,均会撤销"),
			Positive: c.seesBoth, Probe: probe,
		}
	}
	return []assurance.Check{
		check("1-3", "Every record has a class that is there; without a label it is the highest", "每条记录均有有效分类;无标签即为最高分类", c.everythingIsClassed),
		check("1-4", "Production is the highest class, of users, business and system; nobody lowers one alone", "production 为最高分类,含用户、业务和系统数据;无人可独自降级", c.loweringWaits),
		check("1-5", "The same caller is refused as soon as the level is raised", "级别提高后,同一调用者立即被拒绝", c.levelDecides),
		check("2.1-8", "Policies follow class and level: every combination of role, class, act and region is as a table says that was written by hand", "策略按分类和级别制定:角色、分类、操作与区域的每种组合均与人工编写的表一致", c.table),
		check("4.0-1", "The inventory lists data assets of customers and of the company with whose they are, and none is made without; stores are not searched for new ones yet", "资产清单包含客户和公司的数据资产,均注明归属,未注明者无法创建;尚未实现在存储中自动发现", c.inventory),
		check("4.0-3", "What lies in a disk, host, backup, file or table has its class, is never above it, and no container is lowered below its content; what a disk once held is not remembered yet", "磁盘、主机、备份、文件或表中的内容取其分类,不高于容器;容器不能降到内容之下;尚未记忆磁盘曾存放的内容", c.containers),
		check("4.0-2", "What is done to data follows the rules of their class, for everybody", "对数据的处理均遵循其分类的规则,适用于所有人", c.table),
		check("4.0-10", "No act is permitted that the table does not permit", "表中未允许的处理均不被允许", c.table),
		check("4.0-4", "What the type does not permit is not done", "类型不允许的处理不会执行", c.differ("processing")),
		check("4.0-5", "Data are neither put nor handled outside the regions of their type", "数据不会在其类型的区域之外存放或处理", c.differ("region of data", "region of administrators")),
		check("4.0-6", "The declared purpose decides, and derived data have the highest class of their sources", "声明的用途参与判定,派生数据取来源的最高分类", c.context),
		check("4.0-7", "A law forbids, a legal hold keeps, a type's time must pass, and data that are kept for too long are named", "法律可禁止处理,法律保全与保留期可阻止删除,超期保留的数据会被列出", c.law),
		check("4.0-8", "A clause of a contract forbids what it says, and is named when its duty was due and is not done", "合同条款禁止其所列的处理;义务到期未履行即被列出", c.contract),
		check("4.0-9", "Nothing is shared but with whom the type names and under a duty that has not ended; one that has is named", "仅与类型所列的第三方、且在未到期的义务之下共享;已到期的会被列出", c.shares),
		check("4.0-13", "Of two assets of one level, each attribute alone decides", "级别相同的两个资产,任一属性不同即有不同判定", c.differ()),
	}
}

type checks struct {
	g  Gate
	me identity.Actor
}

// canary is the name of what the checks make.
const canary = "dun-canary"

// usual is an act that the usual type permits.
var usual = gate.Use{Purpose: "canary", Region: "canary", Recipient: "canary"}

func put(a identity.Actor, o *resource.Object, revision uint64) gate.Request {
	return gate.Request{Actor: a, Reason: "rehearsed by the posture", Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: revision}}}
}

func meta(name, class string) resource.Metadata {
	m := resource.Metadata{Tenant: resource.Platform, Name: name}
	if class != "" {
		m.Labels = map[string]string{resource.LabelClass: class}
	}
	return m
}

// usualType permits a share of data of the canary.
func usualType() *data.DataTypeSpec {
	list := []string{"canary"}
	return &data.DataTypeSpec{Title: "Canary", Class: "public", Processing: resource.DataActs(), Regions: list, AdminRegions: list, Purposes: list, ThirdParties: list}
}

// assetOf is an asset as the checks make them; class "" = without a label.
func assetOf(name, kind, class string) *resource.Object {
	return &resource.Object{Kind: "DataAsset", Version: 1, Metadata: meta(name, class), Spec: &data.DataAssetSpec{
		Form: "content", What: "file", Type: kind, Owner: canary, OwnerType: "company", Region: "canary",
	}}
}

// world makes a type and an asset of it, in a tenant that it makes unless it is
// the platform; spec nil = the usual type.
func (c checks) world(r gate.Rehearsal, tenant string, spec *data.DataTypeSpec, class string) (resource.Ref, uint64, error) {
	if spec == nil {
		spec = usualType()
	}
	list := []*resource.Object{
		{Kind: "Tenant", Version: 1, Metadata: meta(tenant, ""), Spec: &system.TenantSpec{}},
		{Kind: "DataType", Version: 1, Metadata: resource.Metadata{Tenant: tenant, Name: canary}, Spec: spec},
		assetOf(canary, canary, class),
	}
	list[2].Metadata.Tenant = tenant
	if tenant == resource.Platform {
		list = list[1:]
	}
	var out []gate.Result
	for _, o := range list {
		var err error
		if out, err = r.Arrange(put(c.me, o, 0)); err != nil {
			return o.Ref(), 0, fmt.Errorf("make %s: %w", o.Ref(), err)
		}
	}
	return out[0].Ref, out[0].Revision, nil
}

// shared makes the usual asset, and a share of it that is in force.
func (c checks) shared(r gate.Rehearsal) (resource.Ref, error) {
	ref, _, err := c.world(r, resource.Platform, nil, "public")
	if err == nil {
		err = c.duty(r, c.me, canary, ref, time.Now().Add(time.Hour), usual)
	}
	return ref, err
}

// duty makes a share of an asset.
func (c checks) duty(r gate.Rehearsal, by identity.Actor, name string, of resource.Ref, ends time.Time, use gate.Use) error {
	_, err := r.Arrange(put(by, &resource.Object{Kind: "ThirdPartyDuty", Version: 1, Metadata: resource.Metadata{Tenant: of.Tenant, Name: name}, Spec: &data.ThirdPartyDutySpec{
		Asset: of.Name, Recipient: use.Recipient, Purpose: use.Purpose, Duty: canary, Ends: ends,
	}}, 0))
	return err
}

// seesBoth shows that a rehearsal tells what is permitted from what is not.
func (c checks) seesBoth(ctx context.Context) error {
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, err := c.shared(r)
		if err != nil {
			return err
		}
		if err := r.Handle(c.me, ref, "share", usual); err != nil {
			return fmt.Errorf("what every attribute permits is refused: %w", err)
		}
		ghost := identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: resource.Platform, Name: "dun-nobody"}, Door: "posture"}
		if err := r.Handle(ghost, ref, "share", usual); err == nil {
			return errors.New("nobody may share data")
		}
		return nil
	})
}

// refused judges the answer to what must be refused.
func refused(e *assurance.Evidence, what string, err error) error {
	if err == nil {
		return assurance.NotHeld("%s is permitted", "%s 被允许", what)
	}
	if _, waits := errors.AsType[*gate.Waiting](err); !waits && !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Invalid) {
		return fmt.Errorf("%s: %w", what, err)
	}
	e.Add(what, "refused: %s", err)
	return nil
}
