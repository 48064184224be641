// Package cli is the command line: it speaks to a running cell through the
// API with the profile's session, and knows kinds only through resource.Kind.
// It owns what people type and read; it decides nothing.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// ProfileVariable is the one variable of the environment that is read.
const ProfileVariable = "DUN_PROFILE"

// ExitWaits is the exit code of a change that waits for approval.
const ExitWaits = 9

// ExitFound is the exit code of a check that found something.
const ExitFound = 20

// Options of the command line.
type Options struct {
	Registry *resource.Registry
	Version  string
	In       io.Reader
	Out, Err io.Writer
	// Up runs the cell; the program gives it, so that this package needs no role.
	Up func(cmd *cobra.Command, lang text.Lang) *cobra.Command
	// Run runs roles on a machine that joins a cell; given likewise.
	Run func(cmd *cobra.Command, lang text.Lang) *cobra.Command
}

// app is one run of the command line.
type app struct {
	opt         Options
	lang        text.Lang
	profileFile string
	output      string
}

// Run carries out the arguments and returns the exit code.
func Run(ctx context.Context, opt Options, args []string) int {
	a := &app{opt: opt}
	a.lang = a.chooseLang(args)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(opt.In)
	root.SetOut(opt.Out)
	root.SetErr(opt.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[*found](err); ok {
		if f.text.En != "" {
			fmt.Fprintln(opt.Err, f.text.In(a.lang))
		}
		return ExitFound
	}
	if w, ok := errors.AsType[*waits](err); ok {
		a.tellWaiting(w)
		return ExitWaits
	}
	return a.report(err)
}

// found is the end of a check that found something; it is no failure of the
// command.
type found struct{ text text.Text }

// Error implements error.
func (f *found) Error() string { return f.text.En }

// report prints an error in one line, and one line for each wrong field.
func (a *app) report(err error) int {
	e, known := errors.AsType[*fault.Error](err)
	if !known {
		// Whatever cobra says about flags and arguments is the caller's to mend.
		fmt.Fprintf(a.opt.Err, "dun: %s\n", clean(err.Error()))
		return fault.Invalid.Exit()
	}
	line := e.Detail.In(a.lang)
	if len(e.Fields) == 1 {
		line = fieldLine(e.Fields[0], a.lang)
	}
	fmt.Fprintf(a.opt.Err, "dun: %s: %s\n", e.Code.Title().In(a.lang), clean(line))
	if len(e.Fields) > 1 {
		for _, f := range e.Fields {
			fmt.Fprintf(a.opt.Err, "  %s\n", clean(fieldLine(f, a.lang)))
		}
	}
	if len(e.Policies) > 0 {
		fmt.Fprintf(a.opt.Err, "  %s %s\n", text.T("decided by", "决定策略:").In(a.lang), clean(strings.Join(e.Policies, ", ")))
	}
	for _, m := range e.Missing {
		fmt.Fprintf(a.opt.Err, "  %s %s\n", text.T("missing", "缺少:").In(a.lang), clean(m.In(a.lang)))
	}
	return e.Code.Exit()
}

func fieldLine(f fault.Field, l text.Lang) string {
	if f.Path == "" {
		return f.Reason.In(l)
	}
	return f.Path + ": " + f.Reason.In(l)
}

// chooseLang reads --lang before the commands exist, since their help is
// already written in it; else the profile's language, else English.
func (a *app) chooseLang(args []string) text.Lang {
	file := os.Getenv(ProfileVariable)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		for name, to := range map[string]func(string){
			"--lang":    func(v string) { a.lang = text.Lang(v) },
			"--profile": func(v string) { file = v },
		} {
			if v, ok := strings.CutPrefix(arg, name+"="); ok {
				to(v)
			} else if arg == name && i+1 < len(args) {
				to(args[i+1])
			}
		}
	}
	if l, ok := text.Parse(string(a.lang)); ok {
		return l
	}
	if file == "" {
		return text.English
	}
	if p, err := identity.ReadProfile(file); err == nil {
		if l, ok := text.Parse(p.Lang); ok {
			return l
		}
	}
	return text.English
}

func (a *app) t(en, zh string) string { return text.T(en, zh).In(a.lang) }

func (a *app) say(en, zh string, args ...any) {
	fmt.Fprintln(a.opt.Out, clean(text.F(en, zh, args...).In(a.lang)))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "dun",
		Short: a.t("A cloud's security layer as one program", "一个程序即一朵云的安全层"),
		Long: a.t("Dun puts web sites behind a guarded edge, keeps every change under one gate and proves it.\nStart with: dun up",
			"Dun 在网站前设防,所有更改经由同一道门并留下证明。\n从这里开始:dun up"),
		SilenceErrors: true, SilenceUsage: true, Version: a.opt.Version,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetVersionTemplate("dun {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&a.profileFile, "profile", "", a.t("profile to use (default $DUN_PROFILE, else ./dun-data/bootstrap/operator.yaml)", "使用的配置(默认 $DUN_PROFILE,否则 ./dun-data/bootstrap/operator.yaml)"))
	lang := f.String("lang", "", a.t("language: en or zh", "语言:en 或 zh"))
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if _, ok := text.Parse(*lang); !ok && *lang != "" {
			return fault.New(fault.Invalid, "--lang %s: want en or zh", "--lang %s:应为 en 或 zh", *lang)
		}
		return nil
	}
	if a.opt.Up != nil {
		root.AddCommand(a.opt.Up(root, a.lang))
	}
	if a.opt.Run != nil {
		root.AddCommand(a.opt.Run(root, a.lang))
	}
	root.AddCommand(a.apply(), a.request(), a.approve(), a.deny(), a.get(), a.delete(), a.act(), a.secret(), a.key(), a.watch(), a.history(), a.revert(), a.explain(), a.events(), a.audit(), a.posture(), a.status(), a.usage(), a.top(), a.attack(), a.drill(), a.login(), a.ca(), a.token(), a.admin())
	a.translate(root)
	if err := root.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "zh"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		fmt.Fprintln(a.opt.Err, err)
	}
	return root
}

// translate puts the parts that the flag library writes itself into Chinese.
func (a *app) translate(root *cobra.Command) {
	if a.lang != text.Chinese {
		return
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short, c.Long = "显示任意命令的帮助", "显示任意命令的帮助。"
		case "completion":
			c.Short, c.Long = "生成命令行补全脚本", "为指定的 shell 生成补全脚本。"
			for _, sh := range c.Commands() {
				sh.Short = "生成 " + sh.Name() + " 的补全脚本"
			}
		}
	}
	root.SetUsageTemplate(strings.NewReplacer(
		"Usage:", "用法:", "Aliases:", "别名:", "Examples:", "示例:", "Available Commands:", "可用命令:", "Additional Commands:", "其他命令:",
		"Global Flags:", "全局选项:", "Flags:", "选项:", "Additional help topics:", "其他帮助主题:",
		`Use "{{.CommandPath}} [command] --help" for more information about a command.`, `用 "{{.CommandPath}} [command] --help" 查看命令的详细说明。`,
	).Replace(root.UsageTemplate()))
	helpFlag(root)
}

// group is a command that only has commands below it: a word that is none of
// them is an error and not a reason to print help and say that all is well.
func (a *app) group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fault.New(fault.Invalid, "%s has no command %q; see %s --help", "%s 没有命令 %q;见 %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
		}
		return cmd.Help()
	}
	return cmd
}

// helpFlag describes -h of every command in Chinese.
func helpFlag(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	if f := c.Flags().Lookup("help"); f != nil {
		f.Usage = c.Name() + " 的帮助"
	}
	if c.Version != "" {
		c.InitDefaultVersionFlag()
		c.Flags().Lookup("version").Usage = "显示版本"
	}
	for _, sub := range c.Commands() {
		helpFlag(sub)
	}
}

// outputFlag adds -o with the allowed formats.
func (a *app) outputFlag(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "", a.t("format: ", "格式:")+strings.Join(formats, ", "))
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		fmt.Fprintln(a.opt.Err, err)
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if a.output != "" && !slices.Contains(formats, a.output) {
			return fault.New(fault.Invalid, "-o %s: want one of %s", "-o %s:应为以下之一:%s", a.output, strings.Join(formats, ", "))
		}
		return run(cmd, args)
	}
}

// completeKind completes the first argument with kinds and the second with
// names.
func (a *app) completeKind(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		var out []string
		for _, k := range a.opt.Registry.All() {
			out = append(out, k.Short+"\t"+k.Title.In(a.lang))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	k, err := a.opt.Registry.Find(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	page, err := c.list(cmd.Context(), k, c.profile.Tenant, "", 100)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, o := range page {
		out = append(out, o.Metadata.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
