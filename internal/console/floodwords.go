package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/text"
)

// vectorWords are the vectors of floods for people; the list is closed
// (core/traffic, kinds/shield).
func vectorWords() map[string]text.Text {
	return map[string]text.Text{
		"syn": text.T("SYN flood", "SYN 洪水"), "ack": text.T("ACK flood", "ACK 洪水"), "rst": text.T("RST flood", "RST 洪水"), "synack": text.T("SYN-ACK flood", "SYN-ACK 洪水"),
		"udp": text.T("UDP flood", "UDP 洪水"), "dns": text.T("DNS flood", "DNS 洪水"), "icmp": text.T("ICMP flood", "ICMP 洪水"), "frag": text.T("fragments", "分片洪水"),
		"amp": text.T("amplification", "反射放大"), "other": text.T("other protocols", "其他协议"), "control": text.T("control messages", "控制报文"),
		"web": text.T("refused requests", "被拦截的请求"), "http_get": text.T("GET flood", "GET 洪水"), "http_post": text.T("POST flood", "POST 洪水"), "slow": text.T("slow requests", "慢速请求"),
		"h2_reset": text.T("HTTP/2 resets", "HTTP/2 重置"), "tls": text.T("TLS handshakes", "TLS 握手"),
	}
}

func (v *visit) vector(name string) string {
	if t, ok := vectorWords()[name]; ok {
		return t.In(v.lang)
	}
	return clean(name, 32)
}

func (v *visit) vectors(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, v.vector(n))
	}
	return strings.Join(out, v.t(", ", "、"))
}

// reasonWords say why a packet was stopped; the list is closed (plane/scrub).
func reasonWords() map[string]text.Text {
	return map[string]text.Text{
		"cookie_sent": text.T("answered by a SYN cookie", "以 SYN Cookie 代答"), "truncated": text.T("sent to TCP", "要求改用 TCP"), "echoed": text.T("ping answered by the filter", "由过滤器应答 ping"),
		"denied": text.T("source denied", "来源被拒绝"), "malformed": text.T("malformed", "格式错误"), "flags": text.T("impossible TCP flags", "非法 TCP 标志"), "land": text.T("sent to itself", "源与目的相同"),
		"bogon": text.T("from an address that is nobody's", "来自保留地址"), "no_service": text.T("to a port that is not offered", "目标端口未开放"), "policy": text.T("dropped by the policy", "按策略丢弃"),
		"rate": text.T("source too fast", "来源超速"), "rate_per_address": text.T("more than is usual for the address", "超出该地址的常态"), "no_state": text.T("of no connection", "不属于任何连接"),
		"rule": text.T("met the fingerprint", "符合攻击特征"), "unanswered": text.T("nobody asked for it", "无对应请求"), "spoofed": text.T("forged source", "伪造来源"), "outbound": text.T("sent by own hosts", "自有主机外发"),
	}
}

func (v *visit) reason(name string) string {
	if t, ok := reasonWords()[name]; ok {
		return t.In(v.lang)
	}
	return clean(name, 32)
}

// prints are fingerprints in words; a text that is none of the detection
// centre's is shown as it is.
func (v *visit) prints(s string) []string {
	var out []string
	for _, one := range strings.Split(s, "; ") {
		parts := strings.Fields(one)
		if len(parts) == 0 {
			continue
		}
		words := []string{v.vector(parts[0])}
		for _, p := range parts[1:] {
			name, value, _ := strings.Cut(p, "=")
			value = clean(value, 40)
			switch name {
			case "length":
				words = append(words, v.t("packets of "+value+" bytes", "包长 "+value+" 字节"))
			case "ttl":
				words = append(words, "TTL "+value)
			case "sport":
				words = append(words, v.t("from port "+value, "源端口 "+value))
			case "dport":
				words = append(words, v.t("to port "+value, "目的端口 "+value))
			case "window":
				words = append(words, v.t("TCP window "+value, "TCP 窗口 "+value))
			case "flags":
				words = append(words, v.t("TCP flags ", "TCP 标志 ")+flags(value))
			case "payload":
				words = append(words, v.t("content that begins with "+value, "载荷以 "+value+" 开头"))
			default:
				words = append(words, clean(p, 40))
			}
		}
		out = append(out, strings.Join(words, v.t(", ", "、")))
	}
	return out
}

// flags names TCP's flags (RFC 9293 section 3.1).
func flags(hex string) string {
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "0x"), 16, 8)
	if err != nil {
		return hex
	}
	var out []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if n>>i&1 == 1 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return hex
	}
	return strings.Join(out, "+")
}

// short writes a figure with a unit of thousands.
func short(n float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		if n < 999.5 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0") + unit
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1fT", n)
}

// lasting writes a time for people.
func (v *visit) lasting(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 0:
		return fmt.Sprintf(v.t("%d h %d min", "%d 小时 %d 分"), h, m)
	case m > 0:
		return fmt.Sprintf(v.t("%d min %d s", "%d 分 %d 秒"), m, s)
	}
	return fmt.Sprintf(v.t("%d s", "%d 秒"), s)
}
