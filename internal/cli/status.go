package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/telemetry"
)

func (a *app) status() *cobra.Command {
	var wait time.Duration
	var dir string
	cmd := &cobra.Command{
		Use: "status", Args: cobra.NoArgs,
		Short:   a.t("Show the state of the cell, its roles and nodes", "显示集群、角色和节点的状态"),
		Example: "  dun status --wait 60s && dun apply -f site.yaml\n  dun status --data ./n2",
	}
	cmd.Flags().StringVar(&dir, "data", "", a.t("ask what runs on this data directory, without a profile: root and its owner only", "不用配置,直接询问该数据目录上运行的程序:仅限 root 及其所有者"))
	cmd.Flags().DurationVar(&wait, "wait", 0, a.t("wait so long for the cell to be ready (also for its profile to appear)", "最长等待时间,直到集群就绪(也等待配置出现)"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, raw, err := a.readyStatus(cmd.Context(), dir, wait)
		if err != nil {
			return err
		}
		switch a.output {
		case "json":
			err = a.json(json.RawMessage(raw))
		case "yaml":
			err = a.yaml(json.RawMessage(raw))
		default:
			a.printStatus(s)
		}
		if err == nil && !s.Ready {
			err = fault.New(fault.Unavailable, "not ready", "尚未就绪")
		}
		return err
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// readyStatus asks once, or until the cell is ready and wait is over.
func (a *app) readyStatus(ctx context.Context, dir string, wait time.Duration) (telemetry.Status, []byte, error) {
	end := time.Now().Add(wait)
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		s, raw, err := a.askStatus(ctx, dir)
		if err == nil && s.Ready || time.Now().After(end) {
			return s, raw, err
		}
		if err != nil && dir == "" && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Unauthenticated) {
			return s, raw, err
		}
		select {
		case <-ctx.Done():
			return s, raw, fault.New(fault.Unavailable, "interrupted", "已中断").Because(ctx.Err())
		case <-t.C:
		}
	}
}

func (a *app) askStatus(ctx context.Context, dir string) (telemetry.Status, []byte, error) {
	if dir != "" {
		return socketStatus(ctx, dir)
	}
	c, err := a.connect()
	if err != nil {
		return telemetry.Status{}, nil, err
	}
	defer c.http.CloseIdleConnections()
	s, raw, err := c.status(ctx)
	if fault.Is(err, fault.Unavailable) {
		// Where the profile lies in a data directory of this machine, its socket
		// tells what a door without records cannot.
		if local, raw, serr := socketStatus(ctx, filepath.Dir(filepath.Dir(c.file))); serr == nil {
			return local, raw, nil
		}
	}
	return s, raw, err
}

func socketStatus(ctx context.Context, dir string) (s telemetry.Status, raw []byte, err error) {
	var b json.RawMessage
	if err = askSocket(ctx, dir, http.MethodGet, "/status", &b); err != nil {
		return s, nil, err
	}
	return s, b, json.Unmarshal(b, &s)
}

func (a *app) printStatus(s telemetry.Status) {
	a.say("cell     %s  Dun %s  revision %d  ready: %s", "集群     %s  Dun %s  修订 %d  就绪:%s", s.Cell, s.Version, s.Revision, yesNo(s.Ready, a.lang))
	var names []string
	for name := range s.Endpoints {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(a.opt.Out, "%-10s %s\n", name, s.Endpoints[name])
	}
	fmt.Fprintln(a.opt.Out)
	var rows [][]string
	for _, r := range s.Roles {
		var missing []string
		for _, m := range r.Missing {
			missing = append(missing, m.Need+": "+m.Why+" → "+m.Instead)
		}
		rows = append(rows, []string{r.Name, a.state(r.State), fmt.Sprint(r.Revision), r.Mode, orDash(strings.Join(missing, "; "))})
	}
	table(a.opt.Out, []string{a.t("ROLE", "角色"), a.t("STATE", "状态"), a.t("REVISION", "修订"), a.t("MODE", "模式"), a.t("MISSING", "缺失")}, rows)
	fmt.Fprintln(a.opt.Out)
	rows = nil
	for _, n := range s.Nodes {
		rows = append(rows, []string{n.Name, strings.Join(n.Roles, ","), fmt.Sprint(n.Revision), fmt.Sprintf("%d ms", n.LagMs), age(n.Seen), n.Version})
	}
	table(a.opt.Out, []string{a.t("NODE", "节点"), a.t("ROLES", "角色"), a.t("REVISION", "修订"), a.t("LAG", "滞后"), a.t("SEEN", "最近"), a.t("VERSION", "版本")}, rows)
}

func (a *app) state(s string) string {
	if zh := map[string]string{
		telemetry.Starting: "启动中", telemetry.Enforcing: "已生效", telemetry.LastKnownGood: "使用上次配置",
		telemetry.Degraded: "降级", telemetry.Failed: "失败", telemetry.Off: "关闭",
	}[s]; zh != "" {
		return a.t(s, zh)
	}
	return s
}
