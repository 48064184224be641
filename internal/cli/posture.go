package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

type control struct {
	Control string            `json:"control"`
	Title   string            `json:"title"`
	Scope   string            `json:"scope"`
	Period  string            `json:"period"`
	Last    *assurance.Result `json:"last"`
}

func (a *app) posture() *cobra.Command {
	cmd := &cobra.Command{
		Use: "posture", Args: cobra.NoArgs,
		Short: a.t("Show and try the controls that have a check", "查看并检查有检查项的控制"),
		Long: a.t("Each check tries its control for real, shows first that it would see the fault, and leaves its result in the audit log.\nA control without a check is not listed, and nothing is claimed of it.",
			"每项检查都会真实地尝试其控制,先证明自己能发现故障,并把结果写入审计日志。\n没有检查的控制不在列表中,也不对其作任何声明。"),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		list, raw, err := c.controls(cmd)
		if err != nil {
			return err
		}
		if a.output != "" {
			return a.emit(raw)
		}
		var rows [][]string
		for _, x := range list {
			state, at := a.t("not tried yet", "尚未检查"), "-"
			if x.Last != nil {
				state, at = a.stateName(x.Last.State), when(x.Last.At)
			}
			rows = append(rows, []string{x.Control, state, x.Scope, x.Period, at, x.Title})
		}
		table(a.opt.Out, []string{a.t("CONTROL", "控制"), a.t("STATE", "状态"), a.t("SCOPE", "范围"), a.t("PERIOD", "周期"), a.t("TRIED", "检查时间"), a.t("CLAIM", "声明")}, rows)
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	cmd.AddCommand(a.postureRun())
	return cmd
}

func (a *app) stateName(s assurance.State) string {
	switch s {
	case assurance.Proved:
		return a.t("proved", "已证明")
	case assurance.Failed:
		return a.t("failed", "不成立")
	}
	return string(s)
}

func (c *client) controls(cmd *cobra.Command) ([]control, any, error) {
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/-/posture"})
	if err != nil {
		return nil, nil, err
	}
	var page struct {
		Items []control `json:"items"`
	}
	if err := json.Unmarshal(r.body, &page); err != nil {
		return nil, nil, fmt.Errorf("read the posture: %w", err)
	}
	return page.Items, json.RawMessage(r.body), nil
}

func (a *app) postureRun() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run CONTROL", Args: cobra.ExactArgs(1),
		Short: a.t("Try one control now; exit code 20 when it does not hold", "立即检查一项控制;不成立时退出码为 20"), Example: "  dun posture run 8.4-9",
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var out []string
		if c, err := a.connect(); err == nil && len(args) == 0 {
			list, _, _ := c.controls(cmd)
			for _, x := range list {
				out = append(out, x.Control+"\t"+x.Title)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		r, err := c.do(cmd.Context(), request{method: http.MethodPost, path: "/api/v1/-/posture/" + url.PathEscape(args[0]) + "/run"})
		if err != nil {
			return err
		}
		var res assurance.Result
		if err := json.Unmarshal(r.body, &res); err != nil {
			return fmt.Errorf("read the result: %w", err)
		}
		if a.output != "" {
			if err := a.emit(json.RawMessage(r.body)); err != nil {
				return err
			}
		} else {
			a.say("%s  %s  (%s, %s)", "%s  %s  (%s,用时 %s)", res.Control, a.stateName(res.State), string(res.Scope), res.Took.Round(time.Millisecond).String())
			for _, f := range res.Evidence {
				fmt.Fprintf(a.opt.Out, "  %s: %s\n", clean(f.Name), clean(f.Value))
			}
		}
		if res.State == assurance.Failed {
			why := text.T("it does not hold", "不成立")
			if res.Reason != nil {
				why = text.T(res.Reason.En, res.Reason.Zh)
			}
			return &found{text.F("%s does not hold: %s", "%s 不成立:%s", res.Control, why)}
		}
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
