package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

func (a *app) audit() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: a.t("Read, verify and export the audit log", "查看、校验和导出审计日志")}
	return a.group(cmd, a.auditTail(), a.auditVerify(), a.auditExport(), a.auditErase())
}

// leafJSON is one leaf as the API sends it.
type leafJSON struct {
	Seq    uint64   `json:"seq"`
	Leaf   []byte   `json:"leaf"`
	Salts  [][]byte `json:"salts"`
	Values [][]byte `json:"values"`
}

// open checks the leaf against what it commits to.
func (l *leafJSON) open() (audit.Leaf, audit.Values, error) {
	var s audit.Salts
	var v audit.Values
	if len(l.Salts) != audit.Fields || len(l.Values) != audit.Fields {
		return audit.Leaf{}, v, fmt.Errorf("leaf %d: want %d salts and values", l.Seq, audit.Fields)
	}
	copy(s[:], l.Salts)
	copy(v[:], l.Values)
	leaf, err := audit.ParseLeaf(l.Leaf)
	if err != nil {
		return leaf, v, fmt.Errorf("leaf %d: %w", l.Seq, err)
	}
	if leaf.Seq != l.Seq {
		return leaf, v, fmt.Errorf("leaf %d says that it is number %d", l.Seq, leaf.Seq)
	}
	if err := leaf.Check(s, v); err != nil {
		return leaf, v, fmt.Errorf("leaf %d: %w", l.Seq, err)
	}
	return leaf, v, nil
}

// logFlag adds --log.
func (a *app) logFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "log", "main", a.t("which log: main, or denials (what was refused)", "日志:main,或 denials(被拒绝的请求)"))
	if err := cmd.RegisterFlagCompletionFunc("log", cobra.FixedCompletions([]string{"main", "denials"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		fmt.Fprintln(a.opt.Err, err)
	}
}

// pinned is the origin and the key of a log, as the profile pins them: the key
// of the main log tells that of the denials.
func (c *client) pinned(log string) (origin, vkey string, err error) {
	origin, vkey = c.profile.Log.Origin, c.profile.Log.VKey
	if vkey == "" {
		return "", "", fault.New(fault.Invalid, "profile %s pins no log key (log.vkey)", "配置 %s 没有固定日志密钥(log.vkey)", c.file)
	}
	if log != "denials" {
		return origin, vkey, nil
	}
	if vkey, err = audit.DenialsVKey(vkey); err != nil {
		return "", "", fault.New(fault.Invalid, "profile %s: log.vkey is no key", "配置 %s:log.vkey 不是有效密钥", c.file).Because(err)
	}
	return origin + "/denials", vkey, nil
}

func (c *client) leaves(cmd *cobra.Command, log string, q url.Values) ([]leafJSON, error) {
	q.Set("log", log)
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/-/audit/leaves", query: q})
	if err != nil {
		return nil, err
	}
	var page struct {
		Items []leafJSON `json:"items"`
	}
	if err := json.Unmarshal(r.body, &page); err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	return page.Items, nil
}

// doesNotVerify ends a verification that found a difference: exit 20.
func doesNotVerify(err error) error {
	return &found{text.F("does not verify: %s", "校验不通过:%s", clean(err.Error()))}
}

func (a *app) checkRecords(cmd *cobra.Command, c *client) error {
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/-/audit/check"})
	if fault.Is(err, fault.Internal) {
		return doesNotVerify(errors.New(fault.Of(err).Detail.In(a.lang)))
	}
	if err != nil {
		return err
	}
	var rep struct {
		Records int `json:"records"`
	}
	if err := json.Unmarshal(r.body, &rep); err != nil {
		return fmt.Errorf("read the check: %w", err)
	}
	a.say("records  %d, each as its newest leaf says", "记录     %d 条,均与最新叶子一致", rep.Records)
	return nil
}

func (a *app) auditExport() *cobra.Command {
	var file, tenant, log string
	var from, to uint64
	cmd := &cobra.Command{
		Use: "export -o FILE", Args: cobra.NoArgs,
		Short: a.t("Write leaves and proofs as a bundle that dun-verify checks anywhere", "导出叶子和证明,可在任何地方用 dun-verify 校验"),
	}
	f := cmd.Flags()
	f.StringVarP(&file, "output", "o", "", a.t("file to write; - is standard output", "写入的文件;- 为标准输出"))
	f.StringVarP(&tenant, "tenant", "t", "", a.t("only leaves of this tenant", "仅限此租户的叶子"))
	f.Uint64Var(&from, "from", 0, a.t("first leaf", "起始叶子"))
	a.logFlag(cmd, &log)
	f.Uint64Var(&to, "to", 0, a.t("last leaf (default: the newest)", "末尾叶子(默认最新)"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			return fault.New(fault.Invalid, "name the file with -o; - is standard output", "请用 -o 指定文件;- 为标准输出")
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		q := url.Values{"from": {strconv.FormatUint(from, 10)}, "log": {log}}
		_, vkey, err := c.pinned(log)
		if err != nil {
			return err
		}
		if to > 0 {
			q.Set("to", strconv.FormatUint(to, 10))
		}
		if tenant != "" {
			q.Set("tenant", tenant)
		}
		res, err := c.send(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/-/audit/export", query: q})
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if file == "-" {
			_, err := io.Copy(a.opt.Out, res.Body)
			return cut(err)
		}
		n, err := writeFile(file, res.Body)
		if err != nil {
			return err
		}
		a.say("%s written, %d bytes; check it with: dun-verify --key '%s' %s", "已写入 %s,%d 字节;校验命令:dun-verify --key '%s' %s", file, n, vkey, file)
		return nil
	}
	return cmd
}

func cut(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "the export was cut: %s", "导出中断:%s", err.Error()).Because(err)
}

// writeFile writes the whole file or none.
func writeFile(name string, r io.Reader) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".dun-export-*")
	if err != nil {
		return 0, fault.New(fault.Invalid, "%s cannot be written", "%s 无法写入", name).Because(err)
	}
	defer os.Remove(f.Name())
	n, err := io.Copy(f, r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return n, cut(err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return n, fault.New(fault.Invalid, "%s cannot be written", "%s 无法写入", name).Because(err)
	}
	return n, nil
}
