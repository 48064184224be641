package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// drill is dun drill: attacks of our own, to see that they are met.
func (a *app) drill() *cobra.Command {
	return a.group(&cobra.Command{Use: "drill", Short: a.t("Attack protected addresses with a bounded generator, and see what holds", "用有界的流量发生器演练攻击,检验防护效果")}, a.drillDDoS())
}

const (
	drillSeconds = 60
	drillRate    = 1_000_000
)

func (a *app) drillDDoS() *cobra.Command {
	var where tenantFlags
	var d flood.Drill
	var target string
	var seconds int
	cmd := &cobra.Command{
		Use: "ddos", Args: cobra.NoArgs, Short: a.t("Send a flood from a network namespace of this machine", "从本机的网络命名空间发送洪水流量"),
		Long: a.t(`Sends a flood to a protected address from the other end of a veth pair, which must lie in a named network namespace (ip netns), and connects meanwhile as a client would.
It needs root, never sends from any other kind of interface, and ends by itself. docs/anti-ddos.md shows how to make the pair.`,
			`从 veth 对的另一端(须位于命名的网络命名空间,即 ip netns)向受保护地址发送洪水流量,同时以普通客户端身份建立连接。
需要 root 权限,绝不使用其他类型的接口,并会自动结束。docs/anti-ddos.md 说明了如何创建 veth 对。`),
		Example: "  dun drill ddos --vector syn --seconds 5\n  dun drill ddos --vector udp --rate 200000 --target 198.51.100.7 -o json",
	}
	a.tenantFlags(cmd, &where, false)
	f := cmd.Flags()
	f.StringVar(&d.Vector, "vector", "syn", a.t("one of: ", "取值:")+strings.Join(flood.Vectors, " "))
	f.IntVar(&seconds, "seconds", 5, a.t("1 to 60", "1 到 60"))
	f.Float64Var(&d.Rate, "rate", 50_000, a.t("packets a second, up to 1000000", "每秒包数,最多 1000000"))
	f.StringVar(&target, "target", "", a.t("address; default: the first protected one that lies on such a link", "目标地址;默认取该链路上第一个受保护地址"))
	f.IntVar(&d.Port, "port", 0, a.t("of the client's connections; default: the first TCP service of the record", "客户端连接的端口;默认取记录中的第一个 TCP 服务"))
	f.StringVar(&d.Interface, "interface", "", a.t("the filtered end of the pair; default: the first of scrub.interfaces that is one", "veth 对中被过滤的一端;默认取 scrub.interfaces 中的第一个"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if seconds < 1 || seconds > drillSeconds || d.Rate < 1 || d.Rate > drillRate {
			return fault.New(fault.Invalid, "want 1 to %d seconds and 1 to %d packets a second", "应为 1 到 %d 秒、每秒 1 到 %d 个包", drillSeconds, drillRate)
		}
		if os.Geteuid() != 0 {
			return fault.New(fault.Forbidden, "only root can send a flood", "只有 root 可以发送洪水流量")
		}
		d.For = time.Duration(seconds) * time.Second
		c, err := a.connect()
		if err != nil {
			return err
		}
		tenant := where.in(c)
		if err := a.aim(cmd.Context(), c, tenant, target, &d); err != nil {
			return err
		}
		fmt.Fprintln(a.opt.Err, a.t("sending", "正在发送"), d.Vector, a.t("to", "至"), d.Addr, a.t("from", "自"), d.Namespace, "…")
		r, err := d.Run(cmd.Context())
		if err != nil {
			return fault.New(fault.Unavailable, "the drill did not run: %s", "演练未能进行:%s", err.Error()).Because(err)
		}
		if items, _, err := a.traffic(cmd.Context(), c, tenant); err == nil {
			for _, x := range items {
				if p, err := netip.ParsePrefix(x.Address); err == nil && p.Contains(d.Addr) {
					r.Armed, r.Attack = x.Armed, x.Attack
				}
			}
		}
		if a.output != "" {
			return a.emit(r)
		}
		table(a.opt.Out, []string{a.t("VECTOR", "类型"), a.t("TARGET", "目标"), a.t("SENT", "发送"), a.t("RATE", "速率"), a.t("CLIENT", "客户端"), a.t("ATTACK", "攻击"), a.t("ARMED", "布防")},
			[][]string{{r.Vector, r.Target, fmt.Sprint(r.Sent), short(r.Rate), fmt.Sprintf("%d/%d", r.Visits-r.Failed, r.Visits), r.Attack, strings.Join(r.Armed, ",")}})
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// aim finds link, target and port.
func (a *app) aim(ctx context.Context, c *client, tenant, target string, d *flood.Drill) error {
	r, err := c.do(ctx, request{method: "GET", path: "/api/v1/" + url.PathEscape(tenant) + "/protectedaddresses"})
	if err != nil {
		return err
	}
	var page struct {
		Items []struct {
			Spec struct {
				Prefix   string
				Services []struct{ Protocol, Ports string }
			}
		}
	}
	if err := json.Unmarshal(r.body, &page); err != nil {
		return fmt.Errorf("read the protected addresses: %w", err)
	}
	var names []string
	if d.Interface != "" {
		names = []string{d.Interface}
	} else if s, _, err := a.askStatus(ctx, ""); err == nil {
		for _, role := range s.Roles {
			if role.Name == "scrub" {
				names = role.Interfaces
			}
		}
	}
	for _, item := range page.Items {
		p, err := netip.ParsePrefix(item.Spec.Prefix)
		if err != nil {
			x, err := netip.ParseAddr(item.Spec.Prefix)
			if err != nil {
				continue
			}
			p = netip.PrefixFrom(x, x.BitLen())
		}
		addr := p.Addr()
		if target != "" {
			if addr, err = netip.ParseAddr(target); err != nil || !p.Contains(addr) {
				continue
			}
		}
		for _, name := range names {
			if d.Find(name, addr) != nil {
				continue
			}
			for _, s := range item.Spec.Services {
				if d.Port == 0 && s.Protocol == "tcp" {
					_, _ = fmt.Sscan(strings.SplitN(s.Ports, "-", 2)[0], &d.Port)
				}
			}
			return nil
		}
	}
	return fault.New(fault.NotFound, "no protected address lies on a veth pair whose other end is in a named network namespace; filtered interfaces: %s", "没有受保护地址位于另一端处于命名网络命名空间的 veth 对上;被过滤的接口:%s", strings.Join(names, ", "))
}
