package detect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// query is a DNS query over IPv4 as a filter samples it.
func (r *run) query(name string) traffic.Sample {
	b := make([]byte, 14+20+8+12, 200)
	b[12], b[13] = 8, 0
	b[14], b[22], b[23] = 0x45, byte(r.rand.IntN(200)+20), 17
	b[37] = 53
	b[46], b[47] = 0, 1
	for l := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	b = append(b, 0, 0, 1, 0, 1)
	b[16], b[17] = 0, byte(len(b)-14)
	b[38], b[39] = 0, byte(len(b)-34)
	return traffic.Sample{At: r.at, Of: shop, Vector: traffic.DNS, Length: len(b), Network: 14, Data: b}
}

// TestRandomPrefixes: a flood of made-up names below one zone is told as such;
// queries for one name, or for names all over, are not.
func TestRandomPrefixes(t *testing.T) {
	for what, x := range map[string]struct {
		name func(i int) string
		want string
	}{
		"made up":     {func(i int) string { return fmt.Sprintf("x%06d.Shop.example", i*7919%1000003) }, "dns random names below shop.example"},
		"one name":    {func(int) string { return "www.shop.example" }, ""},
		"a few names": {func(i int) string { return fmt.Sprintf("n%d.shop.example", i%20) }, ""},
		"all over":    {func(i int) string { return fmt.Sprintf("www.zone%d.example", i) }, ""},
	} {
		r := newRun(31)
		r.opt.Keep = func(traffic.Evidence) {}
		r.play(20*time.Second, quiet())
		flood := with(quiet(), traffic.DNS, 40_000, 40_000)
		for i := range 600 {
			if i%10 == 0 {
				r.play(100*time.Millisecond, flood)
			}
			r.Sample(r.query(x.name(i)))
		}
		r.play(40*time.Second, quiet())
		last := r.told[len(r.told)-1]
		if got := last.Attributes["fingerprint"]; (x.want == "") == strings.Contains(got, "random names") || !strings.HasSuffix(got, x.want) {
			t.Errorf("%s: %q, want %q", what, got, x.want)
		}
	}
}

// FuzzQuestion: whatever a query holds, its name is bounded and printable.
func FuzzQuestion(f *testing.F) {
	r := newRun(32)
	f.Add(r.query("a.example").Data[42:])
	f.Add(make([]byte, 13))
	f.Fuzz(func(t *testing.T, b []byte) {
		label, zone, ok := splitName(b)
		if !ok {
			return
		}
		if label == "" || zone == "" || len(label)+len(zone) > maxLabels*64 || strings.ContainsFunc(label+zone, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			t.Fatalf("%q %q", label, zone)
		}
	})
}
