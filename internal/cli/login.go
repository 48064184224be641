package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// signInFlags say who signs in, and where.
type signInFlags struct{ user, server, ca, link string }

func (a *app) login() *cobra.Command {
	var f signInFlags
	cmd := &cobra.Command{
		Use: "login", Args: cobra.NoArgs,
		Short: a.t("Sign in by password and code, or exchange the profile's live session for a new one", "用密码和验证码登录,或用配置中的有效会话换取新会话"),
		Long: a.t("A session lives 24 hours. With --user this asks for the password and a one-time code, and writes the new session into the profile; --server and --ca make a new profile. The two are read from a terminal unseen, else from standard input, a line each.\nWithout --user a live session is exchanged for a new one; the old one ends. When it has expired and there is no password: dun admin recover --data DIR, on the machine.",
			"会话有效期为 24 小时。使用 --user 时会要求输入密码和一次性验证码,并将新会话写入配置;--server 和 --ca 可新建配置。两者从终端读取(不显示),否则从标准输入逐行读取。\n不带 --user 时用有效会话换取新会话,旧会话随即失效。若已过期且未设置密码,请在本机执行:dun admin recover --data DIR。"),
		Example: "  dun login\n  dun login --user operator\n  dun --profile ann.yaml login --user acme/ann --server https://dun.example.com:7443 --ca ca.pem",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.link != "":
				return a.enrol(cmd.Context(), f)
			case f.user == "":
				return a.renew(cmd.Context())
			}
			return a.signIn(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.user, "user", "", a.t("who signs in: name, or tenant/name", "登录用户:用户名,或 租户/用户名"))
	cmd.Flags().StringVar(&f.link, "link", "", a.t("one-time link: sets a password and an authenticator app, and signs in", "一次性链接:设置密码和身份验证器应用并登录"))
	cmd.Flags().StringVar(&f.server, "server", "", a.t("console's address, as in https://dun.example.com:7443 (default: the profile's)", "控制台地址,例如 https://dun.example.com:7443(默认取自配置)"))
	cmd.Flags().StringVar(&f.ca, "ca", "", a.t("file of the cell's authority, ca.pem (default: the profile's)", "集群 CA 证书文件 ca.pem(默认取自配置)"))
	return cmd
}

func (a *app) renew(ctx context.Context) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.do(ctx, request{method: http.MethodPost, path: "/api/v1/session"})
	if err != nil {
		return err
	}
	return a.keepSession(c, r.body)
}

// openedSession is a new session as the API tells of it.
type openedSession struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Tenant  string    `json:"tenant"`
	Log     struct {
		Origin string `json:"origin"`
		VKey   string `json:"vkey"`
	} `json:"log"`
}

func (a *app) keepSession(c *client, body []byte) error {
	var s openedSession
	if err := json.Unmarshal(body, &s); err != nil || s.Token == "" {
		return fault.New(fault.Internal, "the answer holds no session", "应答中没有会话").Because(err)
	}
	p := c.profile
	p.Session.Token, p.Session.Expires = s.Token, s.Expires
	if s.Tenant != "" {
		p.Tenant = s.Tenant
	}
	if p.Log.VKey == "" { // a new profile pins what it is told the first time
		p.Log.Origin, p.Log.VKey = s.Log.Origin, s.Log.VKey
	}
	if err := p.Write(c.file); err != nil {
		return fault.New(fault.Invalid, "the new session cannot be written to %s", "新会话无法写入 %s", c.file).Because(err)
	}
	a.say("signed in until %s; %s is renewed", "登录有效至 %s;已更新 %s", when(s.Expires), c.file)
	return nil
}

// signIn asks for password and code and opens a session by them.
func (a *app) signIn(ctx context.Context, f signInFlags) error {
	c, err := a.signInClient(f)
	if err != nil {
		return err
	}
	in := newPrompt(a.opt.In, a.opt.Err)
	password, err := in.ask(a.t("Password: ", "密码:"))
	if err != nil {
		return err
	}
	code, err := in.ask(a.t("One-time code: ", "一次性验证码:"))
	if err != nil {
		return err
	}
	tenant, name, both := strings.Cut(f.user, "/")
	if !both {
		tenant, name = resource.Platform, f.user
	}
	r, err := c.do(ctx, request{
		method: http.MethodPost, path: "/api/v1/sign-in", contentType: "application/json",
		body: map[string]string{"tenant": tenant, "name": name, "password": password, "code": code},
	})
	if err != nil {
		return err
	}
	return a.keepSession(c, r.body)
}

// enrol uses a one-time link up: it asks for a password, tells the key for an
// app, and takes a code of it.
func (a *app) enrol(ctx context.Context, f signInFlags) error {
	u, err := url.Parse(f.link)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Query().Get("t") == "" {
		return fault.New(fault.Invalid, "--link: want the whole link, as in https://…/enter?t=…", "--link:应为完整链接,例如 https://…/enter?t=…").Because(err)
	}
	f.server = "https://" + u.Host
	c, err := a.signInClient(f)
	if err != nil {
		return err
	}
	r, err := c.do(ctx, request{method: http.MethodPost, path: "/api/v1/enter", contentType: "application/json", body: map[string]string{"token": u.Query().Get("t")}})
	if err != nil {
		return err
	}
	var e struct{ Token, Tenant, Name, Key, URI string }
	if err := json.Unmarshal(r.body, &e); err != nil || e.Token == "" {
		return fault.New(fault.Internal, "the answer holds no session", "应答中没有会话").Because(err)
	}
	fmt.Fprintln(a.opt.Err, text.F("The link is used up. Set how %s/%s signs in from now on.\nKey for the authenticator app: %s\n  %s", "链接已使用。请设置 %s/%s 今后的登录方式。\n身份验证器应用的密钥:%s\n  %s", e.Tenant, e.Name, e.Key, e.URI).In(a.lang))
	c.profile.Session.Token = e.Token
	in := newPrompt(a.opt.In, a.opt.Err)
	for {
		password, err := in.ask(a.t("New password: ", "新密码:"))
		if err != nil {
			return err
		}
		code, err := in.ask(a.t("One-time code: ", "一次性验证码:"))
		if err != nil {
			return err
		}
		r, err := c.do(ctx, request{method: http.MethodPost, path: "/api/v1/enrol", contentType: "application/json", body: map[string]string{"password": password, "code": code}})
		if fault.Is(err, fault.Invalid) { // the link is used up: there are more tries
			a.report(err)
			continue
		}
		if err != nil {
			return err
		}
		return a.keepSession(c, r.body)
	}
}

// signInClient is a client of the profile, or of a new one that the flags
// describe.
func (a *app) signInClient(f signInFlags) (*client, error) {
	file := a.profilePath()
	p, err := identity.ReadProfile(file)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.Invalid, "profile %s: %s", "配置 %s:%s", file, err.Error()).Because(err)
	case f.server == "" || f.ca == "":
		return nil, fault.New(fault.Invalid, "there is no profile at %s: say where the cell is with --server URL, and whom to trust with --ca ca.pem", "配置 %s 不存在:请用 --server URL 指明集群地址,用 --ca ca.pem 指明信任的证书", file).Because(err)
	default:
		p = &identity.Profile{Version: 1, Lang: string(a.lang)}
	}
	p.Session = identity.ProfileSession{} // no old session goes along
	if f.server != "" {
		p.Server = strings.TrimSuffix(f.server, "/")
	}
	if f.ca != "" {
		b, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s: %s", "%s:%s", f.ca, err.Error()).Because(err)
		}
		p.CAPEM = string(b)
	}
	return a.clientOf(p, file)
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
	return a.group(cmd, rec, a.founder())
}

// founder makes one more person whom nobody made, so that there are two.
func (a *app) founder() *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{
		Use: "founder", Args: cobra.NoArgs,
		Short: a.t("Make a second founder and a one-time link for him; from then on important changes need two people", "创建第二位创始人及其一次性链接;此后重要更改须由两人完成"),
		Long: a.t("A cell is run by one person at first, and approvals are off. This makes one more, whom nobody made, with the role operator. Hand him the link: he sets a password and an app by it, in the console or with dun login --link. Run again it makes a new link for the same name.",
			"集群最初由一人运行,审批处于关闭状态。此命令再创建一位创始人,其不由任何人创建,角色为 operator。请将链接交给对方:在控制台或用 dun login --link 设置密码和应用。再次执行会为同一用户生成新链接。"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r struct{ Name, Link, Server, CA, Error string }
			if err := askSocket(cmd.Context(), dir, http.MethodPost, "/founder?name="+url.QueryEscape(name), &r); err != nil {
				return err
			}
			if r.Error != "" {
				return fault.New(fault.Forbidden, "%s", "%s", r.Error)
			}
			a.say("founder %s, one time within 24 hours: %s", "创始人 %s(24 小时内一次有效):%s", r.Name, r.Link)
			a.say("  on the command line: dun --profile %s.yaml login --ca %s --link '%s'", "  命令行:dun --profile %s.yaml login --ca %s --link '%s'", r.Name, r.CA, r.Link)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", "./dun-data", a.t("data directory of the running cell", "运行中集群的数据目录"))
	cmd.Flags().StringVar(&name, "name", "ann", a.t("name of the founder", "创始人用户名"))
	return cmd
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
