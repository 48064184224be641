package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) auditErase() *cobra.Command {
	var where tenantFlags
	var uid, reason string
	cmd := &cobra.Command{
		Use: "erase KIND NAME --reason WHY", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeKind,
		Short: a.t("Erase what history and log say about a deleted record", "抹除历史和日志中关于已删除记录的内容"),
		Long: a.t("Takes away every version of a record that was deleted, and what its leaves commit to. Every proof of the log still verifies; what it said can neither be read nor guessed any more.\nThe erasure is a leaf itself, with who and why. It cannot be undone.",
			"移除已删除记录的全部版本及其叶子的承诺内容。日志的全部证明仍然有效;其内容不可再读取或猜测。\n抹除本身也是一个叶子,记录操作者与理由。此操作不可撤销。"),
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringVar(&uid, "uid", "", a.t("only the record with this uid; others had the name, too", "仅限此 uid 的记录;该名称可能被多条记录使用过"))
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why; it stays in the log", "理由;将保留在日志中"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		tenant := where.in(c)
		r, err := c.do(cmd.Context(), request{
			method: http.MethodPost, path: "/api/v1/" + url.PathEscape(tenant) + "/audit/erase", contentType: "application/json",
			body: map[string]any{"kind": k.Name, "name": args[1], "uid": uid, "reason": reason},
		})
		if err != nil {
			return err
		}
		var rep struct {
			Versions int `json:"versions"`
		}
		if err := json.Unmarshal(r.body, &rep); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		a.say("%s %s/%s: %d versions erased; every proof still verifies", "%s %s/%s:已抹除 %d 个版本;全部证明仍然有效", k.Short, tenant, args[1], rep.Versions)
		return nil
	}
	return cmd
}
