package cli

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// tenantFlags say whose records are meant.
type tenantFlags struct {
	tenant string
	all    bool
}

func (a *app) tenantFlags(cmd *cobra.Command, t *tenantFlags, all bool) {
	cmd.Flags().StringVarP(&t.tenant, "tenant", "t", "", a.t("tenant (default: the profile's)", "租户(默认取自配置)"))
	if all {
		cmd.Flags().BoolVarP(&t.all, "all-tenants", "A", false, a.t("every tenant that you may see", "可见的全部租户"))
	}
}

func (t tenantFlags) in(c *client) string {
	switch {
	case t.all:
		return gate.AllTenants
	case t.tenant != "":
		return t.tenant
	}
	return c.profile.Tenant
}

func (a *app) get() *cobra.Command {
	var where tenantFlags
	var selector, at string
	cmd := &cobra.Command{
		Use: "get KIND [NAME]", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeKind,
		Short:   a.t("Show records", "显示记录"),
		Example: "  dun get sites\n  dun get site shop -o yaml\n  dun get site shop --at 2026-11-01T03:00:00Z\n  dun get sites -l env=prod -A -o json",
	}
	a.tenantFlags(cmd, &where, true)
	cmd.Flags().StringVarP(&selector, "labels", "l", "", a.t("only records with these labels, as in a=b,c!=d", "仅限带这些标签的记录,例如 a=b,c!=d"))
	cmd.Flags().StringVar(&at, "at", "", a.t("as it was then: a time, or 15m, 2h, 7d ago", "当时的内容:具体时间,或 15m、2h、7d 之前"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		if len(args) == 2 {
			return a.getOne(cmd, c, k, where, args[1], at)
		}
		if at != "" {
			return fault.New(fault.Invalid, "--at reads one record; name it", "--at 读取单条记录;请给出名称")
		}
		list, err := c.list(cmd.Context(), k, where.in(c), selector, 0)
		if err != nil {
			return err
		}
		switch a.output {
		case "json":
			return a.json(map[string]any{"items": list})
		case "yaml":
			return a.yaml(map[string]any{"items": list})
		case "name":
			for _, o := range list {
				a.say("%s", "%s", o.Metadata.Name)
			}
			return nil
		}
		if len(list) == 0 {
			a.say("no %s", "没有%s", resource.T(k.Plural, k.Title.Zh))
			return nil
		}
		a.records(k, list, a.output == "wide", where.all)
		return nil
	}
	a.outputFlag(cmd, "json", "yaml", "wide", "name")
	return cmd
}

func (a *app) getOne(cmd *cobra.Command, c *client, k *resource.Kind, where tenantFlags, name, at string) error {
	if where.all {
		return fault.New(fault.Invalid, "-A lists; to read one record name its tenant with -t", "-A 用于列表;读取单条记录请用 -t 指定租户")
	}
	q := url.Values{}
	if at != "" {
		t, err := sinceTime("--at", at, time.Now())
		if err != nil {
			return err
		}
		q.Set("at", t.UTC().Format(time.RFC3339Nano))
	}
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: recordPath(k, where.in(c), name), query: q})
	if err != nil {
		return err
	}
	switch a.output {
	case "json":
		return a.json(json.RawMessage(r.body))
	case "yaml":
		return a.yaml(json.RawMessage(r.body))
	}
	o, err := c.object(r.body)
	if err != nil {
		return err
	}
	if a.output == "name" {
		a.say("%s", "%s", o.Metadata.Name)
		return nil
	}
	a.records(k, []*resource.Object{o}, a.output == "wide", false)
	return nil
}

func (a *app) delete() *cobra.Command {
	var where tenantFlags
	var revision uint64
	var reason string
	cmd := &cobra.Command{
		Use: "delete KIND NAME", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeKind,
		Short: a.t("Delete a record; its history and proofs stay", "删除记录;历史和证明保留"),
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().Uint64Var(&revision, "revision", 0, a.t("only at this revision (default: the one that is read now)", "仅当处于此修订(默认取当前修订)"))
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		tenant := where.in(c)
		if revision == 0 {
			o, err := c.get(cmd.Context(), k, tenant, args[1])
			if err != nil {
				return err
			}
			revision = o.Metadata.Revision
		}
		r, err := c.do(cmd.Context(), request{
			method: http.MethodDelete, path: recordPath(k, tenant, args[1]), query: url.Values{"revision": {strconv.FormatUint(revision, 10)}}, header: reasonHeader(reason),
		})
		if err != nil {
			return err
		}
		rev, err := strconv.ParseUint(r.header.Get("Dun-Revision"), 10, 64)
		if err != nil {
			return fault.New(fault.Internal, "the answer carries no revision", "应答中没有修订号").Because(err)
		}
		if left, err := c.object(r.body); err == nil && left.Metadata.Deleting != nil {
			a.say("%s %s/%s is being deleted, revision %d; it waits for %s", "%s %s/%s 正在删除,修订 %d,等待 %s 完成清理", k.Short, tenant, args[1], rev, strings.Join(left.Metadata.Finalizers, ", "))
			return nil
		}
		a.say("%s %s/%s deleted, revision %d", "%s %s/%s 已删除,修订 %d", k.Short, tenant, args[1], rev)
		return a.waitEnforced(cmd.Context(), c, rev, k.NodeRoles)
	}
	return cmd
}

// version is one change as the API shows it.
type version struct {
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time"`
	Action   string          `json:"action"`
	Actor    string          `json:"actor"`
	Request  string          `json:"request"`
	Leaf     uint64          `json:"leaf"`
	Object   json.RawMessage `json:"object"`
}

func (a *app) history() *cobra.Command {
	var where tenantFlags
	var limit int
	cmd := &cobra.Command{
		Use: "history KIND NAME", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeKind,
		Short: a.t("Show who changed a record, when and how", "显示记录由谁、何时、如何更改"),
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().IntVar(&limit, "limit", 100, a.t("at most so many changes, 1 to 1000", "至多显示的更改数,1 到 1000"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: recordPath(k, where.in(c), args[1]) + "/history", query: url.Values{"limit": {strconv.Itoa(limit)}}})
		if err != nil {
			return err
		}
		if a.output != "" {
			return a.emit(json.RawMessage(r.body))
		}
		var page struct {
			Items []version `json:"items"`
		}
		if err := json.Unmarshal(r.body, &page); err != nil {
			return err
		}
		var rows [][]string
		for i, v := range page.Items {
			var older json.RawMessage
			if i+1 < len(page.Items) {
				older = page.Items[i+1].Object
			}
			rows = append(rows, []string{strconv.FormatUint(v.Revision, 10), when(v.Time), v.Action, v.Actor, changedFields(older, v.Object), strconv.FormatUint(v.Leaf, 10)})
		}
		table(a.opt.Out, []string{a.t("REVISION", "修订"), a.t("TIME", "时间"), a.t("ACTION", "动作"), a.t("ACTOR", "操作者"), a.t("CHANGED", "变更字段"), a.t("LEAF", "叶子")}, rows)
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
