package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds"
)

// upCommand runs every role on this machine.
func upCommand(_ *cobra.Command, lang text.Lang) *cobra.Command {
	t := func(en, zh string) string { return text.T(en, zh).In(lang) }
	var file, data, listen string
	var offset int
	cmd := &cobra.Command{
		Use: "up", Args: cobra.NoArgs,
		Short: t("Run every role on this machine", "在本机运行全部角色"),
		Long: t("Runs a whole cell on this machine with embedded engines, on loopback, and prints where it is and how to sign in.\nTouches no network interface and no firewall. Stop it with Ctrl-C.",
			"在本机以内嵌引擎运行整个集群,仅监听回环地址,并打印地址和登录方法。\n不改动任何网络接口和防火墙。按 Ctrl-C 停止。"),
		Example: "  dun up --data ./d\n  dun up --data ./d2 --port-offset 1000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := agent.Config{}
			if file != "" {
				var err error
				if c, err = agent.ReadConfig(file); err != nil {
					return err
				}
			}
			if data != "" {
				c.Data = data
			}
			if err := c.Complete(offset, listen); err != nil {
				return err
			}
			var level slog.Level
			if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
				return err
			}
			return agent.Up(cmd.Context(), agent.Options{
				Config: c, Kinds: kinds.All(), Version: version, Lang: lang, Out: cmd.OutOrStdout(),
				Log:     slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
				Console: faces,
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", t("configuration file (YAML)", "配置文件(YAML)"))
	f.StringVar(&data, "data", "", t("data directory (default ./dun-data)", "数据目录(默认 ./dun-data)"))
	f.StringVar(&listen, "listen", "", t("address on which the public doors listen instead of loopback, as in 0.0.0.0", "公开端口监听的地址,代替回环地址,例如 0.0.0.0"))
	f.IntVar(&offset, "port-offset", 0, t("add this to every default port", "所有默认端口加上此值"))
	return cmd
}
