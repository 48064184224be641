package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/text"
)

// access is the answer of the API, as a person reads it.
type access struct {
	Allowed   bool   `json:"allowed"`
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Record    string `json:"record"`
	Decided   []struct {
		ID     string `json:"id"`
		Effect string `json:"effect"`
		Note   string `json:"note"`
	} `json:"decided"`
	Missing []string `json:"missing"`
	Roles   []string `json:"roles"`
}

func (a *app) explainAccess() *cobra.Command {
	var where tenantFlags
	var check bool
	cmd := &cobra.Command{
		Use: "access ACTOR ACTION RECORD", Args: cobra.ExactArgs(3), ValidArgsFunction: a.completeAccess,
		Short: a.t("Say whether somebody may do something, and why", "说明某人是否可以执行某操作及原因"),
		Long: a.t("ACTOR is user/NAME, service/NAME or node/NAME, or with its tenant as in user/acme/alice. RECORD is KIND/NAME; tenant/NAME also stands for a tenant as a whole, as for event.read. Everybody may ask about himself; about others may who reads users, bindings and policies, and the answer is for a session without a second factor.",
			"ACTOR 为 user/名称、service/名称或 node/名称,也可带租户,例如 user/acme/alice。RECORD 为 类型/名称;tenant/名称 也可代表整个租户,例如用于 event.read。任何人都可查询自己;查询他人需能读取用户、绑定和策略,且结果按没有第二因素的会话计算。"),
		Example: "  dun explain access user/alice site.update site/shop --tenant acme\n  dun explain access service/edge event.read tenant/acme --check",
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().BoolVar(&check, "check", false, a.t("exit with 4 when it is denied", "若被拒绝则以 4 退出"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		r, err := c.do(cmd.Context(), request{
			method: http.MethodGet, path: "/api/v1/" + url.PathEscape(where.in(c)) + "/access", query: url.Values{"principal": {args[0]}, "action": {args[1]}, "record": {args[2]}},
		})
		if err != nil {
			return err
		}
		var got access
		if err := json.Unmarshal(r.body, &got); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a.output != "" {
			err = a.emit(json.RawMessage(r.body))
		} else {
			a.access(&got)
		}
		if err == nil && check && !got.Allowed {
			return fault.New(fault.Forbidden, "%s may not %s %s", "%s 无权 %s %s", got.Principal, got.Action, got.Record)
		}
		return err
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) access(x *access) {
	may := text.T("may not", "不可以")
	if x.Allowed {
		may = text.T("may", "可以")
	}
	a.say("%s %s %s %s.", "%s %s %s %s。", x.Principal, may, x.Action, x.Record)
	for i, d := range x.Decided {
		name := a.t("decided by", "决定策略")
		if i > 0 {
			name = ""
		}
		effect := map[string]string{"permit": a.t("permits", "允许"), "forbid": a.t("forbids", "拒绝")}[d.Effect]
		a.fact(name, strings.TrimSpace(d.ID+" ("+effect+") "+d.Note))
	}
	if len(x.Decided) == 0 {
		a.fact(a.t("decided by", "决定策略"), a.t("no policy permits it", "没有策略允许"))
	}
	for i, m := range x.Missing {
		name := a.t("missing", "缺少")
		if i > 0 {
			name = ""
		}
		a.fact(name, m)
	}
	roles := strings.Join(x.Roles, ", ")
	if roles == "" {
		roles = a.t("none", "无")
	}
	a.fact(a.t("roles", "角色"), roles)
}

// fact prints a name and what it stands for, in columns.
func (a *app) fact(name, value string) {
	fmt.Fprintf(a.opt.Out, "  %s%s%s\n", name, strings.Repeat(" ", max(1, 12-width(name))), clean(strings.ReplaceAll(value, "\n", " ")))
}

// completeAccess completes who, what, and the kind of the record.
func (a *app) completeAccess(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const open = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	switch len(args) {
	case 0:
		return []string{"user/", "service/", "node/"}, open
	case 1:
		var out []string
		for _, k := range a.opt.Registry.All() {
			for _, verb := range policy.Actions(k) {
				out = append(out, strings.ToLower(k.Name)+"."+verb)
			}
		}
		return append(out, policy.TenantActions()...), cobra.ShellCompDirectiveNoFileComp
	case 2:
		kind, _, _ := strings.Cut(args[1], ".")
		if k, err := a.opt.Registry.Find(kind); err == nil {
			return []string{k.Short + "/"}, open
		}
		return []string{"tenant/"}, open
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
