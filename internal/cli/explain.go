package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/explain"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
)

func (a *app) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain", Short: a.t("Say why something happened, or what a kind is", "说明事情的原因,或某个类型的含义"),
	}
	return a.group(cmd, a.explainAccess(), a.explainBlock(), a.explainKind())
}

func (a *app) explainBlock() *cobra.Command {
	cmd := &cobra.Command{
		Use: "block REQUEST-ID", Args: cobra.ExactArgs(1),
		Short: a.t("Say why a request was refused", "说明请求被拒绝的原因"),
		Long: a.t("Takes the request id of a block page (the header Dun-Request-Id) and shows which rules refused the request and how to except it narrowly.",
			"输入拦截页面上的请求编号(响应头 Dun-Request-Id),显示是哪些规则拒绝了请求,以及如何精确放行。"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := strings.ToLower(strings.TrimSpace(args[0]))
		if _, _, ok := id.ParseRequest(req); !ok {
			return fault.New(fault.Invalid, "%q is not a request id; it has %d letters and digits, as on the block page", "%q 不是请求编号;应为拦截页面上的 %d 位字母数字", args[0], id.RequestLen)
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		list, err := c.events(cmd, "-", url.Values{"request": {req}})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fault.New(fault.NotFound, "there is no event of request %s; it was let through, is older than the events are kept, or is not yours to see", "没有请求 %s 的事件;它可能已放行、超过保留期,或您无权查看", req)
		}
		if a.output != "" {
			return a.emit(map[string]any{"items": list})
		}
		for i := range list {
			a.block(&list[i])
		}
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// block prints one event for a person who wants to know why.
func (a *app) block(e *events.Event) {
	a.say("Request %s was %s.", "请求 %s %s。", e.Request, explain.Outcome(e))
	line := func(name, value string) {
		fmt.Fprintf(a.opt.Out, "  %s%s%s\n", name, strings.Repeat(" ", max(1, 10-width(name))), clean(strings.ReplaceAll(value, "\n", " ")))
	}
	line(a.t("when", "时间"), when(e.Time))
	for _, l := range explain.Lines(e) {
		line(l.Name.In(a.lang), l.Value)
	}
	if s, ok := explain.Score(e); ok {
		line(a.t("score", "分值"), s.In(a.lang))
	}
	if len(e.Rules) == 0 {
		return
	}
	a.say("Rules that matched:", "命中的规则:")
	for _, r := range e.Rules {
		fmt.Fprintf(a.opt.Out, "  %d  %s\n", r.ID, clean(r.Message))
		if r.Where != "" || r.Match != "" {
			fmt.Fprintf(a.opt.Out, "          %s  %s\n", clean(r.Where), clean(strings.ReplaceAll(r.Match, "\n", " ")))
		}
	}
	if y := explain.Exclusions(e); y != "" {
		a.say("If this was no attack, except it as narrowly as this and no wider:", "如果这不是攻击,请只做如下精确放行:")
		fmt.Fprint(a.opt.Out, "  "+strings.ReplaceAll(strings.TrimSuffix(y, "\n"), "\n", "\n  ")+"\n")
	}
}

// events asks for events of a tenant ("-" = all that the profile may see).
func (c *client) events(cmd *cobra.Command, tenant string, q url.Values) ([]events.Event, error) {
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(tenant) + "/events", query: q})
	if err != nil {
		return nil, err
	}
	var page struct {
		Items []events.Event `json:"items"`
	}
	if err := json.Unmarshal(r.body, &page); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return page.Items, nil
}

func (a *app) explainKind() *cobra.Command {
	cmd := &cobra.Command{
		Use: "kind KIND", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKind,
		Short: a.t("Say what a kind is and what its fields mean", "说明类型及其字段的含义"),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.opt.Registry.Find(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.opt.Out, "%s  (%s, %s)\n%s\n\n", k.Name, k.Title.In(a.lang), k.Plural, k.Doc.In(a.lang))
			var rows [][]string
			for _, f := range k.Fields() {
				typ := f.Type.In(a.lang)
				if len(f.Enum) > 0 {
					typ = strings.Join(f.Enum, "|")
				}
				need := ""
				if f.Required {
					need = a.t("required", "必填")
				}
				rows = append(rows, []string{f.Path, typ, need, f.Label.In(a.lang), f.Help.In(a.lang)})
			}
			table(a.opt.Out, []string{a.t("FIELD", "字段"), a.t("TYPE", "类型"), "", a.t("LABEL", "名称"), a.t("MEANING", "含义")}, rows)
			a.verbs(k)
			fmt.Fprintf(a.opt.Out, "\n%s\n%s", a.t("Example:", "示例:"), k.Example)
			return nil
		},
	}
	return cmd
}
