package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
)

// secret is dun secret: the write-only way of a secret into a record.
func (a *app) secret() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "secret", Short: a.t("Put secrets, such as the private key of a certificate", "存入机密,例如证书私钥"),
		Long: a.t("Secrets are sealed and never shown again; the record keeps a reference only.", "机密会被封存且不再显示;记录中只保留引用。"),
	}, a.secretPut())
}

func (a *app) secretPut() *cobra.Command {
	var where tenantFlags
	var file, reason string
	cmd := &cobra.Command{
		Use: "put KIND NAME VERB --file FILE", Args: cobra.ExactArgs(3), ValidArgsFunction: a.completeKind,
		Short: a.t("Put a secret of a record", "存入记录的机密"), Example: "  dun secret put certificate shop key --file shop.key\n  openssl pkey -in shop.key | dun secret put certificate shop key --file -",
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringVar(&file, "file", "", a.t("file that holds the secret; - reads it from standard input", "含有机密的文件;- 表示标准输入"))
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		v, err := k.FindVerb(args[2])
		if err != nil || v.Secret == nil || v.Secret.Made {
			return fault.New(fault.Invalid, "a %s has no secret %q; see dun explain kind %s", "%s 没有机密 %q;见 dun explain kind %s", k.Name, args[2], k.Short)
		}
		content, err := a.readSecret(file, v.Secret.Max)
		if err != nil {
			return err
		}
		defer clear(content)
		tenant := where.in(c)
		res, err := c.sendRaw(cmd.Context(), http.MethodPut, recordPath(k, tenant, args[1])+"/"+url.PathEscape(v.Name), content, reasonHeader(reason))
		if err != nil {
			return err
		}
		o, err := c.object(res.body)
		if err != nil {
			return err
		}
		a.say("%s %s/%s: %s, revision %d", "%s %s/%s:%s,修订 %d", k.Short, tenant, args[1], v.Title, o.Metadata.Revision)
		return a.waitEnforced(cmd.Context(), c, o.Metadata.Revision, k.NodeRoles)
	}
	return cmd
}

func (a *app) readSecret(file string, most int) ([]byte, error) {
	var from io.Reader = a.opt.In
	switch file {
	case "":
		return nil, fault.New(fault.Invalid, "--file says where the secret is; it is never given as an argument, which others see", "--file 指明机密所在;机密不得作为参数给出,以免他人可见")
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s", "%s", err.Error()).Because(err)
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if len(b) > most {
		return nil, fault.New(fault.Invalid, "the secret is larger than %d bytes", "机密超过 %d 字节", most)
	}
	return bytes.Clone(b), nil
}
