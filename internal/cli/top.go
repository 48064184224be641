package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// trafficItem is one protected address, as the API tells of it.
type trafficItem struct {
	Name string `json:"name"`
	traffic.Live
}

// top is dun top: what goes to the protected addresses now.
func (a *app) top() *cobra.Command {
	var where tenantFlags
	var once bool
	var every time.Duration
	cmd := &cobra.Command{
		Use: "top", Args: cobra.NoArgs, Short: a.t("Show what goes to the protected addresses now", "实时显示发往受保护地址的流量"),
		Long: a.t("Shows packets and bits a second to each protected address, by vector, and what became of them. Ctrl-C ends it.",
			"显示每个受保护地址每秒的包数和比特数、攻击类型及处理结果。按 Ctrl-C 结束。"),
		Example: "  dun top\n  dun top --once -o json",
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().BoolVar(&once, "once", false, a.t("print once and end", "只显示一次"))
	cmd.Flags().DurationVar(&every, "every", time.Second, a.t("how often", "刷新间隔"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		t := time.NewTicker(max(every, 200*time.Millisecond))
		defer t.Stop()
		for {
			items, raw, err := a.traffic(cmd.Context(), c, where.in(c))
			if err != nil {
				return err
			}
			if a.output != "" {
				if err := a.emit(json.RawMessage(raw)); err != nil || once {
					return err
				}
			} else {
				if !once {
					fmt.Fprint(a.opt.Out, "\x1b[H\x1b[2J")
				}
				a.trafficTable(items)
				if once {
					return nil
				}
			}
			select {
			case <-cmd.Context().Done():
				return nil
			case <-t.C:
			}
		}
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) traffic(ctx context.Context, c *client, tenant string) ([]trafficItem, []byte, error) {
	r, err := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(tenant) + "/traffic"})
	if err != nil {
		return nil, nil, err
	}
	var page struct{ Items []trafficItem }
	if err := json.Unmarshal(r.body, &page); err != nil {
		return nil, nil, fmt.Errorf("read the traffic: %w", err)
	}
	return page.Items, r.body, nil
}

func (a *app) trafficTable(items []trafficItem) {
	var rows [][]string
	for _, x := range items {
		state := a.t("quiet", "平静")
		switch {
		case x.Attack != "" && x.Monitor:
			state = a.t("attack, only watched", "受攻击(仅监测)")
		case x.Attack != "":
			state = a.t("attack", "受攻击")
		case len(x.Armed) > 0:
			state = a.t("armed", "已布防")
		}
		rows = append(rows, []string{x.Name, x.Address, state, short(x.Packets), short(x.Bits), short(x.Passed), largest(x.Offered), largest(x.Dropped), short(x.Out)})
	}
	table(a.opt.Out, []string{
		a.t("NAME", "名称"), a.t("ADDRESS", "地址"), a.t("STATE", "状态"), a.t("PACKETS/S", "包/秒"), a.t("BITS/S", "比特/秒"), a.t("PASSED/S", "放行/秒"),
		a.t("OFFERED", "到达"), a.t("STOPPED", "拦下"), a.t("OUT/S", "出站/秒"),
	}, rows)
}

// short writes a rate with three digits and a unit of thousands.
func short(n float64) string {
	for _, unit := range []string{"", "k", "M"} {
		if n < 1000 {
			return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.1f", n), "0"), ".") + unit
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1fG", n)
}

// largest names the three largest.
func largest(m map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(m), func(x, y string) int { return cmp.Or(cmp.Compare(m[y], m[x]), cmp.Compare(x, y)) })
	var out []string
	for _, n := range names[:min(3, len(names))] {
		out = append(out, n+" "+short(m[n]))
	}
	return strings.Join(out, ", ")
}
