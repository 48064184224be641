package flood

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/lab"
)

func command(t *testing.T, line string) {
	t.Helper()
	args := strings.Fields(line)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// TestTheOtherEndIsFound: of several namespaces whose interfaces have the same
// indexes, a drill goes to the one in which the other end really is.
func TestTheOtherEndIsFound(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	name := func(i int) string { return fmt.Sprintf("dun-drill-%d-%d", os.Getpid(), i) }
	for i := range 4 {
		command(t, "ip netns add "+name(i))
		t.Cleanup(func() { command(t, "ip netns del "+name(i)) })
		// A pair of its own, with the indexes that the real one has.
		command(t, "ip -n "+name(i)+" link set lo up")
	}
	command(t, "ip link add dv0 index 77 type veth peer name out index 78 netns "+name(2))
	for _, i := range []int{0, 1, 3} {
		command(t, "ip netns exec "+name(i)+" ip link add x index 77 type veth peer name out index 78")
		command(t, "ip -n "+name(i)+" link set out up")
	}
	for _, line := range []string{"ip addr add 198.51.100.7/24 dev dv0", "ip link set dv0 up", "ip -n " + name(2) + " addr add 198.51.100.1/24 dev out", "ip -n " + name(2) + " link set out up"} {
		command(t, line)
	}
	d := &Drill{}
	if err := d.Find("dv0", netip.MustParseAddr("198.51.100.7")); err != nil || d.Namespace != name(2) {
		t.Errorf("%v, in %q, want %q", err, d.Namespace, name(2))
	}
}
