package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/dun-sec/dun/internal/core/fault"
)

// prompt asks for what must not be seen: from a terminal without echo, else a
// line of standard input each. Nothing secret is ever an argument, which every
// user of a machine can read.
type prompt struct {
	terminal int // file descriptor; -1 = none
	lines    *bufio.Reader
	out      io.Writer
}

const maxPrompt = 4096 // bytes of one answer

func newPrompt(in io.Reader, out io.Writer) *prompt {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &prompt{terminal: int(f.Fd()), out: out}
	}
	return &prompt{terminal: -1, lines: bufio.NewReaderSize(io.LimitReader(in, 2*maxPrompt), maxPrompt), out: out}
}

func (p *prompt) ask(what string) (string, error) {
	if p.terminal >= 0 {
		fmt.Fprint(p.out, what)
		b, err := term.ReadPassword(p.terminal)
		fmt.Fprintln(p.out)
		if err != nil {
			return "", fault.New(fault.Invalid, "nothing was typed", "未输入内容").Because(err)
		}
		return string(b), nil
	}
	s, err := p.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fault.New(fault.Invalid, "standard input cannot be read", "无法读取标准输入").Because(err)
	}
	if s = strings.TrimRight(s, "\r\n"); s == "" {
		return "", fault.New(fault.Invalid, "standard input holds no line for: %s", "标准输入缺少:%s", strings.TrimRight(what, ":: ")).Because(err)
	}
	return s, nil
}
