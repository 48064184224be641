package scrub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

// CheckEnv is what the checks of the scrubbing centre use. Both are asked of the
// privileged half.
type CheckEnv struct {
	Trials func() ([]Trial, error)
	State  func() (State, error)
}

// leak is how much of a flood may pass after its limit's first moment: what a
// tenth of a second, or eight packets, of the usual rate is.
const leak = 20

// Checks attack the twin of the filter; one looks at what is really attached.
func Checks(env CheckEnv) []assurance.Check {
	var out []assurance.Check
	for _, c := range []struct {
		control string
		title   text.Text
		whats   []string
	}{
		{"8.1-1", text.T("Floods are told from honest senders: every vector is dropped, connections and path-MTU messages pass", "洪水与正常流量得到区分:各类攻击被丢弃,正常连接和路径 MTU 消息放行"), nil},
		{"8.1-3", text.T("Floods of the network, the transport and the application layer are scrubbed", "网络层、传输层和应用层的洪水均被清洗"), []string{"icmp", "frag", "syn", "udp", "dns", "connect"}},
		{"8.1-5", text.T("A SYN flood is answered by cookies, of which none reaches the host; who answers one connects", "SYN 洪水以 cookie 应答,不到达主机;回应 cookie 者可建立连接"), []string{"syn", "connect"}},
		{"8.1-6", text.T("A UDP flood is dropped above what is usual", "超出正常速率的 UDP 洪水被丢弃"), []string{"udp", "connect"}},
		{"8.1-7", text.T("A flood of DNS queries is asked to come by TCP", "要求 DNS 查询洪水改用 TCP"), []string{"dns", "connect"}},
		{"8.1-8", text.T("Segments of no connection are dropped", "不属于任何连接的 TCP 报文被丢弃"), []string{"ack", "rst", "synack", "connect"}},
		{"8.1-9", text.T("An ICMP flood is dropped above what is usual; path-MTU messages pass", "超出正常速率的 ICMP 洪水被丢弃;路径 MTU 消息放行"), []string{"icmp", "path-mtu"}},
		{"8.1-11", text.T("Amplification, fragments, RST, SYN-ACK and other protocols are met as well", "放大、分片、RST、SYN-ACK 及其他协议的洪水同样被处置"), []string{"amp", "frag", "rst", "synack", "gre"}},
		{"8.1-23", text.T("Once it is met, no more of a flood passes than its limit lets through; of honest senders nothing is lost", "处置生效后,放行的洪水不超过其限额;正常流量无损失"), nil},
		{"9.1-4", text.T("A flood that a host behind the filter sends is cut", "过滤器后的主机向外发送的洪水被切断"), []string{"out"}},
	} {
		out = append(out, assurance.Check{
			Control: c.control, Scope: assurance.Twin, Period: time.Hour, Title: c.title,
			Cost:     text.T("some thousand packets handed to a second filter that is attached to nothing", "向未挂载的第二个过滤器投递数千个数据包"),
			Positive: func(context.Context) error { return env.sees(c.whats) },
			Probe:    func(_ context.Context, e *assurance.Evidence) error { return env.probe(c.whats, e) },
		})
	}
	return append(out, env.centre())
}

func (env CheckEnv) trials(whats []string) ([]Trial, error) {
	all, err := env.Trials()
	if err != nil {
		return nil, err
	}
	if whats == nil {
		return all, nil
	}
	return slices.DeleteFunc(all, func(t Trial) bool { return !slices.Contains(whats, t.What) }), nil
}

// sees shows that what is sent would be seen where nothing is protected.
func (env CheckEnv) sees(whats []string) error {
	list, err := env.trials(whats)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t.Twin != t.Sent || t.Sent == 0 {
			return fmt.Errorf("%s, IPv%d: without a policy %d of %d pass", t.What, t.Family, t.Twin, t.Sent)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("nothing was tried")
	}
	return nil
}

func (env CheckEnv) probe(whats []string, e *assurance.Evidence) error {
	list, err := env.trials(whats)
	if err != nil {
		return err
	}
	for _, t := range list {
		name := fmt.Sprintf("%s, IPv%d", t.What, t.Family)
		e.Add(name, "%d sent, %d passed, %d answered", t.Sent, t.Passed, t.Answer)
		honest := t.What == "connect" || t.What == "path-mtu"
		switch {
		case honest && t.Passed != t.Sent:
			return assurance.NotHeld("%s: %d of %d honest ones are lost", "%s:%[3]d 个正常请求中有 %[2]d 个丢失", name, t.Sent-t.Passed, t.Sent)
		case !honest && t.Passed > leak:
			return assurance.NotHeld("%s: %d of %d attacking packets pass", "%s:%[3]d 个攻击包中有 %[2]d 个放行", name, t.Passed, t.Sent)
		}
	}
	e.Add("not counted", "what passes before an alarm, and up to %d packets of a limit's first moment", leak)
	return nil
}

// centre is control 8.1-15: what the configuration names is really filtered.
func (env CheckEnv) centre() assurance.Check {
	return assurance.Check{
		Control: "8.1-15", Scope: assurance.Production, Period: 5 * time.Minute,
		Title:    text.T("There is a scrubbing centre: every interface that the configuration names is filtered, and stays so over a restart", "设有清洗中心:配置指定的每个接口均已过滤,并在重启期间保持"),
		Cost:     text.T("none", "无"),
		Positive: func(context.Context) error { return seesOpen() },
		Probe: func(_ context.Context, e *assurance.Evidence) error {
			s, err := env.State()
			if err != nil {
				return err
			}
			for _, i := range s.Interfaces {
				e.Add(i.Name, "%s %s", i.Mode, i.Why)
			}
			return judgeState(s)
		},
	}
}

func judgeState(s State) error {
	if s.Failed != "" {
		return assurance.NotHeld("there is no filter: %s", "没有过滤器:%s", s.Failed)
	}
	for _, i := range s.Interfaces {
		if i.Mode == ModeOff {
			return assurance.NotHeld("%s is not filtered: %s", "%s 未过滤:%s", i.Name, i.Why)
		}
	}
	if s.Pinned != "" {
		return assurance.NotHeld("a restart takes the filter away: %s", "重启会移除过滤器:%s", s.Pinned)
	}
	return nil
}

func seesOpen() error {
	for _, bad := range []State{{Failed: "x"}, {Interfaces: []Interface{{Name: "a", Mode: ModeOff}}}, {Pinned: "x"}} {
		if judgeState(bad) == nil {
			return fmt.Errorf("%+v is taken for a filter", bad)
		}
	}
	return nil
}
