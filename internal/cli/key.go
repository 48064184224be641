package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// keyKind is the kind that these commands make shorter.
const keyKind = "accesskey"

// key is dun key: access keys, by which programs sign their requests.
func (a *app) key() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "key", Short: a.t("Access keys, by which programs sign their requests to the API", "程序对 API 请求签名所用的访问密钥"),
		Long: a.t("Requests are signed by AWS Signature Version 4, region local, service dun, as in:\n  curl --aws-sigv4 aws:amz:local:dun --user \"$ID:$SECRET\" --cacert DIR/ca.pem https://127.0.0.1:7443/api/v1/platform/sites\ndun get and history know them as the kind accesskey.",
			"请求按 AWS 签名版本 4 签名,区域 local,服务 dun,例如:\n  curl --aws-sigv4 aws:amz:local:dun --user \"$ID:$SECRET\" --cacert DIR/ca.pem https://127.0.0.1:7443/api/v1/platform/sites\ndun get 和 history 等命令以 accesskey 类型读取它们。"),
	}, a.keyCreate(), a.keyRotate(), a.keyList(), a.keyDelete())
}

// keyFlags are what a key is made of.
type keyFlags struct {
	user, service, file, reason string
	write                       bool
	networks                    []string
	life                        string
}

func (a *app) keyCreate() *cobra.Command {
	var where tenantFlags
	var f keyFlags
	cmd := &cobra.Command{
		Use: "create NAME (--user USER | --service SERVICE) [--write]", Args: cobra.ExactArgs(1),
		Short:   a.t("Make a key and print its secret, once", "创建密钥并仅显示一次其内容"),
		Example: "  dun key create laptop --user operator\n  dun key create ci-1 --tenant acme --service ci --write --network 192.0.2.0/24 --life 30d --file ci.key",
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringVar(&f.user, "user", "", a.t("for whom it stands: yourself", "所属用户:您本人"))
	cmd.Flags().StringVar(&f.service, "service", "", a.t("instead of a user: a program of the tenant", "代替用户:本租户的程序"))
	cmd.Flags().BoolVar(&f.write, "write", false, a.t("it may change something", "允许更改"))
	cmd.Flags().StringArrayVar(&f.networks, "network", nil, a.t("take it from here only, as in 192.0.2.0/24; may be given again", "只接受来自此网段的请求,例如 192.0.2.0/24;可重复"))
	cmd.Flags().StringVar(&f.life, "life", "90d", a.t("how long it lives", "有效期"))
	a.secretFlags(cmd, &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		life, err := resource.ParseDuration(f.life)
		if err != nil || life == 0 {
			return fault.New(fault.Invalid, "--life: want a time such as 12h or 30d, not %q", "--life:应为时间,例如 12h 或 30d,而不是 %q", f.life)
		}
		spec := map[string]any{"expires": time.Now().Add(time.Duration(life)).UTC().Truncate(time.Second)}
		for name, v := range map[string]string{"user": f.user, "service": f.service} {
			if v != "" {
				spec[name] = v
			}
		}
		if f.write {
			spec["write"] = true
		}
		if len(f.networks) > 0 {
			spec["networks"] = f.networks
		}
		k, c, err := a.reach(keyKind)
		if err != nil {
			return err
		}
		return a.makeKey(cmd, c, k, where.in(c), args[0], spec, &f)
	}
	return cmd
}

func (a *app) secretFlags(cmd *cobra.Command, f *keyFlags) {
	cmd.Flags().StringVar(&f.file, "file", "", a.t("write id and secret into this new file of mode 0600 instead of printing them", "将标识和内容写入此新文件(权限 0600),而不显示"))
	cmd.Flags().StringVar(&f.reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
}

// makeKey makes the record, then the secret.
func (a *app) makeKey(cmd *cobra.Command, c *client, k *resource.Kind, tenant, name string, spec any, f *keyFlags) (err error) {
	out := a.opt.Out
	if f.file != "" {
		file, err := os.OpenFile(f.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fault.New(fault.Invalid, "--file: %s", "--file:%s", err.Error()).Because(err)
		}
		defer file.Close()
		out = file
	}
	path := recordPath(k, tenant, name)
	if _, err := c.do(cmd.Context(), request{method: http.MethodPut, path: path, contentType: "application/json", header: reasonHeader(f.reason),
		body: map[string]any{"kind": k.Name, "metadata": map[string]any{"tenant": tenant, "name": name}, "spec": spec}}); err != nil {
		return err
	}
	res, err := c.do(cmd.Context(), request{method: http.MethodPost, path: path + "/issue", header: reasonHeader(f.reason)})
	if err != nil {
		e := fault.Of(err)
		return fault.New(e.Code, "%s; the key %s is there, without a secret: dun key delete %s", "%s;密钥 %s 已建立但没有内容:dun key delete %s", e.Detail.In(a.lang), name, name).Because(err)
	}
	var got struct {
		Record struct {
			State struct {
				KeyID string `json:"keyID"`
			} `json:"state"`
		} `json:"record"`
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal(res.body, &got); err != nil {
		return fmt.Errorf("read the new key: %w", err)
	}
	clear(res.body)
	if _, err := fmt.Fprintf(out, "id      %s\nsecret  %s\n", got.Record.State.KeyID, got.Secret); err != nil {
		return fault.New(fault.Unavailable, "the secret could not be written: %s; make another key", "密钥内容无法写入:%s;请另建密钥", err.Error()).Because(err)
	}
	if f.file != "" {
		a.say("accesskey %s/%s: id and secret are in %s", "accesskey %s/%s:标识和内容已写入 %s", tenant, name, f.file)
	} else {
		fmt.Fprintln(a.opt.Err, a.t("The secret is shown this once.", "密钥内容只显示这一次。"))
	}
	return nil
}

func (a *app) keyRotate() *cobra.Command {
	var where tenantFlags
	var f keyFlags
	cmd := &cobra.Command{
		Use: "rotate NAME NEW", Args: cobra.ExactArgs(2), ValidArgsFunction: a.keyNames,
		Short:   a.t("Make a key that takes the place of another, with the same scope and length of life", "新建密钥以替换另一个,范围和有效期长度不变"),
		Long:    a.t("Both are good until the old one is deleted: give the new one to the program, see that dun key list shows its use, then dun key delete the old one.", "删除旧密钥之前两者均有效:将新密钥交给程序,在 dun key list 中看到其被使用后,再用 dun key delete 删除旧密钥。"),
		Example: "  dun key rotate ci-1 ci-2 --file ci.key\n  dun key delete ci-1",
	}
	a.tenantFlags(cmd, &where, false)
	a.secretFlags(cmd, &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(keyKind)
		if err != nil {
			return err
		}
		tenant := where.in(c)
		old, err := c.do(cmd.Context(), request{method: http.MethodGet, path: recordPath(k, tenant, args[0])})
		if err != nil {
			return err
		}
		var was struct {
			Metadata struct {
				Created time.Time `json:"created"`
			} `json:"metadata"`
			Spec map[string]any `json:"spec"`
		}
		if err := json.Unmarshal(old.body, &was); err != nil {
			return fmt.Errorf("read a key: %w", err)
		}
		delete(was.Spec, "disabled")
		if s, ok := was.Spec["expires"].(string); ok {
			end, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				return fmt.Errorf("read a key: %w", err)
			}
			was.Spec["expires"] = time.Now().Add(end.Sub(was.Metadata.Created)).UTC().Truncate(time.Second)
		}
		return a.makeKey(cmd, c, k, tenant, args[1], was.Spec, &f)
	}
	return cmd
}

func (a *app) keyList() *cobra.Command {
	cmd := a.get()
	run := cmd.RunE
	cmd.Use, cmd.Args = "list", cobra.NoArgs
	cmd.Short, cmd.Long, cmd.Example = a.t("List keys, their state and last use", "列出密钥及其状态和最近使用"), "", ""
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd, []string{keyKind}) }
	return cmd
}

func (a *app) keyDelete() *cobra.Command {
	cmd := a.delete()
	run := cmd.RunE
	cmd.Use, cmd.Args, cmd.ValidArgsFunction = "delete NAME", cobra.ExactArgs(1), a.keyNames
	cmd.Short, cmd.Long, cmd.Example = a.t("Delete a key; its next request is refused", "删除密钥;其后的请求即被拒绝"), "", ""
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, []string{keyKind, args[0]}) }
	return cmd
}

func (a *app) keyNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || strings.HasPrefix(typed, "-") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeKind(cmd, []string{keyKind}, typed)
}
