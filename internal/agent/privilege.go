package agent

import (
	"net"

	"github.com/dun-sec/dun/internal/agent/supervisor"
)

// Doors lists the addresses of a completed configuration that are to be
// opened. The supervisor opens these and no others.
func (c *Config) Doors() []supervisor.Door {
	var out []supervisor.Door
	for _, d := range []supervisor.Door{
		{Name: "console", Network: "tcp", Addr: c.Listen.Console},
		{Name: "edgeHTTP", Network: "tcp", Addr: c.Listen.EdgeHTTP},
		{Name: "edgeHTTPS", Network: "tcp", Addr: c.Listen.EdgeHTTPS},
		{Name: "telemetry", Network: "tcp", Addr: *c.Listen.Telemetry},
		{Name: "nodes", Network: "tcp", Addr: c.Listen.Nodes},
	} {
		if d.Addr != off {
			out = append(out, d)
		}
	}
	for _, d := range c.Listen.flowDoors() {
		if *d.addr != off {
			out = append(out, supervisor.Door{Name: d.name, Network: "udp", Addr: *d.addr})
		}
	}
	return out
}

// Recognise refuses a folder of somebody else and one of a newer release; it
// changes nothing.
func Recognise(dir string) error { return recognise(dir) }

// listener opens the door of that name: by netd where there is a supervisor,
// else here.
func (o *Options) listener(name, addr string) (net.Listener, error) {
	if o.Netd != nil {
		return o.Netd.Listen(name)
	}
	return listenHere(addr)
}

// datagrams is listener of a door by UDP.
func (o *Options) datagrams(name, addr string) (*net.UDPConn, error) {
	if o.Netd != nil {
		return o.Netd.ListenUDP(name)
	}
	return datagramsHere(addr)
}
