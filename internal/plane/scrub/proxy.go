package scrub

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// What a SYN proxy promises in its answer; the filter's cookies say the same
// (bpf/answer.h).
const (
	proxyMSS4, proxyMSS6 = 1460, 1440
	proxyScale           = 7
	markCookie           = 0x64756e01 // bpf/scrub.c
	markProven           = 0x64756e02
)

// proxyRules is the table that takes over handshakes which answered a cookie:
// the kernel's SYN proxy opens the connection to the server, here or behind
// this machine, and translates from then on. It sees no other packet; the
// connection tracking that it rests on is the kernel's own. A client that hangs
// up before the server has answered the proxy sends what belongs to nothing
// yet: that is dropped and sent again, since the server would reset it.
//
// The proxy's own acknowledgement to the server is given the timestamps of the
// client's side, twice; Linux 6.15 and newer do not take it, and the connection
// hangs for a second when the server speaks first, or a millisecond passed. It
// is sent without timestamps: then it is taken.
func proxyRules(table string) string {
	chain := func(name, hook string) string {
		return fmt.Sprintf(`	chain %s {
		type filter hook %s priority 0; policy accept;
		meta mark 0x%08x ct state untracked meta nfproto ipv4 synproxy mss %d wscale %d timestamp sack-perm
		meta mark 0x%08x ct state untracked meta nfproto ipv6 synproxy mss %d wscale %d timestamp sack-perm
		meta mark 0x%08x drop
		meta mark 0x%08x ct state invalid drop
	}
`, name, hook, markCookie, proxyMSS4, proxyScale, markCookie, proxyMSS6, proxyScale, markCookie, markProven)
	}
	return fmt.Sprintf(`table inet %s
delete table inet %s
table inet %s {
	chain raw {
		type filter hook prerouting priority raw; policy accept;
		meta mark 0x%08x notrack
	}
	chain output {
		type filter hook output priority 0; policy accept;
		tcp flags == ack ct direction original fib saddr type != local reset tcp option timestamp
	}
%s%s}
`, table, table, table, markCookie, chain("input", "input"), chain("forward", "forward"))
}

// InstallProxy puts the table of the SYN proxy in place; State says why not.
func (i *Installation) InstallProxy() {
	if i.opt.Table == "" {
		i.proxy = errors.New("not asked for")
		return
	}
	i.proxy = nft(proxyRules(i.opt.Table))
}

// Proxied reports whether SYNs may be answered by cookies.
func (i *Installation) Proxied() bool { return i.proxy == nil && i.opt.Table != "" }

// RemoveProxy takes the table away.
func RemoveProxy(table string) error {
	return errors.Join(removeTable(table), removeTable(table+"_rung"))
}

func nft(rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		line, _, _ := bytes.Cut(out, []byte("\n"))
		return fmt.Errorf("nft: %w: %s", err, line)
	}
	return nil
}
