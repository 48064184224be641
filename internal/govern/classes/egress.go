package classes

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// EgressEnv is what the check of control 1-1 tries. Gate, Events and Founder
// are needed.
type EgressEnv struct {
	Gate    *gate.Gate
	Events  EventLog
	Founder resource.Ref  // who has every right that nothing forbids
	Serve   http.Handler  // API and console; nil = they are not tried
	Secrets deposit.Maker // of the access key that tries the API; nil = none does
	Doors   []Door        // of other parts
	Untried []string      // doors that nothing tries yet, for the evidence
	Now     func() time.Time

	// Class of what is planted; "" = production-user. Of another class than
	// those of users' data the check must fail, which its test does.
	Class string
}

// EventLog is where the canary's events go and are looked for.
type EventLog interface {
	Add(events.Event)
	Flush(context.Context) error
	Search(context.Context, events.Query) ([]events.Event, string, error)
}

// UserData is the class of what is planted.
const UserData = "production-user"

// Egress proves control 1-1 as far as doors are built: a record with a marker,
// of class production-user, does not leave its tenant by any of them, while the
// same record without the class does, and its own tenant reads it. A later door
// joins by one line: of this package below, of another part in EgressEnv.Doors.
func Egress(env EgressEnv) assurance.Check {
	if env.Class == "" {
		env.Class = UserData
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	x := &egress{env, identity.Actor{Principal: env.Founder, Door: "posture", MFA: true}}
	return assurance.Check{
		Control: "1-1", Scope: assurance.Production, Period: time.Hour, Limit: 2 * time.Minute,
		Title:    text.T("Users' data in production leave their tenant by none of the doors that are built: records, logs and exports at the gate, API, console, edge and the streams of nodes", "生产环境的用户数据不会经任何已建成的出口离开其租户:网关的记录、日志与导出,API、控制台、边缘以及节点的数据流"),
		Cost:     text.T("two tenants with a user, a ban, an access key and two nodes for some seconds, some events, about 150 requests in process and 3 at the edge, about 150 leaves", "持续数秒的两个租户及其用户、一个封禁、一个访问密钥和两个节点,若干事件,约 150 个进程内请求和 3 个边缘请求,约 150 个叶子"),
		Positive: x.arrives, Probe: x.stays,
	}
}

type egress struct {
	env EgressEnv
	me  identity.Actor
}

func (x *egress) doors(s *stage) []Door {
	out := append(x.gateDoors(), x.nodeDoor())
	out = append(out, x.httpDoors(s)...)
	return append(out, x.env.Doors...)
}

// arrives shows that each door lets the marker pass to who may have it: a probe
// that finds nothing anywhere would prove nothing.
func (x *egress) arrives(ctx context.Context) error {
	s, away, err := x.plant(ctx, "")
	if err != nil {
		return err
	}
	defer away()
	seen, err := tried(ctx, x.doors(s), s.Planted, twinOf, nil)
	if err == nil && len(seen.shut) > 0 {
		err = fmt.Errorf("what may leave does not come by %s", strings.Join(seen.shut, ", "))
	}
	return err
}

func (x *egress) stays(ctx context.Context, e *assurance.Evidence) error {
	s, away, err := x.plant(ctx, x.env.Class)
	if err != nil {
		return err
	}
	defer away()
	e.Add("planted", "%s, a label, of class %s; tried at the gate as %s, at API and console as %s, as %s and as nobody", s.Ref, x.env.Class, x.me.Principal, stranger, s.keyName())
	seen, err := tried(ctx, x.doors(s), s.Planted, tryOf, func(door, saw string) { e.Add(door, "%s", saw) })
	if err != nil {
		return err
	}
	own, err := x.ownTenant(ctx, s)
	if err != nil {
		return err
	}
	e.Add("its own tenant", "%s", own)
	if len(x.env.Untried) > 0 {
		e.Add("not tried", "%s", strings.Join(x.env.Untried, "; "))
	}
	if len(seen.open) > 0 {
		return assurance.NotHeld("it leaves by %s", "经 %s 流出", strings.Join(seen.open, ", "))
	}
	if len(seen.quiet) > 0 {
		return assurance.NotHeld("nothing tells of the try at %s", "经 %s 的尝试未留下任何记录", strings.Join(seen.quiet, ", "))
	}
	return x.noted(ctx, s, e)
}

// ownTenant has the owner read what is his: a tenant that reads its own data is
// no way out, and a door that is shut to everybody proves nothing of a class.
func (x *egress) ownTenant(ctx context.Context, s *stage) (string, error) {
	o, err := x.env.Gate.Get(ctx, identity.Actor{Principal: owner, Door: "posture", MFA: true}, s.Ref)
	if err != nil || !strings.Contains(fmt.Sprint(o.Metadata.Labels), s.Marker) {
		return "", fmt.Errorf("%s does not read it any more: %w", owner, err)
	}
	return fmt.Sprintf("%s reads it", owner), nil
}
