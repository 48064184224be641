package resource

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/text"
)

var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	hostForm  = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

const (
	maxLabels     = 64
	maxLabelValue = 256
)

// ValidName reports whether s can name a record or a tenant.
func ValidName(s string) bool { return nameForm.MatchString(s) }

// CheckHost says what is wrong with s as a host of a site: a lower-case DNS
// name (RFC 1123), one leading "*." allowed, or an IP address; nil when right.
func CheckHost(s string) *text.Text {
	fail := func(en, zh string) *text.Text { t := text.T(en, zh); return &t }
	if a, err := netip.ParseAddr(s); err == nil {
		if a.String() != s || a.Zone() != "" {
			return fail("write the address as "+a.WithZone("").String(), "请将地址写作 "+a.WithZone("").String())
		}
		return nil
	}
	switch {
	case s == "":
		return fail("is empty", "为空")
	case strings.Contains(s, "://") || strings.Contains(s, "/"):
		return fail("want a host name without scheme and path, as in shop.example.com", "应为不含协议和路径的域名,例如 shop.example.com")
	case strings.Contains(s, ":"):
		return fail("want a host name without port; sites share the edge's ports", "域名不应带端口;所有站点共用边缘端口")
	case s != strings.ToLower(s):
		return fail("write host names in lower case", "域名须为小写")
	case len(s) > 253:
		return fail("is longer than 253 characters", "超过 253 个字符")
	case !hostForm.MatchString(s):
		return fail("is not a host name (letters, digits, hyphens and dots; other scripts as xn--)", "不是有效域名(字母、数字、连字符和点;其他文字请用 xn-- 形式)")
	case allDigits(s[strings.LastIndexByte(s, '.')+1:]):
		return fail("looks like an IP address but is none", "形似 IP 地址但无效")
	}
	return nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// CheckURL says what is wrong with s as the address of an origin: http or
// https, a host, and neither user, path, query nor fragment; nil when right.
func CheckURL(s string) *text.Text {
	fail := func(en, zh string) *text.Text { t := text.T(en, zh); return &t }
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fail("is not a URL", "不是有效的 URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("want http:// or https://", "须以 http:// 或 https:// 开头")
	case u.User != nil:
		return fail("a URL with user or password is refused; nothing secret belongs into a record", "URL 不得包含用户名或密码;记录中不得存放机密")
	case u.Hostname() == "":
		return fail("has no host", "缺少主机")
	case (u.Path != "" && u.Path != "/") || strings.ContainsAny(s, "?#"):
		return fail("want scheme, host and port only", "只应包含协议、主机和端口")
	case strings.HasSuffix(u.Host, ":"):
		return fail("has an empty port", "端口为空")
	case u.Port() != "" && !validPort(u.Port()):
		return fail("want a port from 1 to 65535", "端口须在 1 到 65535 之间")
	}
	if h := u.Hostname(); CheckHost(strings.ToLower(h)) != nil || strings.HasPrefix(h, "*") {
		return fail("its host is neither a name nor an address", "主机既不是域名也不是 IP 地址")
	}
	return nil
}

func validPort(s string) bool {
	if !allDigits(s) || len(s) > 5 {
		return false
	}
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n > 0 && n < 65536
}

// CheckLabelKey says what is wrong with a label or annotation key: at most 127
// characters, an optional prefix before one slash; nil when right.
func CheckLabelKey(s string) *text.Text {
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		prefix, name = "a", s
	}
	if len(s) > 127 || !labelForm.MatchString(prefix) || !labelForm.MatchString(name) {
		t := text.T("want letters, digits, '.', '_' and '-', at most one '/', at most 127 characters",
			"只允许字母、数字、.、_、-,至多一个 /,至多 127 个字符")
		return &t
	}
	return nil
}

// checkString refuses what no person types: invalid UTF-8 and control
// characters other than newline and tab.
func checkString(s string) *text.Text {
	if !utf8.ValidString(s) {
		t := text.T("is not valid UTF-8", "不是有效的 UTF-8")
		return &t
	}
	for _, c := range s {
		if c != '\n' && c != '\t' && unicode.IsControl(c) {
			t := text.F("holds the control character %U", "含有控制字符 %U", c)
			return &t
		}
	}
	return nil
}
