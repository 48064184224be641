package traffic

import (
	"encoding/hex"
	"strings"
	"testing"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	ethernet4 = "020000000001 020000000002 0800 "
	ethernet6 = "020000000001 020000000002 86dd "
	ipv4      = "4500 0028 0001 0000 4011 0000 c6336407 cb007105 " // 198.51.100.7 to 203.0.113.5, UDP
	ipv4tcp   = "4500 0028 0001 4000 4006 0000 c6336407 cb007105 "
	ipv6      = "20010db8000000000000000000000001 20010db8000000000000000000000002 "
)

func TestClassify(t *testing.T) {
	tcp := func(flags string) string { return "1234 0050 00000001 00000000 50" + flags + " 2000 0000 0000" }
	for name, x := range map[string]struct {
		frame   string
		want    Vector
		network int
	}{
		"syn":                         {ethernet4 + ipv4tcp + tcp("02"), SYN, 14},
		"syn with ecn":                {ethernet4 + ipv4tcp + tcp("c2"), SYN, 14},
		"synack":                      {ethernet4 + ipv4tcp + tcp("12"), SYNACK, 14},
		"rst":                         {ethernet4 + ipv4tcp + tcp("14"), RST, 14},
		"ack":                         {ethernet4 + ipv4tcp + tcp("10"), ACK, 14},
		"no flags":                    {ethernet4 + ipv4tcp + tcp("00"), ACK, 14},
		"tcp that is cut":             {ethernet4 + ipv4tcp + "1234 0050", Other, 14},
		"udp":                         {ethernet4 + ipv4 + "1388 1f90 0014 0000", UDP, 14},
		"udp that is cut":             {ethernet4 + ipv4 + "1388 1f90", UDP, 14},
		"dns":                         {ethernet4 + ipv4 + "1388 0035 0014 0000", DNS, 14},
		"dns from port 53":            {ethernet4 + ipv4 + "0035 0035 0014 0000", DNS, 14},
		"ntp":                         {ethernet4 + ipv4 + "007b 1388 0014 0000", Amp, 14},
		"answer of a resolver":        {ethernet4 + ipv4 + "0035 1388 0014 0000", Amp, 14},
		"vlan":                        {"020000000001 020000000002 8100 0064 0800 " + ipv4 + "1388 1f90 0014 0000", UDP, 18},
		"QinQ":                        {"020000000001 020000000002 88a8 0064 8100 0065 0800 " + ipv4 + "1388 1f90 0014 0000", UDP, 22},
		"first fragment":              {ethernet4 + "4500 0028 0001 2000 4011 0000 c6336407 cb007105 1388 1f90 0014 0000", Frag, 14},
		"later fragment":              {ethernet4 + "4500 0028 0001 00b9 4006 0000 c6336407 cb007105 0000 0000", Frag, 14},
		"options of IPv4":             {ethernet4 + "4600 002c 0001 4000 4006 0000 c6336407 cb007105 01010101 " + tcp("02"), SYN, 14},
		"echo":                        {ethernet4 + "4500 0028 0001 0000 4001 0000 c6336407 cb007105 0800 0000 0000 0000", ICMP, 14},
		"fragmentation needed":        {ethernet4 + "4500 0028 0001 0000 4001 0000 c6336407 cb007105 0304 0000 0000 05dc", Control, 14},
		"GRE":                         {ethernet4 + "4500 0028 0001 0000 402f 0000 c6336407 cb007105 0000 0800", Other, 14},
		"IPv6 syn":                    {ethernet6 + "6000 0000 0014 0640 " + ipv6 + tcp("02"), SYN, 14},
		"IPv6 neighbour":              {ethernet6 + "6000 0000 0020 3aff " + ipv6 + "8700 0000 0000 0000", Control, 14},
		"IPv6 echo":                   {ethernet6 + "6000 0000 0020 3aff " + ipv6 + "8000 0000 0000 0000", ICMP, 14},
		"IPv6 options before syn":     {ethernet6 + "6000 0000 001c 0040 " + ipv6 + "0600 0104 0000 0000 " + tcp("02"), SYN, 14},
		"IPv6 AH before syn":          {ethernet6 + "6000 0000 002c 3340 " + ipv6 + "0604 0000 " + strings.Repeat("00", 20) + tcp("02"), SYN, 14},
		"IPv6 first fragment":         {ethernet6 + "6000 0000 001c 2c40 " + ipv6 + "1100 0001 0000 0001 1388 1f90 0014 0000", Frag, 14},
		"IPv6 later fragment":         {ethernet6 + "6000 0000 001c 2c40 " + ipv6 + "1100 0101 0000 0001 1388 1f90", Frag, 14},
		"IPv6 atomic fragment":        {ethernet6 + "6000 0000 001c 2c40 " + ipv6 + "1100 0000 0000 0001 1388 1f90 0014 0000", UDP, 14},
		"IPv6 seven headers":          {ethernet6 + "6000 0000 004c 0040 " + ipv6 + strings.Repeat("0000 0104 0000 0000 ", 7) + tcp("02"), Other, 14},
		"IPv6 a header that is cut":   {ethernet6 + "6000 0000 001c 3c40 " + ipv6 + "0600", Other, 14},
		"IPv6 a header longer than x": {ethernet6 + "6000 0000 001c 3c40 " + ipv6 + "06ff 0104 0000 0000 " + tcp("02"), Other, 14},
	} {
		p, ok := Classify(bytesOf(t, x.frame))
		if !ok || p.Vector != x.want || p.Network != x.network {
			t.Errorf("%s: %v %+v, want %s", name, ok, p, x.want)
		}
		if p.Payload != 0 && p.Payload < p.Network+28 {
			t.Errorf("%s: payload at %d", name, p.Payload)
		}
		if v4 := p.Dst.Is4(); v4 && (p.Src.String() != "198.51.100.7" || p.Dst.String() != "203.0.113.5") || !v4 && (p.Src.String() != "2001:db8::1" || p.Dst.String() != "2001:db8::2") {
			t.Errorf("%s: from %s to %s", name, p.Src, p.Dst)
		}
	}
	for name, frame := range map[string]string{
		"nothing": "", "arp": "020000000001 020000000002 0806 0001", "a cut tag": "020000000001 020000000002 8100 00",
		"a third tag": "020000000001 020000000002 88a8 0064 8100 0065 8100 0066 0800 " + ipv4, "cut addresses": ethernet4 + ipv4[:30],
		"another version": ethernet4 + "60" + ipv4[2:] + strings.Repeat("00", 40), "cut IPv6": ethernet6 + "6000 0000 0014 0640 " + ipv6[:61],
	} {
		if p, ok := Classify(bytesOf(t, frame)); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add(bytesOf(f, ethernet4+ipv4+"1388 1f90 0014 0000"))
	f.Add(bytesOf(f, ethernet6+"6000 0000 001c 2c40 "+ipv6+"1100 0001 0000 0001 1388 1f90 0014 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func([]byte) (Packet, bool){Classify, ClassifyIP} {
			if p, ok := read(b); ok && (!p.Src.IsValid() || !p.Dst.IsValid() || int(p.Vector) >= len(names) || p.Network+20 > len(b)) {
				t.Fatalf("%+v", p)
			}
		}
	})
}
