package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

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
		if follow {
			return a.follow(cmd, c, tenant, q)
		}
		list, err := c.events(cmd, tenant, q)
		if err != nil {
			return err
		}
		if a.output != "" {
			return a.emit(map[string]any{"items": list})
		}
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

// follow prints what was and then what comes, oldest first, until the caller
// ends it. The stream is open before the past is read, so that nothing falls
// between the two.
func (a *app) follow(cmd *cobra.Command, c *client, tenant string, q url.Values) error {
	if a.output == "yaml" {
		return fault.New(fault.Invalid, "--follow prints text or json, a line for each event", "--follow 只输出文本或 json,每个事件一行")
	}
	live := url.Values{"follow": {"true"}}
	for _, name := range []string{"kind", "request", "action", "object"} {
		if v := q.Get(name); v != "" {
			live.Set(name, v)
		}
	}
	res, err := c.send(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(tenant) + "/events", query: live})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	past, err := c.events(cmd, tenant, q)
	if err != nil {
		return err
	}
	shown := map[string]bool{}
	for i := len(past) - 1; i >= 0; i-- {
		shown[past[i].ID] = true
		if err := a.event(&past[i]); err != nil {
			return err
		}
	}
	for dec := json.NewDecoder(res.Body); ; {
		var f struct {
			Type  string        `json:"type"`
			Event *events.Event `json:"event"`
			Count uint64        `json:"count"`
			Error *struct {
				Code   fault.Code `json:"code"`
				Detail string     `json:"detail"`
			} `json:"error"`
		}
		err := dec.Decode(&f)
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case err != nil:
			return fault.New(fault.Unavailable, "the stream of events ended; run it again", "事件流已结束;请重新运行").Because(err)
		case f.Error != nil:
			return fault.New(f.Error.Code, "%s", "%s", f.Error.Detail)
		case f.Type == "drops":
			fmt.Fprintln(a.opt.Err, text.F("dun: %d events came too fast to be shown; they are kept, see dun events", "dun: %d 个事件来得过快未能显示;已保存,见 dun events", f.Count).In(a.lang))
		case f.Event != nil && !shown[f.Event.ID]:
			if err := a.event(f.Event); err != nil {
				return err
			}
		}
	}
}

// event prints one event in a line.
func (a *app) event(e *events.Event) error {
	if a.output != "json" {
		fmt.Fprintln(a.opt.Out, clean(strings.Join(eventRow(e), "  ")))
		return nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.opt.Out, string(b))
	return nil
}
