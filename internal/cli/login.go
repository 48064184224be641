package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
)

func (a *app) login() *cobra.Command {
	return &cobra.Command{
		Use: "login", Args: cobra.NoArgs,
		Short: a.t("Exchange the profile's live session for a new one", "用配置中的有效会话换取新会话"),
		Long: a.t("A session lives 24 hours. This exchanges a live one for a new one and writes it into the profile; the old one ends.\nWhen it has expired: dun admin recover --data DIR, on the machine.",
			"会话有效期为 24 小时。此命令用有效会话换取新会话并写入配置,旧会话随即失效。\n若已过期,请在本机执行:dun admin recover --data DIR。"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.do(cmd.Context(), request{method: http.MethodPost, path: "/api/v1/session"})
			if err != nil {
				return err
			}
			var s struct {
				Token   string    `json:"token"`
				Expires time.Time `json:"expires"`
			}
			if err := json.Unmarshal(r.body, &s); err != nil || s.Token == "" {
				return fault.New(fault.Internal, "the answer holds no session", "应答中没有会话").Because(err)
			}
			c.profile.Session.Token, c.profile.Session.Expires = s.Token, s.Expires
			if err := c.profile.Write(c.file); err != nil {
				return fault.New(fault.Invalid, "the new session cannot be written to %s", "新会话无法写入 %s", c.file).Because(err)
			}
			a.say("signed in until %s; %s is renewed", "登录有效至 %s;已更新 %s", when(s.Expires), c.file)
			return nil
		},
	}
}

func (a *app) admin() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: a.t("What needs the machine itself: root, or the owner of the data directory", "须在本机以 root 或数据目录所有者执行的操作")}
	var dir string
	rec := &cobra.Command{
		Use: "recover", Args: cobra.NoArgs,
		Short: a.t("Make a new session and a new link to the console for the operator", "为运营者生成新会话和新的控制台链接"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r struct {
				Profile string `json:"profile"`
				Link    string `json:"link"`
				Error   string `json:"error"`
			}
			if err := askSocket(cmd.Context(), dir, http.MethodPost, "/recover", &r); err != nil {
				return err
			}
			if r.Error != "" {
				return fault.New(fault.Forbidden, "%s", "%s", r.Error)
			}
			a.say("a new session is in %s; use it with: export DUN_PROFILE=%s", "新会话已写入 %s;使用方法:export DUN_PROFILE=%s", r.Profile, r.Profile)
			if r.Link != "" {
				a.say("the console, one time within 24 hours: %s", "控制台(24 小时内一次有效):%s", r.Link)
			}
			return nil
		},
	}
	rec.Flags().StringVar(&dir, "data", "./dun-data", a.t("data directory of the running cell", "运行中集群的数据目录"))
	return a.group(cmd, rec)
}

// askSocket asks the cell on this machine through DIR/run/dun.sock. The folder
// is opened first: a socket's path may have 108 bytes at most.
func askSocket(ctx context.Context, dir, method, path string, into any) error {
	d, err := os.Open(filepath.Join(dir, "run"))
	if err != nil {
		return fault.New(fault.Invalid, "%s is not the data directory of a cell", "%s 不是集群的数据目录", dir).Because(err)
	}
	defer d.Close()
	sock := "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/dun.sock"
	hc := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://dun"+path, nil)
	if err != nil {
		return fmt.Errorf("ask the cell: %w", err)
	}
	res, err := hc.Do(req)
	if errors.Is(err, os.ErrPermission) {
		return fault.New(fault.Forbidden, "only root and the owner of %s may do this", "只有 root 和 %s 的所有者可以执行", dir).Because(err)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "no cell runs on %s; start it with: dun up --data %s", "%s 上没有运行中的集群;请启动:dun up --data %[2]s", dir, dir).Because(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("read the cell's answer: %w", err)
	}
	return nil
}
