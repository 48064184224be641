package console

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/trace"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/lab"
)

var floodedShop = resource.Ref{Kind: protectedKind, Tenant: "platform", Name: "shop"}

// floodHouse has a protected address under attack, with the record of it.
func floodHouse(t *testing.T) *house {
	h := newHouse(t)
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n", "kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: all}\nspec: {cedar: 'permit (principal == User::\"acme/ann\", action, resource);'}\n",
		"kind: ProtectedAddress\nmetadata: {tenant: platform, name: shop}\nspec: {prefix: 198.51.100.7}\n",
		"kind: Attack\nmetadata: {tenant: platform, name: shop-20261101t030000}\nspec: {address: 198.51.100.7/32, vectors: [syn], start: 2026-11-01T03:00:00Z}\n",
	} {
		h.put(y)
	}
	lease := time.Date(2026, 11, 1, 3, 1, 0, 0, time.UTC)
	live := traffic.Live{Address: "198.51.100.7/32", Packets: 12345, Passed: 40, Bits: 7e6, Offered: map[string]float64{"syn": 12000, "udp": 345}, Dropped: map[string]float64{"cookie_sent": 12000, "new_reason": 9}, Armed: []string{"syn"}, Attack: "a1", Lease: &lease}
	h.console.opt.Floods = func() map[resource.Ref]traffic.Live { return map[resource.Ref]traffic.Live{floodedShop: live} }
	book := trace.New()
	book.Take(time.Now(), h.console.opt.Floods())
	h.console.opt.Trace = book.Of
	store := lab.Bytes(t, h.gate, nil)
	service := identity.Service(shield.AttackOwner)
	ref := resource.Ref{Kind: attackKind, Tenant: "platform", Name: "shop-20261101t030000"}
	o, err := h.gate.Get(t.Context(), service, ref)
	if err != nil {
		t.Fatal(err)
	}
	i, err := store.Put(t.Context(), service, o.Ref(), time.Time{}, strings.NewReader("the packets"), 100)
	if err != nil {
		t.Fatal(err)
	}
	in := &shield.Evidence{Reference: string(i.Ref), Packets: 3, Bytes: 11, SHA256: strings.Repeat("ab", 32), Taken: lease}
	if _, err := h.gate.Apply(t.Context(), gate.Request{Actor: service, Changes: []gate.Change{{Op: gate.Act, Ref: ref, Verb: "attach", Input: in, Revision: o.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.gate.SetStatus(t.Context(), service, ref, &shield.AttackStatus{PeakPackets: 50_000, PeakBits: 24_000_000, Direction: "in", Fingerprint: "syn length=44 ttl=57 dport=80 flags=0x12",
		Passed: 100, Stopped: []shield.Stopped{{Reason: "cookie_sent", Packets: 900}}, Course: &shield.Course{Step: resource.Duration(2 * time.Second), Offered: []int{1, 50_000}, Stopped: []int{0, 49_000}, Passed: []int{1, 5}}}); err != nil {
		t.Fatal(err)
	}
	h.console.opt.Evidence = func(ctx context.Context, a identity.Actor, tenant, name string) (*bytes.Reader, error) {
		if a.Principal != dayzero.Operator {
			return nil, fault.New(fault.Forbidden, "no", "否")
		}
		return store.Open(ctx, a, i.Ref)
	}
	return h
}

func TestAnAttackIsSaidInWords(t *testing.T) {
	h := floodHouse(t)
	h.signIn(dayzero.Operator)
	const path = "/records/attacks/platform/shop-20261101t030000"
	_, body := h.call("GET", path, nil)
	for _, want := range []string{"SYN flood, packets of 44 bytes, TTL 57, to port 80, TCP flags SYN+ACK", "50k", "24M", `data-points="1,50000;0,49000;1,5"`, `data-step="2"`, `data-from="start"`, "answered by a SYN cookie", "90.0 %", `action="` + path + `/evidence"`, strings.Repeat("ab", 32), `href="/records/protectedaddresses/platform/shop/traffic"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	_, zh := h.call("GET", path, nil, "Accept-Language", "zh-CN")
	for _, want := range []string{"SYN 洪水、包长 44 字节", "以 SYN Cookie 代答", "下载抓包文件"} {
		if !strings.Contains(zh, want) {
			t.Errorf("%q is not on the Chinese page", want)
		}
	}
	res, got := h.call("POST", path+"/evidence", nil)
	if res.StatusCode != 200 || got != "the packets" || res.Header.Get("Content-Type") != "application/vnd.tcpdump.pcap" || res.Header.Get("Content-Disposition") != `attachment; filename="shop-20261101t030000.pcap"` {
		t.Errorf("%d %v %q", res.StatusCode, res.Header, got)
	}
	if res, _ := h.call("POST", "/records/protectedaddresses/platform/shop/evidence", nil); res.StatusCode != 404 {
		t.Errorf("evidence of what is no attack: %d", res.StatusCode)
	}
	h.signIn(resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"})
	other, _ := h.call("POST", path+"/evidence", nil)
	none, _ := h.call("POST", "/records/attacks/platform/nothing/evidence", nil)
	if other.StatusCode != 404 || none.StatusCode != 404 {
		t.Errorf("another tenant: %d, what is not there: %d", other.StatusCode, none.StatusCode)
	}
}

func TestTrafficOfAnAddress(t *testing.T) {
	h := floodHouse(t)
	h.signIn(dayzero.Operator)
	const path = "/records/protectedaddresses/platform/shop/traffic"
	res, body := h.call("GET", path, nil)
	for _, want := range []string{"under attack", "12.3k", "SYN flood", "UDP flood", "answered by a SYN cookie", "new_reason", "shop-20261101t030000", `hx-sse:connect="` + path + `/live"`} {
		if res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%d: %q is not on the page", res.StatusCode, want)
		}
	}
	if _, body := h.call("GET", "/", nil); !strings.Contains(body, path) || !strings.Contains(body, "12.3k") {
		t.Error("the first page does not name the address")
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Wait)
	defer cancel()
	live := h.request(ctx, http.MethodGet, path+"/live", nil)
	defer live.Body.Close()
	b := make([]byte, 4096)
	if n, err := live.Body.Read(b); err != nil || !strings.Contains(string(b[:n]), `hx-target="#flood"`) {
		t.Errorf("%v %s", err, b)
	}
	h.signIn(resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"})
	for _, p := range []string{path, path + "/live"} {
		if res, body := h.call("GET", p, nil); res.StatusCode != 404 || strings.Contains(body, "198.51") {
			t.Errorf("%s: %d", p, res.StatusCode)
		}
	}
	if _, body := h.call("GET", "/", nil); strings.Contains(body, "198.51") || strings.Contains(body, path) {
		t.Error("the first page tells another tenant of the address")
	}
	if res, _ := h.call("GET", "/records/attacks/platform/shop-20261101t030000/traffic", nil); res.StatusCode != 404 {
		t.Error("traffic of what is no address")
	}
}
