package scrub_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

// TestTheNextBestWay: an interface that is not there, comes, takes no native
// program, or goes, is said so each time, and is filtered as well as it can be.
func TestTheNextBestWay(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	i, err := scrub.Install(scrub.InstallOptions{Interfaces: []string{"dv0", "dv1"}, Slots: 16, Table: "dun_scrub_test"})
	if err != nil {
		t.Fatal(err)
	}
	table, err := scrub.Take(i.Hand)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := table.Publish([]scrub.Policy{{Prefixes: []netip.Prefix{netip.MustParsePrefix(server4 + "/32")}}}, scrub.Options{}); err != nil {
		t.Fatal(err)
	}
	says := func(when, mode, why string) {
		t.Helper()
		i.Attach()
		for _, x := range i.State().Interfaces {
			t.Logf("%s: %+v", when, x)
			if x.Mode != mode || !strings.Contains(x.Why, why) || (why == "") != (x.Why == "") {
				t.Errorf("%s: %+v, want %s, %q", when, x, mode, why)
			}
		}
	}
	says("nothing is there", scrub.ModeOff, "there is no such interface")
	command(t, "ip link add dv0 type veth peer name dv1")
	says("it came", scrub.ModeNative, "")
	command(t, "ip link del dv0")
	says("it went", scrub.ModeOff, "there is no such interface")
	command(t, "ip link add dv0 mtu 9000 type veth peer name dv1 mtu 9000")
	says("its frames are too large", scrub.ModeGeneric, "native XDP is refused")
	command(t, "ip link del dv0")
	command(t, "ip link add dv0 type veth peer name dv1")
	says("it is another", scrub.ModeNative, "")
}
