// Command dun-verify checks an audit bundle on a machine that has nothing of
// Dun but this file. It owns the wording and the exit codes (0 verified, 20
// does not verify, 2 wrong usage or unreadable file); it never writes a file
// and never opens a connection.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/text"
)

const (
	exitUsage  = 2
	exitForged = 20
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("dun-verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	key := flags.String("key", "", "verifier key of the log that the bundle must be signed with")
	lang := flags.String("lang", "en", "language of the output, en or zh")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: dun-verify [--key VKEY] [--lang en|zh] FILE")
		flags.PrintDefaults()
	}
	if flags.Parse(args) != nil {
		return exitUsage
	}
	l, ok := text.Parse(*lang)
	if !ok || flags.NArg() != 1 {
		flags.Usage()
		return exitUsage
	}
	file := flags.Arg(0)
	report, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return openRegular(file) }, *key)
	if forged, ok := errors.AsType[*audit.VerifyError](err); ok {
		fmt.Fprintf(stderr, text.T("%s does not verify: %s\n", "%s 验证失败：%s\n").In(l), file, forged.In(l))
		return exitForged
	}
	if err != nil {
		fmt.Fprintf(stderr, text.T("cannot verify %s: %v\n", "无法验证 %s：%v\n").In(l), file, err)
		return exitUsage
	}
	summarize(stdout, l, report)
	return 0
}

// openRegular refuses pipes and devices: the bundle is read through two handles.
func openRegular(name string) (io.ReadCloser, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return os.Open(name)
}

func summarize(w io.Writer, l text.Lang, r audit.Report) {
	line := func(en, zh string, args ...any) { fmt.Fprintln(w, text.F(en, zh, args...).In(l)) }
	line("verified", "验证通过")
	line("origin   %s", "来源     %s", r.Origin)
	line("log      %d leaves, root %s", "日志     共 %d 条，根 %s", r.Size, r.Root)
	line("bundle   %d leaves, %d fields erased or withheld", "导出     %d 条，%d 个字段已擦除或未提供", r.Leaves, r.Withheld)
	if r.Leaves > 0 {
		line("time     %s to %s", "时间     %s 至 %s", r.First.Format(time.RFC3339Nano), r.Last.Format(time.RFC3339Nano))
	}
	name, rest, _ := strings.Cut(r.VKey, "+")
	hash, _, _ := strings.Cut(rest, "+")
	if r.Pinned {
		line("signer %s+%s, pinned", "签名者 %s+%s，与指定密钥一致", name, hash)
		return
	}
	line("signer %s+%s, not pinned", "签名者 %s+%s，未指定密钥", name, hash)
	line("A bundle that carries its own key proves nothing about who signed; give --key to check that.",
		"自带密钥的文件不能证明由谁签名；请用 --key 指定密钥来核对。")
}
