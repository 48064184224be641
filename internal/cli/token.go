package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
)

// token is dun token: what lets a machine join.
func (a *app) token() *cobra.Command {
	return a.group(&cobra.Command{Use: "token", Short: a.t("Let other machines join the cell", "允许其他机器加入集群")}, a.tokenCreate())
}

// tokenFlags are what a token allows.
type tokenFlags struct {
	roles, tenants []string
	node, server   string
	life           time.Duration
}

func (a *app) tokenCreate() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use: "create", Args: cobra.NoArgs,
		Short: a.t("Make a token by which one machine joins, once and soon", "生成令牌,供一台机器在短期内加入一次"),
		Long: a.t("Prints the token file: where to join, the hash of the cell's authority and a secret. The secret is made here, shown once, and the cell keeps its hash alone.\nThe machine joins by: dun run --join URL --token-file FILE",
			"打印令牌文件:加入地址、集群 CA 的哈希和机密。机密在此处生成并只显示一次,集群只保存其哈希。\n机器以此加入:dun run --join URL --token-file 文件"),
		Example: "  dun token create --roles edge > t\n  dun token create --roles edge --tenants acme --node edge-2 > t",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.makeToken(cmd.Context(), f) },
	}
	cmd.Flags().StringSliceVar(&f.roles, "roles", []string{"edge"}, a.t("what the machine runs", "该机器运行的角色"))
	cmd.Flags().StringSliceVar(&f.tenants, "tenants", nil, a.t("whose records are placed there; none = every tenant's", "放置在该机器上的租户;不填 = 全部"))
	cmd.Flags().StringVar(&f.node, "node", "", a.t("name of the node; one that is there is replaced by the machine (default: the next free)", "节点名称;已存在时由该机器替换(默认:下一个空闲名称)"))
	cmd.Flags().StringVar(&f.server, "server", "", a.t("where the machine reaches the console's door (default: the profile's)", "该机器访问控制台的地址(默认取自配置)"))
	cmd.Flags().DurationVar(&f.life, "life", time.Hour, a.t("how long it is good, 24h at most", "有效期,最长 24h"))
	return cmd
}

func (a *app) makeToken(ctx context.Context, f tokenFlags) error {
	k, c, err := a.reach("token")
	if err != nil {
		return err
	}
	if f.life <= 0 || f.life > 24*time.Hour {
		return fault.New(fault.Invalid, "--life: want 1s to 24h", "--life:应为 1s 到 24h")
	}
	hash, err := authorityHash(c.profile.CAPEM)
	if err != nil {
		return err
	}
	secret, verifier := nodelink.NewSecret()
	t := nodelink.TokenFile{URL: c.profile.Server, CA: hash, Token: "t-" + id.Random(5), Secret: secret}
	if f.server != "" {
		t.URL = f.server
	}
	if err := nodelink.CheckURL(t.URL); err != nil {
		return err
	}
	expires := time.Now().Add(f.life).UTC().Truncate(time.Second)
	spec := map[string]any{"roles": f.roles, "expires": expires, "verifier": verifier}
	if len(f.tenants) > 0 {
		spec["tenants"] = f.tenants
	}
	if f.node != "" {
		spec["node"] = f.node
	}
	_, err = c.do(ctx, request{method: http.MethodPut, path: recordPath(k, resource.Platform, t.Token), contentType: "application/json",
		body: map[string]any{"kind": k.Name, "metadata": map[string]any{"tenant": resource.Platform, "name": t.Token}, "spec": spec}})
	if err != nil {
		return err
	}
	fmt.Fprint(a.opt.Out, t.Text(f.roles, expires))
	fmt.Fprintln(a.opt.Err, a.t("token "+t.Token+" made; on the machine: dun run --roles "+strings.Join(f.roles, ",")+" --join "+t.URL+" --token-file FILE",
		"令牌 "+t.Token+" 已生成;在该机器上执行:dun run --roles "+strings.Join(f.roles, ",")+" --join "+t.URL+" --token-file 文件"))
	return nil
}

// authorityHash is what the machine knows the authority by.
func authorityHash(caPEM string) (string, error) {
	b, _ := pem.Decode([]byte(caPEM))
	if b == nil {
		return "", fault.New(fault.Invalid, "the profile holds no authority; sign in anew", "配置中没有 CA;请重新登录")
	}
	ca, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return "", fault.New(fault.Invalid, "the profile holds no authority; sign in anew", "配置中没有 CA;请重新登录").Because(err)
	}
	return nodelink.HashOf(identity.Fingerprint(ca)), nil
}
