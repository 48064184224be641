package scrub

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/lab"
)

// TestRungIsTaken: nftables takes whatever a policy may hold.
func TestRungIsTaken(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	full := Policy{
		Slot: 3, Scope: 7, Strict: true, Bogons: true, StrictAfter: Monotonic() + time.Hour, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Services: []Service{{Proto: 6, Lo: 80, Hi: 80}, {Proto: 6, Lo: 8000, Hi: 8100}, {Proto: 17, Lo: 443, Hi: 443, Form: QUICForm}},
		Rules: []Rule{
			{Until: Monotonic() + time.Hour, Fingerprint: traffic.Fingerprint{Vector: UDP, Length: &traffic.Range[uint16]{From: 60, To: 60}, SPort: &traffic.Range[uint16]{From: 53, To: 99}, DPort: &traffic.Range[uint16]{From: 1, To: 65535}, Payload: []byte("01234567")}},
			{Until: Monotonic() + time.Hour, Fingerprint: traffic.Fingerprint{Vector: SYN, Window: new(uint16(512)), Flags: new(uint8(2)), Source: netip.MustParsePrefix("64.0.0.0/4")}},
		},
	}
	for _, v := range traffic.All() {
		full.Action[v] = []Action{Limit, Challenge, Drop, Pass}[int(v)%4]
		full.Rate[v], full.RatePerAddress[v], full.RateOut[v] = 1000, 100, 10_000
	}
	armed := Policy{Slot: 4, Prefixes: []netip.Prefix{netip.PrefixFrom(shop4, 32)}}
	for _, v := range traffic.All() {
		armed.arm(v, 0)
	}
	all := map[netip.Prefix]Policy{full.Prefixes[0]: full, full.Prefixes[1]: full, armed.Prefixes[0]: armed}
	denied := map[denial]time.Duration{}
	for n := range 3000 {
		denied[denial{0, netip.AddrFrom4([4]byte{100, 1, byte(n >> 8), byte(n)})}] = Monotonic() + time.Hour
	}
	denied[denial{7, netip.MustParseAddr("2001:db8:7::")}] = Monotonic() + time.Hour
	allow := []filterAllowed{{Bits: 32 + 96 + 24, Scope: 7, Addr: quarters(netip.MustParseAddr("192.0.2.0"))}, {Bits: 32 + 96 + 32, Scope: 7, Addr: quarters(netip.MustParseAddr("192.0.2.1"))}}
	for _, monitor := range []bool{false, true} {
		for p, q := range all {
			q.Monitor = monitor
			all[p] = q
		}
		w := &ruleset{table: "dun_test_rung", now: Monotonic(), proxied: true}
		text := w.write([]string{"dv0", "eth1.5", `bad" name`}, all, denied, allow)
		if strings.Contains(text, "bad") {
			t.Error("a name that is none is written")
		}
		if err := nft(text); err != nil {
			for n, line := range strings.Split(text, "\n") {
				t.Logf("%d %.300s", n+1, line)
			}
			t.Fatal(err)
		}
	}
	if err := removeTable("dun_test_rung"); err != nil {
		t.Error(err)
	}
}
