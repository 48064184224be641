package supervisor

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netdAt runs a netd over the doors; the channel gives what serve returned.
func netdAt(t *testing.T, doors ...Door) (*Client, chan error) {
	t.Helper()
	return netdWith(t, nil, doors...)
}

func netdWith(t *testing.T, part *Part, doors ...Door) (*Client, chan error) {
	t.Helper()
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connOf(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); conn.Close() })
	done := make(chan error, 1)
	go func() { done <- newNetd(doors, part).serve(ours) }()
	return &Client{conn: conn}, done
}

func TestADoorIsOpenedByItsNameAndOnce(t *testing.T) {
	c, done := netdAt(t, Door{"edgeHTTP", "tcp", "127.0.0.1:0"}, Door{"odd", "ipx", "x"})
	ln, err := c.Listen("edgeHTTP")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		t.Errorf("the door is at %v", ln.Addr())
	}
	go func() {
		if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			conn.Close()
		}
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for name, want := range map[string]error{"edgeHTTP": unix.EACCES, "other": unix.EACCES, "odd": unix.EPROTONOSUPPORT} {
		if ln, err := c.Listen(name); !errors.Is(err, want) {
			t.Errorf("%s: %v %v, want %v", name, ln, err, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("a worker that ends is no error: %v", err)
	}
}

func TestADoorOfDatagrams(t *testing.T) {
	c, _ := netdAt(t, Door{"sflow", "udp", "127.0.0.1:0"})
	u, err := c.ListenUDP("sflow")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	from, err := net.Dial("udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if _, err := from.Write([]byte("flow")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	n, sender, err := u.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "flow" || sender.String() != from.LocalAddr().String() {
		t.Error(n, sender, err)
	}
	if u, err := c.ListenUDP("sflow"); !errors.Is(err, unix.EACCES) {
		t.Error("it is opened twice:", u, err)
	}
}

func TestATakenPortIsSaidAsSuch(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c, _ := netdAt(t, Door{"edgeHTTP", "tcp", taken.Addr().String()})
	if _, err := c.Listen("edgeHTTP"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
}

// TestWhoBreaksTheProtocolIsCutOff: serve ends with an error, by which the
// supervisor kills the worker.
func TestWhoBreaksTheProtocolIsCutOff(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, x := range map[string]struct {
		frame  string
		rights []byte
	}{
		"unknown verb":       {"\x03edgeHTTP", nil},
		"no name of a map":   {"\x02", nil},
		"no name":            {"\x01", nil},
		"an address":         {"\x010.0.0.0:80", nil},
		"long":               {"\x01" + strings.Repeat("a", maxFrame), nil},
		"very long":          {"\x01" + strings.Repeat("a", 100_000), nil},
		"a descriptor":       {"\x01edgeHTTP", unix.UnixRights(int(null.Fd()))},
		"many descriptors":   {"\x01edgeHTTP", unix.UnixRights(manyTimes(int(null.Fd()), 200)...)},
		"nothing but a file": {"", unix.UnixRights(int(null.Fd()))},
	} {
		c, done := netdAt(t, Door{"edgeHTTP", "tcp", "127.0.0.1:0"})
		if _, _, err := c.conn.WriteMsgUnix([]byte(x.frame), x.rights, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := <-done; !errors.Is(err, errFrame) {
			t.Errorf("%s: serve ends with %v", name, err)
		}
	}
}

// TestAPartHandsByName: what it has, any number of times; nothing where there is
// no part.
func TestAPartHandsByName(t *testing.T) {
	part := &Part{Hand: func(name string) (*os.File, error) {
		switch name {
		case "settings":
			return Memo(map[string]int{"a": 7})
		case "broken":
			return nil, errors.New("why not")
		}
		return nil, unix.EACCES
	}}
	c, _ := netdWith(t, part)
	for range 3 {
		var got map[string]int
		if err := c.Read("settings", &got); err != nil || got["a"] != 7 {
			t.Fatal(got, err)
		}
	}
	for name, want := range map[string]error{"broken": unix.EIO, "passwd": unix.EACCES} {
		if _, err := c.Hand(name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, _ = netdAt(t)
	if _, err := c.Hand("settings"); !errors.Is(err, unix.EACCES) {
		t.Error(err)
	}
}

func manyTimes(fd, n int) []int {
	var out []int
	for range n {
		out = append(out, fd)
	}
	return out
}

func FuzzAsk(f *testing.F) {
	for _, s := range []string{"", "\x01", "\x01edgeHTTP", "\x00a", "\x01" + strings.Repeat("a", maxFrame), "\x01../x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAsk(b)
		if err != nil {
			return
		}
		if string(a.encode()) != string(b) || a.name == "" || len(a.name) > 64 || strings.ContainsAny(a.name, "/:. \x00") {
			t.Errorf("%q is read as %+v", b, a)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(encodeAnswer(verbListen, unix.EACCES))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeAnswer(b, verbListen); err == nil && string(encodeAnswer(verbListen, e)) != string(b) {
			t.Errorf("%q is read as %d", b, e)
		}
	})
}
