package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

const followEvery = 500 * time.Millisecond

func (a *app) events() *cobra.Command {
	var where tenantFlags
	var kind, action, request, object, since string
	var limit int
	var follow bool
	cmd := &cobra.Command{
		Use: "events", Args: cobra.NoArgs,
		Short:   a.t("Show what happened: blocks, bans, unreachable origins", "显示发生的事件:拦截、封禁、源站不可达"),
		Example: "  dun events --kind block --since 1h\n  dun events --follow -o json",
	}
	a.tenantFlags(cmd, &where, false)
	f := cmd.Flags()
	f.StringVar(&kind, "kind", "", a.t("only this kind: block, ban, origin, limit …", "仅限此类:block、ban、origin、limit ……"))
	f.StringVar(&action, "action", "", a.t("only blocked, detected or allowed", "仅限 blocked、detected 或 allowed"))
	f.StringVar(&request, "request", "", a.t("only of this request id", "仅限此请求编号"))
	f.StringVar(&object, "object", "", a.t("only about this record, as in site/shop", "仅限此对象,例如 site/shop"))
	f.StringVar(&since, "since", "", a.t("not older than this: 15m, 2h, 7d or a time", "不早于:15m、2h、7d 或具体时间"))
	f.IntVar(&limit, "limit", 100, a.t("at most so many, 1 to 1000", "至多显示数,1 到 1000"))
	f.BoolVarP(&follow, "follow", "F", false, a.t("go on and show new ones", "持续显示新事件"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		for name, v := range map[string]string{"kind": kind, "action": action, "request": request, "object": object} {
			if v != "" {
				q.Set(name, v)
			}
		}
		if since != "" {
			t, err := sinceTime("--since", since, time.Now())
			if err != nil {
				return err
			}
			q.Set("since", t.UTC().Format(time.RFC3339Nano))
		}
		tenant := "-"
		if where.tenant != "" {
			tenant = where.tenant
		}
		list, err := c.events(cmd, tenant, q)
		if err != nil {
			return err
		}
		if a.output != "" && !follow {
			return a.emit(map[string]any{"items": list})
		}
		if a.output == "yaml" {
			return fault.New(fault.Invalid, "--follow prints text or json, a line for each event", "--follow 只输出文本或 json,每个事件一行")
		}
		if !follow {
			if len(list) == 0 {
				a.say("no events", "没有事件")
				return nil
			}
			var rows [][]string
			for _, e := range list {
				rows = append(rows, eventRow(&e))
			}
			table(a.opt.Out, a.eventHead(), rows)
			return nil
		}
		return a.follow(cmd, c, tenant, q, list)
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// sinceTime reads a time, or a span that counts back from now.
func sinceTime(flag, s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	d, err := resource.ParseDuration(s)
	if err != nil {
		return time.Time{}, fault.New(fault.Invalid, "%s %s: want 15m, 2h, 7d or a time as in 2026-11-01T03:00:00Z", "%s %s:应为 15m、2h、7d 或如 2026-11-01T03:00:00Z 的时间", flag, s)
	}
	return now.Add(-time.Duration(d)), nil
}

func (a *app) eventHead() []string {
	return []string{a.t("TIME", "时间"), a.t("KIND", "类别"), a.t("ACTION", "动作"), a.t("SOURCE", "来源"), a.t("OBJECT", "对象"), a.t("ASKED", "请求"), a.t("RULES", "规则"), a.t("REQUEST", "请求编号")}
}

func eventRow(e *events.Event) []string {
	var rules []string
	for _, r := range e.Rules {
		rules = append(rules, strconv.Itoa(r.ID))
	}
	if len(rules) > 3 {
		rules = append(rules[:3], "…")
	}
	return []string{when(e.Time), e.Kind, e.Action, orDash(e.Source), orDash(strings.TrimSpace(e.Tenant + " " + e.Object)),
		orDash(strings.TrimSpace(e.Attributes["method"] + " " + e.Attributes["path"])), orDash(strings.Join(rules, ",")), orDash(e.Request)}
}

// follow prints what comes, oldest first, until the caller ends it.
func (a *app) follow(cmd *cobra.Command, c *client, tenant string, q url.Values, list []events.Event) error {
	seen := map[string]bool{}
	show := func(batch []events.Event) error {
		for i := len(batch) - 1; i >= 0; i-- {
			e := &batch[i]
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			if a.output == "json" {
				b, err := json.Marshal(e)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.opt.Out, string(b))
				continue
			}
			fmt.Fprintln(a.opt.Out, clean(strings.Join(eventRow(e), "  ")))
		}
		return nil
	}
	if err := show(list); err != nil {
		return err
	}
	q.Set("limit", "1000")
	t := time.NewTicker(followEvery)
	defer t.Stop()
	for {
		select {
		case <-cmd.Context().Done():
			return nil
		case now := <-t.C:
			// Events become searchable within a second: look back a little further.
			q.Set("since", now.Add(-5*time.Second).UTC().Format(time.RFC3339Nano))
		}
		batch, err := c.events(cmd, tenant, q)
		if cmd.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if len(seen) > 100_000 {
			seen = map[string]bool{}
			for _, e := range batch {
				seen[e.ID] = true
			}
			continue
		}
		if err := show(batch); err != nil {
			return err
		}
	}
}
