package scrub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// The third way: where an interface takes no XDP program of ours, the policies
// in force are put into words of nftables. It reads the same maps, so that
// nobody else knows the difference, and counts into one of its own. It does
// less: connection tracking comes before it (RFC 4987 cookies are the kernel's
// own), no packet is sampled, a DNS query is limited and not challenged, a
// fingerprint's payload is that of UDP alone.

const (
	rungPolicies = 256    // that it has room for
	rungDenied   = 20_000 // the same
	rungEach     = time.Second
	rungRetry    = 10 * time.Second // to have XDP again
	markSYNProxy = 0x64756e04
	markSeen     = 0x40000000 // of conntrack: a connection that was counted
)

// rung is what of the third way is in force.
type rung struct {
	devices []string
	set     filterSettings
	failed  error
	read    time.Duration
	tried   time.Duration
	sum     map[string]amountOf // counters when they were read
}

type amountOf struct{ packets, bytes uint64 }

// fallback keeps the third way as the interfaces and policies want it.
func (i *Installation) fallback() {
	var devices []string
	for _, name := range i.opt.Interfaces {
		if a := i.attached[name]; a != nil && a.mode == ModeNFT {
			devices = append(devices, name)
		}
	}
	r := &i.rung
	if len(devices) == 0 {
		if len(r.devices) > 0 {
			r.failed = removeTable(i.rungTable())
			*r = rung{failed: r.failed}
		}
		return
	}
	now := Monotonic()
	t, err := i.view()
	if err == nil {
		if r.failed != nil || !slices.Equal(r.devices, devices) || r.set != t.set {
			err = i.reload(t, devices, now)
			r.devices, r.set = devices, t.set
		}
	}
	if err == nil && now-r.read >= rungEach {
		r.read = now
		err = i.countRung()
	}
	r.failed = err
}

func (i *Installation) rungTable() string { return i.opt.Table + "_rung" }

// view reads the maps as a Table, which nobody writes.
func (i *Installation) view() (*Table, error) {
	t := &Table{maps: i.c.Maps, denied: map[denial]time.Duration{}, held: [2]map[netip.Prefix]bool{{}, {}}}
	if err := t.maps[filterMapConfig].Lookup(uint32(0), &t.set); err != nil {
		return nil, fmt.Errorf("settings of the filter: %w", err)
	}
	if err := t.readBank(int(t.set.Bank & 1)); err != nil {
		return nil, err
	}
	return t, t.readDenied()
}

func (i *Installation) reload(t *Table, devices []string, now time.Duration) error {
	all, err := t.inForce()
	if err != nil {
		return err
	}
	var allow []filterAllowed
	var k filterAllowed
	var v uint32
	for list := t.maps[filterMapAllow].Iterate(); list.Next(&k, &v); {
		allow = append(allow, k)
	}
	w := &ruleset{table: i.rungTable(), now: now, proxied: t.set.Flags&settingProxy != 0}
	return nft(w.write(devices, all, t.denied, allow))
}

// countRung adds what its counters moved to the map of counts.
func (i *Installation) countRung() error {
	out, err := exec.Command("nft", "-j", "list", "counters", "table", "inet", i.rungTable()).Output()
	if err != nil {
		return fmt.Errorf("nft: counters: %w", err)
	}
	var list struct {
		Nftables []struct {
			Counter *struct {
				Name           string
				Packets, Bytes uint64
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return fmt.Errorf("nft: counters: %w", err)
	}
	now, changed := map[string]amountOf{}, map[uint32]*filterCounts{}
	m := i.c.Maps[filterMapAside]
	at := func(slot uint32) *filterCounts {
		if changed[slot] == nil {
			c := &filterCounts{}
			if err := m.Lookup(slot, c); errors.Is(err, ebpf.ErrKeyNotExist) {
				return nil
			}
			changed[slot] = c
		}
		return changed[slot]
	}
	for _, x := range list.Nftables {
		if x.Counter == nil {
			continue
		}
		n := amountOf{x.Counter.Packets, x.Counter.Bytes}
		now[x.Counter.Name] = n
		old := i.rung.sum[x.Counter.Name]
		if n.packets < old.packets {
			old = amountOf{} // somebody made it anew
		}
		n = amountOf{n.packets - old.packets, n.bytes - old.bytes}
		var slot uint32
		var what byte
		var which int
		if n.packets == 0 {
			continue
		} else if _, err := fmt.Sscanf(x.Counter.Name, "s%d%c%d", &slot, &what, &which); err != nil || which < 0 {
			continue
		}
		tell(at, slot, what, which, n)
	}
	i.rung.sum = now
	for slot, c := range changed {
		if err := m.Put(slot, c); err != nil {
			return fmt.Errorf("counters of the third way: %w", err)
		}
	}
	return nil
}

// tell puts a counter where it belongs: v what came in of a vector, e of it what
// belongs to a connection, r what became of others by reason, p what passed
// unproven; o what went out of a vector, q what of that was dropped, c
// connections that came to be.
func tell(at func(uint32) *filterCounts, slot uint32, what byte, which int, n amountOf) {
	in, out := at(2*slot), at(2*slot+1)
	if in == nil || out == nil || which >= Reasons || (what != 'r' && which >= int(Vectors)) {
		return
	}
	switch what {
	case 'v':
		in.Packets[which] += n.packets
		in.Bytes[which] += n.bytes
		in.Suspect[which] += n.packets
	case 'e':
		in.Passed[which] += n.packets
		in.Suspect[which] -= min(in.Suspect[which], n.packets)
		in.Reason[Proven] += n.packets
	case 'p':
		in.Passed[which] += n.packets
		in.Reason[Passed] += n.packets
	case 'r':
		in.Reason[which] += n.packets
	case 'o':
		out.Packets[which] += n.packets
		out.Bytes[which] += n.bytes
		out.Passed[which] += n.packets
	case 'q':
		out.Passed[which] -= min(out.Passed[which], n.packets)
		out.Reason[Outbound] += n.packets
	case 'c':
		out.Reason[Proven] += n.packets
	}
}

// ruleset writes the policies in nftables' language. Every word of it is made
// here or is a number, but for the names of interfaces.
type ruleset struct {
	table   string
	now     time.Duration
	proxied bool

	names   map[string]bool // of counters and sets
	rules   strings.Builder
	objects strings.Builder
}

var deviceName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,15}$`)

func (w *ruleset) write(devices []string, all map[netip.Prefix]Policy, denied map[denial]time.Duration, allow []filterAllowed) string {
	w.names = map[string]bool{}
	var quoted []string
	for _, d := range devices {
		if deviceName.MatchString(d) {
			quoted = append(quoted, `"`+d+`"`)
		}
	}
	at := "{ " + strings.Join(quoted, ", ") + " }"
	// The narrowest network first: it holds before those around it.
	prefixes := make([]netip.Prefix, 0, len(all))
	for p := range all {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if d := b.Bits() - a.Bits(); d != 0 {
			return d
		}
		return a.Addr().Compare(b.Addr())
	})
	prefixes = prefixes[:min(len(prefixes), rungPolicies)]
	for _, chain := range []string{
		"pre { type filter hook prerouting priority -450; policy accept; }", "raw { type filter hook prerouting priority -310; policy accept; }",
		"in { type filter hook prerouting priority -150; policy accept; }", "input { type filter hook input priority 0; policy accept; }",
		"forward { type filter hook forward priority 0; policy accept; }", "output { type filter hook output priority 0; policy accept; }",
		"out { type filter hook postrouting priority 300; policy accept; }",
	} {
		w.object("chain", chain)
	}
	for _, hook := range []string{"pre", "raw", "in"} {
		w.rule(hook, "%s", "iifname != "+at+" accept")
	}
	w.rule("out", "%s", "oifname != "+at+" accept")
	made := map[uint32]bool{}
	for _, prefix := range prefixes {
		p := all[prefix]
		if !made[p.Slot] {
			made[p.Slot] = true
			w.policy(&p)
		}
		family := "ip"
		if prefix.Addr().Is6() {
			family = "ip6"
		}
		for _, hook := range []string{"pre", "raw", "in"} {
			w.rule(hook, "%s daddr %s goto s%d%s", family, prefix, p.Slot, hook)
		}
		w.rule("out", "%s saddr %s goto s%dout", family, prefix, p.Slot)
	}
	for _, hook := range []string{"input", "forward"} {
		for family, mss := range map[string]int{"ipv4": proxyMSS4, "ipv6": proxyMSS6} {
			w.rule(hook, "meta mark 0x%x meta nfproto %s synproxy mss %d wscale %d timestamp sack-perm", markSYNProxy, family, mss, proxyScale)
		}
		w.rule(hook, "meta mark 0x%x drop", markSYNProxy)
	}
	w.lists(denied, allow)
	// As in the proxy's own table (proxyRules).
	w.rule("output", "tcp flags == ack ct direction original fib saddr type != local reset tcp option timestamp")
	// One transaction: a packet meets the old rules or the new ones. Counters stay.
	return "add table inet " + w.table + "\nflush table inet " + w.table + "\n" + w.objects.String() + w.rules.String()
}

func (w *ruleset) object(kind, words string) {
	name, rest, _ := strings.Cut(words, " ")
	fmt.Fprintf(&w.objects, "add %s inet %s %s %s\n", kind, w.table, name, rest)
}

func (w *ruleset) rule(chain, words string, args ...any) {
	fmt.Fprintf(&w.rules, "add rule inet %s %s ", w.table, chain)
	fmt.Fprintf(&w.rules, words, args...)
	w.rules.WriteByte('\n')
}

// set names the denied or the allowed sources of a scope, which lists fills.
func (w *ruleset) set(what, family string, scope uint32) string {
	name := fmt.Sprintf("%s%s_%d", what, family, scope)
	if !w.names[name] {
		w.names[name] = true
		w.object("set", fmt.Sprintf("%s { type ipv%s_addr; flags interval; auto-merge; }", name, family))
		fmt.Fprintf(&w.objects, "flush set inet %s %s\n", w.table, name)
	}
	return name
}

// lists fills the sets of the denied and the allowed sources.
func (w *ruleset) lists(denied map[denial]time.Duration, allow []filterAllowed) {
	of := map[string][]string{}
	add := func(what string, scope uint32, source netip.Prefix) {
		family := "4"
		if source.Addr().Is6() {
			family = "6"
		}
		name := fmt.Sprintf("%s%s_%d", what, family, scope)
		if w.names[name] && len(of[name]) < rungDenied {
			of[name] = append(of[name], source.String())
		}
	}
	for d, until := range denied {
		bits := d.source.BitLen()
		if d.source.Is6() && words(d.source)[1] == 0 {
			bits = 64
		}
		if until > w.now {
			add("denied", d.scope, netip.PrefixFrom(d.source, bits))
		}
	}
	for _, a := range allow {
		add("allowed", a.Scope, plain(netip.PrefixFrom(addressOf(a.Addr), int(a.Bits)-32)))
	}
	for name, list := range of {
		slices.Sort(list)
		for part := range slices.Chunk(list, 1000) {
			fmt.Fprintf(&w.objects, "add element inet %s %s { %s }\n", w.table, name, strings.Join(part, ", "))
		}
	}
}

// counter names one; it is made once.
func (w *ruleset) counter(slot uint32, what byte, which int) string {
	name := fmt.Sprintf("s%d%c%d", slot, what, which)
	if !w.names[name] {
		w.names[name] = true
		w.object("counter", name)
	}
	return "counter name " + name
}

// ampPorts are those of amplified (bpf/parse.h).
const ampPorts = "17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 500, 520, 1434, 1900, 3283, 3478, 3702, 5093, 5353, 5683, 10001, 10074, 11211, 27015, 30718, 32414, 33848, 37810, 47808"

// rungKinds are the kinds of packets, in the order in which they are told apart.
var rungKinds = []struct {
	v     Vector
	meets []string
}{
	{SYN, []string{"tcp flags & (fin | syn | rst | ack) == syn"}},
	{SYNACK, []string{"tcp flags & (syn | rst | ack) == syn | ack"}},
	{RST, []string{"tcp flags & rst == rst"}},
	{ACK, []string{"meta l4proto tcp"}},
	{Amp, []string{"udp sport { " + ampPorts + " }"}},
	{DNS, []string{"udp dport 53"}},
	{UDP, []string{"meta l4proto { udp, udplite }"}},
	{Control, []string{"icmp type destination-unreachable icmp code frag-needed", "icmpv6 type { packet-too-big, nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }"}},
	{ICMP, []string{"meta l4proto { icmp, ipv6-icmp }"}},
	{Other, []string{"meta l4proto != 255"}},
}

// malformedFlags are no segment's (RFC 9293).
var malformedFlags = []string{"tcp flags & (fin | syn) == fin | syn", "tcp flags & (syn | rst) == syn | rst", "tcp flags & (fin | syn | rst | ack) == 0x0"}

// policy writes the chains of one.
func (w *ruleset) policy(p *Policy) {
	name := func(part string) string { return fmt.Sprintf("s%d%s", p.Slot, part) }
	for _, part := range []string{"pre", "raw", "in", "out"} {
		w.object("chain", name(part))
	}
	drop := "drop"
	if p.Monitor {
		drop = "accept"
	}
	gone := func(r Reason) string { return w.counter(p.Slot, 'r', int(r)) + " " + drop }
	// Fragments, before they are put together.
	for _, meets := range []string{"ip frag-off & 0x3fff != 0", "exthdr frag exists"} {
		w.rule(name("pre"), "%s %s", meets, w.counter(p.Slot, 'v', int(Frag)))
		w.actions(name("pre"), meets, p, Frag, gone)
		w.rule(name("pre"), "%s %s accept", meets, w.counter(p.Slot, 'p', int(Frag)))
	}
	challenged := p.Action[SYN] == Challenge && !p.Monitor && w.proxied
	if challenged {
		w.rule(name("raw"), "tcp flags & (fin | syn | rst | ack) == syn notrack")
	}
	in := name("in")
	for _, f := range []string{"4", "6"} {
		family := strings.TrimSuffix("ip"+f, "4")
		w.rule(in, "%s saddr @%s %s accept", family, w.set("allowed", f, p.Scope), w.counter(p.Slot, 'r', int(Allowed)))
		for _, scope := range slices.Compact([]uint32{p.Scope, 0}) {
			w.rule(in, "%s saddr @%s %s", family, w.set("denied", f, scope), gone(Denied))
		}
	}
	for _, meets := range malformedFlags {
		w.rule(in, "%s %s", meets, gone(Flags))
	}
	w.rule(in, "ip saddr { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 } %s", gone(Bogon))
	if p.Bogons {
		w.rule(in, "ip saddr { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.0.2.0/24, 192.168.0.0/16, 198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24 } %s", gone(Bogon))
		w.rule(in, "meta l4proto != ipv6-icmp ip6 saddr { fc00::/7, 2001:db8::/32 } %s", gone(Bogon))
	}
	w.rule(in, "meta l4proto tcp ct state established ct mark & 0x%x == 0 ct mark set ct mark | 0x%x %s", markSeen, markSeen, w.counter(p.Slot, 'c', 0))
	for _, k := range rungKinds {
		chain := name(fmt.Sprintf("v%d", k.v))
		w.object("chain", chain)
		for _, meets := range k.meets {
			w.rule(in, "%s goto %s", meets, chain)
		}
		w.vector(chain, p, k.v, gone, challenged)
		w.outgoing(name("out"), p, k.v, k.meets)
	}
}

// vector writes what is done with packets of one vector.
func (w *ruleset) vector(chain string, p *Policy, v Vector, gone func(Reason) string, challenged bool) {
	w.rule(chain, "%s", w.counter(p.Slot, 'v', int(v)))
	if v != SYN && v != Control {
		w.rule(chain, "ct state established,related %s accept", w.counter(p.Slot, 'e', int(v)))
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; r.Vector == v && r.Until > w.now {
			if meets, ok := rungRule(r); ok {
				w.rule(chain, "%s %s", meets, gone(ByRule))
			}
		}
	}
	if p.Strict && (v == SYN || v == UDP || v == DNS || v == Amp) {
		proto, number := "udp", uint8(17)
		if v == SYN {
			proto, number = "tcp", 6
		}
		var ports []string
		for _, s := range p.Services {
			if s.Proto == number {
				ports = append(ports, fmt.Sprintf("%d-%d", s.Lo, s.Hi))
			}
		}
		if len(ports) == 0 {
			w.rule(chain, "%s", gone(NoService))
		} else {
			w.rule(chain, "%s dport != { %s } %s", proto, strings.Join(ports, ", "), gone(NoService))
		}
	}
	if v.TCP() && challenged {
		switch {
		case v == SYN:
			w.rule(chain, "meta mark set 0x%x %s accept", markSYNProxy, w.counter(p.Slot, 'r', int(CookieSent)))
		case v == ACK:
			// What the proxy does not know it drops. Connections older than the
			// filter are known by now: connection tracking has begun with it.
			w.rule(chain, "meta mark set 0x%x %s accept", markSYNProxy, w.counter(p.Slot, 'r', int(NoState)))
		default:
			w.rule(chain, "%s", gone(NoState))
		}
		return
	}
	w.actions(chain, "", p, v, gone)
	w.rule(chain, "%s accept", w.counter(p.Slot, 'p', int(v)))
}

// burst is a tenth of a second, or eight packets.
func burst(perSecond uint64) uint64 { return max(8, perSecond/10) }

// actions are drop and the rates.
func (w *ruleset) actions(chain, meets string, p *Policy, v Vector, gone func(Reason) string) {
	switch p.Action[v] {
	case Pass:
		return
	case Drop:
		w.rule(chain, "%s %s", meets, gone(ByPolicy))
		return
	}
	whole, each := p.Rate[v], p.RatePerAddress[v]
	if each > 0 && p.host() {
		if whole == 0 || each < whole {
			whole = each
		}
		each = 0
	}
	if each > 0 {
		for _, f := range []string{"4", "6"} {
			family := strings.TrimSuffix("ip"+f, "4")
			if meets != "" && (f == "6") != strings.HasPrefix(meets, "exthdr") {
				continue // of a fragment: it is of one family
			}
			set := fmt.Sprintf("s%dd%d_%s", p.Slot, v, f)
			w.object("set", fmt.Sprintf("%s { type ipv%s_addr; size 65535; flags dynamic,timeout; timeout 1m; }", set, f))
			w.rule(chain, "%s update @%s { %s daddr limit rate over %d/second burst %d packets } %s", meets, set, family, each, burst(each), gone(RatePerAddress))
		}
	}
	if whole > 0 {
		w.rule(chain, "%s limit rate over %d/second burst %d packets %s", meets, whole, burst(whole), gone(Rate))
	}
}

func (w *ruleset) outgoing(chain string, p *Policy, v Vector, kinds []string) {
	for _, meets := range kinds {
		w.rule(chain, "%s %s", meets, w.counter(p.Slot, 'o', int(v)))
		if n := p.RateOut[v]; n > 0 && v != ACK {
			drop := "drop"
			if p.Monitor {
				drop = "accept"
			}
			w.rule(chain, "%s limit rate over %d/second burst %d packets %s %s", meets, n, burst(n), w.counter(p.Slot, 'q', int(v)), drop)
		}
		w.rule(chain, "%s accept", meets)
	}
}

// rungRule is a fingerprint in nftables' words; false = it cannot be said.
func rungRule(r *Rule) (string, bool) {
	var out []string
	proto := "tcp"
	if r.Vector == UDP || r.Vector == DNS || r.Vector == Amp {
		proto = "udp"
	}
	ports := r.Vector.TCP() || proto == "udp"
	say := func(words string, args ...any) { out = append(out, fmt.Sprintf(words, args...)) }
	if r.Length != nil {
		// Of the packet behind its link.
		say("meta length %d-%d", r.Length.From, r.Length.To)
	}
	if r.TTL != nil {
		return "", false // it has another name in each family
	}
	if (r.SPort != nil || r.DPort != nil || r.Window != nil || r.Flags != nil) && !ports {
		return "", false
	}
	if r.SPort != nil {
		say("%s sport %d-%d", proto, r.SPort.From, r.SPort.To)
	}
	if r.DPort != nil {
		say("%s dport %d-%d", proto, r.DPort.From, r.DPort.To)
	}
	if r.Window != nil && r.Vector.TCP() {
		say("tcp window %d", *r.Window)
	}
	if r.Flags != nil && r.Vector.TCP() {
		say("tcp flags == 0x%02x", *r.Flags)
	}
	if len(r.Payload) > 0 {
		if proto != "udp" || len(r.Payload) != 8 || len(r.Mask) > 0 {
			return "", false
		}
		say("@th,64,64 0x%x", r.Payload)
	}
	if r.Source.IsValid() {
		family := "ip"
		if r.Source.Addr().Is6() {
			family = "ip6"
		}
		say("%s saddr %s", family, r.Source)
	}
	return strings.Join(out, " "), len(out) > 0
}

func removeTable(table string) error {
	return nft(fmt.Sprintf("table inet %s\ndelete table inet %s\n", table, table))
}
