package scrub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

// CheckEnv is what the checks of the scrubbing centre use: what every machine
// that filters tells of its privileged half.
type CheckEnv struct {
	Trials func(context.Context) (map[string][]Trial, error) // by machine; "" = this one
	States func(context.Context) (map[string]State, error)
	Endure func(context.Context) (map[string]Endurance, error)
	Here   func() bool     // whether any machine filters
	Nodes  func() []string // that do, beside this one
}

// The layout that 60 million packets a second are computed for: one machine with
// this many cores and as many queues of its interface, at 64 bytes a packet.
// driverTime is what the driver spends on a packet before the filter (Høiland-
// Jørgensen and others, The eXpress Data Path, CoNEXT 2018: 24 Mpps a core); the
// cost of random sources beside few is bounded by bench/scrub.
const (
	layoutCores  = 32
	layoutTarget = 60.0 // million packets a second
	driverTime   = 42.0 // ns
	manySources  = 1.3
)

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
			Positive: func(ctx context.Context) error { return env.sees(ctx, c.whats) },
			Probe:    func(ctx context.Context, e *assurance.Evidence) error { return env.probe(ctx, c.whats, e) },
		})
	}
	out = append(out, env.centre(), env.steady(), env.capacity())
	for i := range out {
		out[i].Here, out[i].Nodes = env.Here, env.Nodes
	}
	return out
}

// of names what is said of a machine; this one has no name.
func of(node, what string) string {
	if node == "" {
		return what
	}
	return node + ": " + what
}

// trials are those of whats, nil = of all, on every machine. One that leaves a
// trial out proves nothing.
func (env CheckEnv) trials(ctx context.Context, whats []string) (out []Trial, err error) {
	all, err := env.Trials(ctx)
	if err != nil {
		return nil, err
	}
	if whats == nil {
		whats = tried
	}
	for _, node := range slices.Sorted(maps.Keys(all)) {
		for _, family := range []int{4, 6} {
			for _, what := range whats {
				i := slices.IndexFunc(all[node], func(t Trial) bool { return t.What == what && t.Family == family })
				if i < 0 || all[node][i].Sent == 0 {
					return nil, fmt.Errorf("%s, IPv%d: it was not tried", of(node, what), family)
				}
				t := all[node][i]
				t.Node = node
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// sees shows that what is sent would be seen where nothing is protected.
func (env CheckEnv) sees(ctx context.Context, whats []string) error {
	list, err := env.trials(ctx, whats)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t.Twin != t.Sent || t.Sent == 0 {
			return fmt.Errorf("%s, IPv%d: without a policy %d of %d pass", of(t.Node, t.What), t.Family, t.Twin, t.Sent)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("nothing was tried")
	}
	return nil
}

func (env CheckEnv) probe(ctx context.Context, whats []string, e *assurance.Evidence) error {
	list, err := env.trials(ctx, whats)
	if err != nil {
		return err
	}
	for _, t := range list {
		name := fmt.Sprintf("%s, IPv%d", of(t.Node, t.What), t.Family)
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
		Probe: func(ctx context.Context, e *assurance.Evidence) error {
			list, err := env.States(ctx)
			if err != nil {
				return err
			}
			nodes := slices.Sorted(maps.Keys(list))
			for _, node := range nodes {
				for _, i := range list[node].Interfaces {
					e.Add(of(node, i.Name), "%s %s", i.Mode, i.Why)
				}
			}
			for _, node := range nodes {
				if err := judgeState(node, list[node]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func judgeState(node string, s State) error {
	if s.Failed == "" && len(s.Interfaces) == 0 {
		s.Failed = "no interface is named"
	}
	if s.Failed != "" {
		return assurance.NotHeld("there is no filter: %s", "没有过滤器:%s", of(node, s.Failed))
	}
	for _, i := range s.Interfaces {
		if i.Mode == ModeOff {
			return assurance.NotHeld("%s is not filtered: %s", "%s 未过滤:%s", of(node, i.Name), i.Why)
		}
	}
	if s.Pinned != "" {
		return assurance.NotHeld("a restart takes the filter away: %s", "重启会移除过滤器:%s", of(node, s.Pinned))
	}
	return nil
}

func seesOpen() error {
	for _, bad := range []State{{}, {Failed: "x"}, {Interfaces: []Interface{{Name: "a", Mode: ModeOff}}}, {Interfaces: []Interface{{Name: "a", Mode: ModeNative}}, Pinned: "x"}} {
		if judgeState("", bad) == nil {
			return fmt.Errorf("%+v is taken for a filter", bad)
		}
	}
	return nil
}

// steady is control 8.1-19.
func (env CheckEnv) steady() assurance.Check {
	return assurance.Check{
		Control: "8.1-19", Scope: assurance.Twin, Period: 24 * time.Hour,
		Title:    text.T("An upgrade under attack opens nothing and cuts nobody; twice the load meets the same limit; sources leave nothing behind", "攻击期间升级既不放行攻击也不中断连接;负载加倍仍受同一限额;来源不留下任何状态"),
		Cost:     text.T("a second of two cores, on a second filter that is attached to nothing", "两个核心约一秒,用于未挂载的第二个过滤器"),
		Positive: func(context.Context) error { return seesWeary() },
		Probe: func(ctx context.Context, e *assurance.Evidence) error {
			return env.each(ctx, func(node string, x Endurance) error {
				e.Add(of(node, "upgrade"), "%d SYNs before and after it, %d passed; %d of %d segments of proven connections passed; where nothing is protected %d pass", x.Upgrade.Sent, x.Upgrade.Passed, x.Honest.Passed, x.Honest.Sent, x.Upgrade.Twin)
				e.Add(of(node, "load"), "of %d packets %d passed, of %d packets %d", x.Burst, x.Load[0], 2*x.Burst, x.Load[1])
				e.Add(of(node, "sources"), "%d sent once each: %d entries, %d bytes more", x.Sources, x.Entries, x.Grown)
				e.Add("not here", "72 hours; make soak runs longer")
				return judgeEndurance(x)
			})
		},
	}
}

// each judges what every machine endured.
func (env CheckEnv) each(ctx context.Context, judge func(string, Endurance) error) error {
	list, err := env.Endure(ctx)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("nothing was tried")
	}
	for _, node := range slices.Sorted(maps.Keys(list)) {
		err = errors.Join(err, judge(node, list[node]))
	}
	return err
}

func judgeEndurance(x Endurance) error {
	switch {
	case x.Upgrade.Sent == 0 || x.Upgrade.Twin != x.Upgrade.Sent || x.Honest.Sent == 0 || x.Sources == 0:
		return fmt.Errorf("nothing was tried")
	case x.Upgrade.Passed > 0:
		return assurance.NotHeld("%d of %d packets pass while the filter is renewed", "更新过滤器期间 %[2]d 个包中有 %[1]d 个放行", x.Upgrade.Passed, x.Upgrade.Sent)
	case x.Honest.Passed != x.Honest.Sent:
		return assurance.NotHeld("an upgrade cuts %d of %d connections", "升级中断了 %[2]d 个连接中的 %[1]d 个", x.Honest.Sent-x.Honest.Passed, x.Honest.Sent)
	case x.Load[0] > leak || x.Load[1] > leak:
		return assurance.NotHeld("%d packets of a load and %d of twice that pass", "一份负载放行 %d 个包,两份放行 %d 个", x.Load[0], x.Load[1])
	case x.Entries > 0 || x.Grown > 0:
		return assurance.NotHeld("%d sources leave %d entries and %d bytes", "%d 个来源留下 %d 个条目和 %d 字节", x.Sources, x.Entries, x.Grown)
	}
	return nil
}

func seesWeary() error {
	good := Endurance{Upgrade: Trial{Sent: 2, Twin: 2}, Honest: Trial{Sent: 2, Passed: 2}, Sources: 2}
	if err := judgeEndurance(good); err != nil {
		return err
	}
	for _, change := range []func(*Endurance){
		func(x *Endurance) { x.Upgrade.Passed = 1 }, func(x *Endurance) { x.Honest.Passed = 1 }, func(x *Endurance) { x.Load[1] = leak + 1 },
		func(x *Endurance) { x.Entries = 1 }, func(x *Endurance) { x.Grown = 1 }, func(x *Endurance) { x.Upgrade.Twin = 0 },
	} {
		bad := good
		change(&bad)
		if judgeEndurance(bad) == nil {
			return fmt.Errorf("%+v is taken for steady", bad)
		}
	}
	return nil
}

// capacity is control 8.1-22: computed from what one core and two were measured
// to need, never measured as a whole.
func (env CheckEnv) capacity() assurance.Check {
	return assurance.Check{
		Control: "8.1-22", Scope: assurance.Model, Period: 24 * time.Hour,
		Title: text.T("One site looks through 60 million packets a second: what a core needs for a packet, times the cores of a stated layout", "单个站点每秒检测 6000 万个包:按单核处理一个包所需时间与既定布局的核数推算"),
		Cost:  text.T("a second of two cores, on a second filter that is attached to nothing", "两个核心约一秒,用于未挂载的第二个过滤器"),
		Positive: func(context.Context) error {
			if judgePace([]Pace{{1, 100}, {2, 1000}}, layoutCores) == nil || judgePace([]Pace{{1, 100}}, layoutCores) == nil || judgePace([]Pace{{1, 100}, {2, 100}}, layoutCores) != nil {
				return fmt.Errorf("too slow a core is taken for a fast one, or the other way round")
			}
			return nil
		},
		Probe: func(ctx context.Context, e *assurance.Evidence) error {
			return env.each(ctx, func(node string, x Endurance) error {
				for _, p := range x.Pace {
					e.Add(of(node, fmt.Sprintf("%d at once", p.Cores)), "%.0f ns a packet of 64 bytes and core", p.Each)
				}
				e.Add(of(node, "counted"), "%.1fx for random sources, and %.0f ns for the driver: %.1f million packets a second and core", manySources, driverTime, perCore(x.Pace))
				e.Add("layout", "%d cores, each with a queue of its own: computed, not measured", layoutCores)
				return judgePace(x.Pace, layoutCores)
			})
		},
	}
}

// perCore is million packets a second of one core, by the slowest measurement.
func perCore(list []Pace) float64 {
	worst := 0.0
	for _, p := range list {
		worst = max(worst, p.Each)
	}
	return 1000 / (worst*manySources + driverTime)
}

func judgePace(list []Pace, cores int) error {
	if len(list) < 2 {
		return assurance.NotHeld("%d core was measured, want two at once", "仅测量了 %d 个核心,应同时测量两个", len(list))
	}
	if got := perCore(list) * float64(cores); got < layoutTarget {
		return assurance.NotHeld("%d cores look through %.1f million packets a second", "%d 个核心每秒检测 %.1f 百万个包", cores, got)
	}
	return nil
}
