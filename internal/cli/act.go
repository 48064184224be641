package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// act is dun do: a verb on a record's state.
func (a *app) act() *cobra.Command {
	var where tenantFlags
	var sets []string
	var reason string
	cmd := &cobra.Command{
		Use: "do VERB KIND NAME [--set FIELD=VALUE]...", Args: cobra.ExactArgs(3),
		Short: a.t("Carry out a verb on a record, as in: dun do close incident flood", "对记录执行操作,例如:dun do close incident flood"),
		Long: a.t("The state of a record changes by its kind's verbs alone. dun explain kind KIND lists them and what each takes.",
			"记录的状态只能由其类型的操作更改。dun explain kind KIND 列出各操作及其参数。"),
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return a.completeKind(cmd, args[1:], typed)
		}
		var out []string
		for _, k := range a.opt.Registry.All() {
			for i := range k.Verbs {
				if !k.Verbs[i].ForPeople() {
					continue
				}
				out = append(out, k.Verbs[i].Name+"\t"+k.Title.In(a.lang)+": "+k.Verbs[i].Title.In(a.lang))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringArrayVar(&sets, "set", nil, a.t("a field of what the verb takes, as in --set outcome=solved", "操作参数,例如 --set outcome=solved"))
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[1])
		if err != nil {
			return err
		}
		v, err := k.FindVerb(args[0])
		if err != nil {
			return fault.New(fault.Invalid, "a %s has no verb %q; see dun explain kind %s", "%s 没有操作 %q;见 dun explain kind %s", k.Name, args[0], k.Short)
		}
		if v.Secret != nil && v.Secret.Made {
			return fault.New(fault.Invalid, "%s makes a secret, which dun key create shows once", "%s 生成机密,由 dun key create 显示一次", v.Name)
		}
		if v.Secret != nil {
			return fault.New(fault.Invalid, "%s takes a secret: dun secret put %s NAME %s --file FILE", "%s 接受机密:dun secret put %s 名称 %s --file 文件", v.Name, k.Short, v.Name)
		}
		in, err := input(sets)
		if err != nil {
			return err
		}
		tenant := where.in(c)
		o, err := c.get(cmd.Context(), k, tenant, args[2])
		if err != nil {
			return err
		}
		res, err := c.do(cmd.Context(), request{
			method: http.MethodPost, path: recordPath(k, tenant, args[2]) + "/" + v.Name, header: reasonHeader(reason), body: in, contentType: "application/json",
			query: url.Values{"revision": {strconv.FormatUint(o.Metadata.Revision, 10)}},
		})
		if err != nil {
			return err
		}
		got, err := c.object(res.body)
		if err != nil {
			return err
		}
		a.say("%s %s/%s: %s, revision %d", "%s %s/%s:%s,修订 %d", k.Short, tenant, args[2], v.Title, got.Metadata.Revision)
		return a.waitEnforced(cmd.Context(), c, got.Metadata.Revision, k.NodeRoles)
	}
	return cmd
}

// input reads FIELD=VALUE; values are read as YAML, so that numbers and lists
// are what they look like.
func input(sets []string) (map[string]any, error) {
	out := map[string]any{}
	for _, s := range sets {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fault.New(fault.Invalid, "--set %s: want FIELD=VALUE", "--set %s:应为 字段=值", s)
		}
		docs, err := resource.ParseYAML([]byte("value: " + value))
		if err != nil || len(docs) != 1 || docs[0].At("value") == nil {
			return nil, fault.New(fault.Invalid, "--set %s: the value is not YAML", "--set %s:值不是有效的 YAML", s).Because(err)
		}
		out[name] = docs[0].At("value").Any()
	}
	return out, nil
}

// verbs lists what a kind's state can go through.
func (a *app) verbs(k *resource.Kind) {
	if len(k.Verbs) == 0 {
		return
	}
	a.say("\nVerbs (dun do VERB %s NAME):", "\n操作(dun do 操作 %s 名称):", k.Short)
	for i := range k.Verbs {
		v := &k.Verbs[i]
		if v.By != "" {
			continue
		}
		fmt.Fprintf(a.opt.Out, "  %s  %s  %s\n", v.Name, v.Title.In(a.lang), v.Doc.In(a.lang))
		if v.Secret != nil && v.Secret.Made {
			fmt.Fprintln(a.opt.Out, "    dun key create NAME")
			continue
		}
		if v.Secret != nil {
			fmt.Fprintf(a.opt.Out, "    dun secret put %s NAME %s --file FILE\n", k.Short, v.Name)
			continue
		}
		for _, f := range v.Fields() {
			typ := f.Type.In(a.lang)
			if len(f.Enum) > 0 {
				typ = strings.Join(f.Enum, "|")
			}
			need := ""
			if f.Required {
				need = a.t("required", "必填")
			}
			fmt.Fprintf(a.opt.Out, "    --set %s=%s  %s %s\n", strings.TrimPrefix(f.Path, "input."), typ, f.Label.In(a.lang), need)
		}
	}
}
