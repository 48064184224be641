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
	Kernel  []kernel.Feature // what only root can ask the kernel for
}

// command runs every role on this machine.
func (u *upper) command(_ *cobra.Command, lang text.Lang) *cobra.Command {
	t := func(en, zh string) string { return text.T(en, zh).In(lang) }
	u.lang = lang
	cmd := &cobra.Command{
		Use: "up", Args: cobra.NoArgs,
		Short: t("Run every role on this machine", "在本机运行全部角色"),
		Long: t("Runs a whole cell on this machine with embedded engines, on loopback, and prints where it is and how to sign in.\nTouches no network interface and no firewall. Stop it with Ctrl-C.\nStarted as root, the data directory is given to user dun (or 61999, or the configuration's user), and everything runs as that user without privileges.",
			"在本机以内嵌引擎运行整个集群,仅监听回环地址,并打印地址和登录方法。\n不改动任何网络接口和防火墙。按 Ctrl-C 停止。\n以 root 启动时,数据目录会交给用户 dun(或 61999,或配置中的 user),全部角色以该用户身份、不带特权运行。"),
		Example: "  dun up --data ./d\n  dun up --data ./d2 --port-offset 1000",
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&u.file, "config", "", t("configuration file (YAML)", "配置文件(YAML)"))
	f.StringVar(&u.data, "data", "", t("data directory (default ./dun-data)", "数据目录(默认 ./dun-data)"))
	f.StringVar(&u.listen, "listen", "", t("address on which the public doors listen instead of loopback, as in 0.0.0.0", "公开端口监听的地址,代替回环地址,例如 0.0.0.0"))
	f.IntVar(&u.offset, "port-offset", 0, t("add this to every default port", "所有默认端口加上此值"))
	return cmd
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
		return u.cell(cmd, h.Config, netd, h.Kernel)
	}
	c, err := u.config()
	if err != nil {
		return err
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
	key, err := c.RootKey()
	if err != nil {
		return err
	}
	u.exit, err = supervisor.Run(cmd.Context(), supervisor.Options{
		User: user, Dir: c.Data, Doors: c.Doors(), Recognise: agent.Recognise,
		Handover: func(dir string) any { c.Data = dir; return handover{c, key, kernel.Probe()} },
		Args:     []string{"up", "--lang", string(u.lang)},
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
	return c, c.Complete(u.offset, u.listen)
}

func (u *upper) cell(cmd *cobra.Command, c agent.Config, netd *supervisor.Client, features []kernel.Feature) error {
	log, err := logger(cmd, c)
	if err != nil {
		return err
	}
	return agent.Up(cmd.Context(), agent.Options{
		Config: c, Kinds: kinds.All(), Version: version, Lang: u.lang, Out: cmd.OutOrStdout(), Log: log, Console: faces, Netd: netd, Kernel: features,
	})
}

func logger(cmd *cobra.Command, c agent.Config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}
