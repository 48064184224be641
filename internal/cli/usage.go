package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// usage is dun usage: what a tenant's sites took.
func (a *app) usage() *cobra.Command {
	var where tenantFlags
	var from, to, step string
	cmd := &cobra.Command{
		Use: "usage", Args: cobra.NoArgs, Short: a.t("Show what a tenant's sites took: requests, bytes, CPU time", "查看租户站点的用量:请求、流量、CPU 时间"),
		Example: "  dun usage --step 1h\n  dun usage --tenant acme --from 2026-11-01T00:00:00Z --step 1d -o json",
	}
	a.tenantFlags(cmd, &where, false)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", a.t("RFC 3339 time, default a day ago", "RFC 3339 时间,默认一天前"))
	f.StringVar(&to, "to", "", a.t("RFC 3339 time, default now", "RFC 3339 时间,默认现在"))
	f.StringVar(&step, "step", "", a.t("1m to 31d, default 1h", "1m 到 31d,默认 1h"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		q := url.Values{}
		for name, v := range map[string]string{"from": from, "to": to, "step": step} {
			if v != "" {
				q.Set(name, v)
			}
		}
		r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(where.in(c)) + "/usage", query: q})
		if err != nil {
			return err
		}
		if a.output != "" {
			return a.emit(json.RawMessage(r.body))
		}
		return a.usageTable(r.body)
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) usageTable(body []byte) error {
	var page struct {
		Items []struct {
			Start                          time.Time
			Site                           string
			Requests, Blocks, In, Out, CPU uint64
		}
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return fmt.Errorf("read the usage: %w", err)
	}
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	var rows [][]string
	for _, b := range page.Items {
		rows = append(rows, []string{when(b.Start), b.Site, n(b.Requests), n(b.Blocks), n(b.In), n(b.Out), (time.Duration(b.CPU) * time.Microsecond).Round(time.Millisecond).String()})
	}
	table(a.opt.Out, []string{a.t("START", "开始"), a.t("SITE", "站点"), a.t("REQUESTS", "请求"), a.t("BLOCKED", "拦截"), a.t("BYTES IN", "入字节"), a.t("BYTES OUT", "出字节"), a.t("CPU", "CPU")}, rows)
	return nil
}
