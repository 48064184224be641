package sites

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// Bounds of one look.
const (
	lookTime   = 10 * time.Second // for the record, and again for the answer
	maxAnswer  = 512              // bytes of the answer
	maxHeader  = 16 << 10
	maxRecords = 64 // TXT records that are read
)

// found is what one look brought.
type found struct {
	method string // "" = no proof
	failed bool   // something else is there, or nobody could be asked
	why    text.Text
}

// looker asks DNS and the host itself. It follows no redirect, and believes no
// edge of Dun: who can only point a name at an edge has not shown that the name
// is his.
type looker struct {
	txt  func(ctx context.Context, name string) ([]string, error)
	dial func(tenant string) func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (l looker) look(ctx context.Context, tenant string, c claim) found {
	var out []found
	if c.record != "" {
		out = append(out, l.record(ctx, c))
	}
	if c.address != "" && (len(out) == 0 || out[0].method == "") {
		out = append(out, l.answer(ctx, tenant, c))
	}
	var all found
	for _, f := range out {
		if f.method != "" {
			return f
		}
		all.failed = all.failed || f.failed
		all.why.En = strings.TrimSpace(all.why.En + " " + f.why.En)
		all.why.Zh += f.why.Zh
	}
	return all
}

func (l looker) record(ctx context.Context, c claim) found {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	list, err := l.txt(ctx, c.record+".") // absolute: no search list leads elsewhere
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || err == nil && len(list) == 0 {
		return found{why: text.T("DNS has no such TXT record yet.", "DNS 中尚无此 TXT 记录。")}
	}
	if err != nil {
		return found{failed: true, why: text.T("DNS did not answer for the TXT record.", "DNS 未应答此 TXT 记录的查询。")}
	}
	other := false
	for _, v := range list[:min(len(list), maxRecords)] {
		v = strings.TrimSpace(v)
		if same(v, c.value) {
			return found{method: edge.ProvenDNS}
		}
		other = other || strings.HasPrefix(v, "dun-host-proof=")
	}
	if other {
		return found{failed: true, why: text.T("The TXT record holds the value of another site or host.", "TXT 记录的值属于其他站点或域名。")}
	}
	return found{failed: true, why: text.T("The TXT record holds something else.", "TXT 记录为其他内容。")}
}

// answer asks the host on port 80.
func (l looker) answer(ctx context.Context, tenant string, c claim) found {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	tr := &http.Transport{DialContext: l.dial(tenant), Proxy: nil, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address, nil)
	if err != nil {
		return found{failed: true, why: text.T("The address cannot be asked.", "该地址无法请求。")}
	}
	req.Header.Set("User-Agent", "Dun host proof")
	res, err := client.Do(req)
	if errors.Is(err, dial.ErrRefused) {
		return found{failed: true, why: text.T("The host leads to this edge or to a network that is not open to the tenant, so that its answer proves nothing: use the TXT record.", "该域名指向本边缘或未对租户开放的网络,其应答不构成证明:请使用 TXT 记录。")}
	}
	if err != nil {
		return found{why: text.T("The address does not answer.", "该地址没有应答。")}
	}
	defer res.Body.Close()
	switch {
	case res.Header.Get("Dun-Request-Id") != "":
		return found{failed: true, why: text.T("An edge of Dun answers there, which proves nothing: use the TXT record.", "应答来自 Dun 边缘,不构成证明:请使用 TXT 记录。")}
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return found{failed: true, why: text.T("The address redirects, which is not followed.", "该地址重定向,不予跟随。")}
	case res.StatusCode == http.StatusNotFound:
		return found{why: text.T("The address answers 404.", "该地址返回 404。")}
	case res.StatusCode != http.StatusOK:
		return found{failed: true, why: text.F("The address answers %d.", "该地址返回 %d。", res.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer || !same(strings.TrimSpace(string(body)), c.value) {
		return found{failed: true, why: text.T("The address answers something else.", "该地址返回其他内容。")}
	}
	return found{method: edge.ProvenHTTP}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
