package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/agent/kernel"
	"github.com/dun-sec/dun/internal/agent/supervisor"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds"
)

// upper is `dun up`, in either half: as it was started, or as the worker that
// a supervisor started.
type upper struct {
	worker             bool
	member             bool // dun run: the machine of a cell that is elsewhere
	join, tokenFile    string
	roles              []string
	token              []byte
	exit               int // of the worker, when this was its supervisor
	file, data, listen string
	offset             int
	lang               text.Lang
}

// handover is what the worker gets of its supervisor, in memory that no file
// system holds: the configuration as it was completed, and a root key that lies
// where the worker may not read, and what the kernel can do.
type handover struct {
	Config  agent.Config
	RootKey []byte
	Token   []byte           // of a machine that joins
	Kernel  []kernel.Feature // what only root can ask the kernel for
}

// command is dun up, which runs every role on this machine, or dun run.
func (u *upper) command(_ *cobra.Command, lang text.Lang) *cobra.Command {
	t := func(en, zh string) string { return text.T(en, zh).In(lang) }
	u.lang = lang
	cmd := u.whole(t)
	if u.member {
		cmd = u.node(t)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return u.run(cmd) }
	f := cmd.Flags()
	f.StringVar(&u.file, "config", "", t("configuration file (YAML)", "配置文件(YAML)"))
	f.StringVar(&u.data, "data", "", t("data directory (default ./dun-data)", "数据目录(默认 ./dun-data)"))
	f.StringVar(&u.listen, "listen", "", t("address on which the public doors listen instead of loopback, as in 0.0.0.0", "公开端口监听的地址,代替回环地址,例如 0.0.0.0"))
	f.IntVar(&u.offset, "port-offset", 0, t("add this to every default port", "所有默认端口加上此值"))
	return cmd
}

func (u *upper) node(t func(en, zh string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Args: cobra.NoArgs,
		Short: t("Run roles on this machine for a cell that is elsewhere", "在本机为其他机器上的集群运行角色"),
		Long: t("Joins a cell by a token of dun token create, then enforces what the cell orders; later starts need no token.\nWhile the control plane is gone it goes on with what it enforced last, for 30 days at most; dun status on the machine says so.\nA node that the cell removes ends and erases what it knew.",
			"凭 dun token create 生成的令牌加入集群,然后执行集群的命令;以后启动无需令牌。\n控制面不可用时按上次有效配置继续,最长 30 天;在本机运行 dun status 可查看。\n被集群移除的节点会停止并清除所知内容。"),
		Example: "  dun run --roles edge --data ./n2 --port-offset 100 --join https://127.0.0.1:7443 --token-file t\n  dun run --data ./n2 --port-offset 100",
	}
	f := cmd.Flags()
	f.StringSliceVar(&u.roles, "roles", nil, t("what runs here; the token must allow it (default: what the token says)", "本机运行的角色;须为令牌所允许(默认同令牌)"))
	f.StringVar(&u.join, "join", "", t("address of the cell's console (default: the token's)", "集群控制台地址(默认取自令牌)"))
	f.StringVar(&u.tokenFile, "token-file", "", t("what dun token create printed", "dun token create 的输出文件"))
	return cmd
}

func (u *upper) whole(t func(en, zh string) string) *cobra.Command {
	return &cobra.Command{
		Use: "up", Args: cobra.NoArgs,
		Short: t("Run every role on this machine", "在本机运行全部角色"),
		Long: t("Runs a whole cell on this machine with embedded engines, on loopback, and prints where it is and how to sign in.\nTouches no network interface and no firewall. Stop it with Ctrl-C.\nStarted as root, the data directory is given to user dun (or 61999, or the configuration's user), and everything runs as that user without privileges.",
			"在本机以内嵌引擎运行整个集群,仅监听回环地址,并打印地址和登录方法。\n不改动任何网络接口和防火墙。按 Ctrl-C 停止。\n以 root 启动时,数据目录会交给用户 dun(或 61999,或配置中的 user),全部角色以该用户身份、不带特权运行。"),
		Example: "  dun up --data ./d\n  dun up --data ./d2 --port-offset 1000",
	}
}

func (u *upper) run(cmd *cobra.Command) error {
	if u.worker {
		var h handover
		netd, err := supervisor.Inherit(&h)
		if err != nil {
			return err
		}
		defer netd.Close()
		if len(h.RootKey) > 0 {
			if h.Config.RootKeyFile, err = supervisor.Memory(h.RootKey); err != nil {
				return err
			}
		}
		u.token = h.Token
		return u.cell(cmd, h.Config, netd, h.Kernel)
	}
	c, err := u.config()
	if err != nil {
		return err
	}
	if name := c.Join.TokenFile; u.member && name != "" {
		if u.token, err = agent.ReadToken(name); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return u.cell(cmd, c, nil, kernel.Probe())
	}
	user, err := supervisor.FindUser(c.User)
	if err != nil {
		return err
	}
	if user.Root() {
		return u.cell(cmd, c, nil, kernel.Probe())
	}
	log, err := logger(cmd, c)
	if err != nil {
		return err
	}
	var key []byte
	verb := "run"
	if !u.member {
		verb = "up"
		if key, err = c.RootKey(); err != nil {
			return err
		}
	}
	u.exit, err = supervisor.Run(cmd.Context(), supervisor.Options{
		User: user, Dir: c.Data, Doors: c.Doors(), Recognise: agent.Recognise, Part: c.Filter(log),
		Handover: func(dir string) any { c.Data = dir; return handover{c, key, u.token, kernel.Probe()} },
		Args:     []string{verb, "--lang", string(u.lang)},
		Out:      cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), Log: log.With("part", "supervisor"),
	})
	return err
}

// config is flag, then file, then default.
func (u *upper) config() (agent.Config, error) {
	c := agent.Config{}
	if u.file != "" {
		var err error
		if c, err = agent.ReadConfig(u.file); err != nil {
			return c, err
		}
	}
	if u.data != "" {
		c.Data = u.data
	}
	if u.join != "" {
		c.Join.URL = u.join
	}
	if u.tokenFile != "" {
		c.Join.TokenFile = u.tokenFile
	}
	if len(u.roles) > 0 {
		c.Roles = u.roles
	}
	if u.member { // it has neither
		c.Listen.Console, c.Listen.Nodes = "off", "off"
	}
	return c, c.Complete(u.offset, u.listen)
}

func (u *upper) cell(cmd *cobra.Command, c agent.Config, netd *supervisor.Client, features []kernel.Feature) error {
	log, err := logger(cmd, c)
	if err != nil {
		return err
	}
	opt := agent.Options{
		Config: c, Kinds: kinds.All(), Version: version, Lang: u.lang, Out: cmd.OutOrStdout(), Log: log, Console: faces, Netd: netd, Kernel: features,
	}
	if u.member {
		return agent.Run(cmd.Context(), opt, u.token)
	}
	return agent.Up(cmd.Context(), opt)
}

func logger(cmd *cobra.Command, c agent.Config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}
