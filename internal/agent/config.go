package agent

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Config is what an operator may set (design section 5). Addresses are
// host:port; "off" switches a door off.
type Config struct {
	Data    string        `json:"data,omitempty"`
	User    string        `json:"user,omitempty" max:"64"` // whom the worker runs as when root starts it; default dun, else 61999
	Listen  ListenConfig  `json:"listen,omitempty"`
	Console ConsoleConfig `json:"console,omitempty"`
	Edge    EdgeConfig    `json:"edge,omitempty"`
	Events  EventsConfig  `json:"events,omitempty"`
	Scrub   ScrubConfig   `json:"scrub,omitempty"`
	Detect  DetectConfig  `json:"detect,omitempty"`
	Log     LogConfig     `json:"log,omitempty"`

	Join      JoinConfig `json:"join,omitempty"`
	Roles     []string   `json:"roles,omitempty" max:"16" each:"enum:'edge,scrub'"` // of dun run; default: those of the token
	Advertise string     `json:"advertise,omitempty" max:"256"`                     // host under which nodes reach this machine; default: as they reached it to join

	RootKeyFile string `json:"rootKeyFile,omitempty" max:"4096"` // default keys/root.key in Data
}

// ListenConfig names the doors.
type ListenConfig struct {
	Console   string `json:"console,omitempty" max:"256"`
	EdgeHTTP  string `json:"edgeHTTP,omitempty" max:"256"`
	EdgeHTTPS string `json:"edgeHTTPS,omitempty" max:"256"`
	Nodes     string `json:"nodes,omitempty" max:"256"` // other machines of the cell, by certificates of the cell

	// Where devices export flows to, by UDP; default off. Only those of
	// detect.exporters are read.
	SFlow   string `json:"sflow,omitempty" max:"256"`
	NetFlow string `json:"netflow,omitempty" max:"256"` // versions 5 and 9
	IPFIX   string `json:"ipfix,omitempty" max:"256"`

	// Telemetry is opened elsewhere than on loopback by this key alone, never
	// by --listen; "" is off, too, and nil the default.
	Telemetry *string `json:"telemetry,omitempty" max:"256"`
}

// JoinConfig says how a machine joins a cell.
type JoinConfig struct {
	URL       string `json:"url,omitempty" max:"512"` // of the console's door; default: the token's
	TokenFile string `json:"tokenFile,omitempty" max:"4096"`
}

// consoleNames are the names under which people and machines reach the console.
func (c *Config) consoleNames() []string {
	if c.Advertise == "" {
		return c.Console.Names
	}
	return append([]string{c.Advertise}, c.Console.Names...)
}

// ConsoleConfig is about how people reach the console and sign in.
type ConsoleConfig struct {
	// Names are DNS names under which browsers reach the console; its
	// certificate holds them, and passkeys are offered under them alone.
	Names []string `json:"names,omitempty" max:"253"`
	// BreachedPasswords is a file of leaked passwords beside the built-in list:
	// sorted lines of a SHA-1 in hex, a colon and a count.
	BreachedPasswords string `json:"breachedPasswords,omitempty" max:"4096"`
	// SignUp lets strangers ask for a tenant of their own, on the page /sign-up; an
	// operator decides on /sign-ups. Off by default.
	SignUp bool `json:"signUp,omitempty"`
}

// EdgeConfig says whom the edge believes about who the client is.
type EdgeConfig struct {
	TrustedProxies []string `json:"trustedProxies,omitempty" max:"256"` // networks whose X-Forwarded-For is believed
	ProxyProtocol  []string `json:"proxyProtocol,omitempty" max:"256"`  // networks that must begin with a PROXY header
	Resolvers      []string `json:"resolvers,omitempty" max:"8"`        // DNS servers for names of origins and proofs of hosts, as in 10.0.0.53:53; default: the system's
}

// ScrubConfig says where packets are scrubbed. Interfaces that it does not name
// are never touched.
type ScrubConfig struct {
	Interfaces []string `json:"interfaces,omitempty" max:"64" each:"max:'15'"` // as in [eth0]; default: none
}

// DetectConfig says whose word about traffic is taken, beside what the filter of
// this machine counts.
type DetectConfig struct {
	Exporters []ExporterConfig `json:"exporters,omitempty" max:"64"`
}

// ExporterConfig is a switch or a router that exports flows.
type ExporterConfig struct {
	Address  string `json:"address" max:"64"`                         // that its datagrams come from
	Sampling int    `json:"sampling,omitempty" min:"1" max:"1048576"` // it looks at one packet in so many; default: as it says itself
}

// EventsConfig bounds what is kept of events.
type EventsConfig struct {
	Days  int           `json:"days,omitempty" min:"1" max:"3650"` // default 30
	Bytes resource.Size `json:"bytes,omitempty"`                   // default 2GiB
}

// LogConfig is about the operator's log on standard error.
type LogConfig struct {
	Level string `json:"level,omitempty" enum:"debug,info,warn,error"` // default warn
}

// Defaults of Config.
const (
	DefaultData      = "./dun-data"
	defaultConsole   = "127.0.0.1:7443"
	defaultEdgeHTTP  = "127.0.0.1:8080"
	defaultEdgeHTTPS = "127.0.0.1:8443"
	defaultTelemetry = "127.0.0.1:7090"
	defaultNodes     = "127.0.0.1:7444"
	defaultDays      = 30
	defaultBytes     = resource.Size(2 << 30)
	off              = "off"
)

// ReadConfig reads a file strictly: an unknown key is an error.
func ReadConfig(name string) (Config, error) {
	var c Config
	b, err := os.ReadFile(name)
	if err != nil {
		return c, fault.New(fault.Invalid, "configuration %s: %s", "配置文件 %s:%s", name, err.Error()).Because(err)
	}
	docs, err := resource.ParseYAML(b)
	if err != nil {
		return c, err
	}
	switch len(docs) {
	case 0:
		return c, nil
	case 1:
		return c, resource.Fill(docs[0], &c)
	}
	return c, fault.New(fault.Invalid, "configuration %s holds %d documents", "配置文件 %s 含有 %d 个文档", name, len(docs))
}

// Complete fills in defaults and moves every port by offset; it checks every
// address. host, when not empty, exposes the public doors there.
func (c *Config) Complete(offset int, host string) error {
	if c.Data == "" {
		c.Data = DefaultData
	}
	if c.Events.Days == 0 {
		c.Events.Days = defaultDays
	}
	if c.Events.Bytes == 0 {
		c.Events.Bytes = defaultBytes
	}
	if c.Log.Level == "" {
		c.Log.Level = "warn"
	}
	switch t := c.Listen.Telemetry; {
	case t == nil:
		c.Listen.Telemetry = new(string)
	case *t == "":
		c.Listen.Telemetry = new(off)
	default:
		c.Listen.Telemetry = new(*t) // the caller's stays as it was
	}
	var r resource.Report
	for _, d := range []struct {
		name, standard string
		addr           *string
		public         bool
	}{
		{"listen.console", defaultConsole, &c.Listen.Console, true},
		{"listen.edgeHTTP", defaultEdgeHTTP, &c.Listen.EdgeHTTP, true},
		{"listen.edgeHTTPS", defaultEdgeHTTPS, &c.Listen.EdgeHTTPS, true},
		{"listen.telemetry", defaultTelemetry, c.Listen.Telemetry, false},
		{"listen.nodes", defaultNodes, &c.Listen.Nodes, true},
	} {
		if *d.addr == off {
			continue
		}
		if *d.addr == "" {
			*d.addr = d.standard
			if host != "" && d.public {
				_, port, _ := net.SplitHostPort(d.standard)
				*d.addr = net.JoinHostPort(host, port)
			}
		}
		moved, err := movePort(*d.addr, offset)
		if err != nil {
			r.Add(d.name, "%q: %s", "%q:%s", *d.addr, err.Error())
			continue
		}
		*d.addr = moved
	}
	for i, n := range c.Console.Names {
		c.Console.Names[i] = strings.ToLower(n)
		if resource.CheckHost(c.Console.Names[i]) != nil {
			r.Add(fmt.Sprintf("console.names[%d]", i), "%q is no DNS name, as in dun.example.com", "%q 不是域名(例如 dun.example.com)", n)
		}
	}
	for i, a := range c.Edge.Resolvers {
		if p, err := netip.ParseAddrPort(a); err != nil || p.Port() == 0 {
			r.Add(fmt.Sprintf("edge.resolvers[%d]", i), "%q is not an address with a port, as in 10.0.0.53:53", "%q 不是带端口的地址(例如 10.0.0.53:53)", a)
		}
	}
	for i, name := range c.Scrub.Interfaces {
		if name == "lo" || name == "" || strings.ContainsAny(name, "/@ \t") || slices.Index(c.Scrub.Interfaces, name) != i {
			r.Add(fmt.Sprintf("scrub.interfaces[%d]", i), "%q is no interface to filter: a name that ip link shows, once, and not lo", "%q 不能作为过滤接口:应为 ip link 所列的名称,不可重复,且不能是 lo", name)
		}
	}
	networks(&r, "edge.trustedProxies", c.Edge.TrustedProxies)
	networks(&r, "edge.proxyProtocol", c.Edge.ProxyProtocol)
	c.completeFlows(offset, &r)
	return fault.Fields(r.Fields)
}

// flowDoors lists where flows are taken, by UDP; "" and "off" are off.
func (l *ListenConfig) flowDoors() []struct {
	name string
	addr *string
} {
	return []struct {
		name string
		addr *string
	}{{"sflow", &l.SFlow}, {"netflow", &l.NetFlow}, {"ipfix", &l.IPFIX}}
}

// completeFlows checks where flows are taken, and whose.
func (c *Config) completeFlows(offset int, r *resource.Report) {
	open := false
	taken := map[string]string{}
	for _, d := range c.Listen.flowDoors() {
		if *d.addr == "" || *d.addr == off {
			*d.addr = off
			continue
		}
		moved, err := movePort(*d.addr, offset)
		if err != nil {
			r.Add("listen."+d.name, "%q: %s", "%q:%s", *d.addr, err.Error())
			continue
		}
		if other := taken[moved]; other != "" && !strings.HasSuffix(moved, ":0") {
			r.Add("listen."+d.name, "%q is the address of listen.%s", "%q 与 listen.%s 的地址相同", *d.addr, other)
		}
		*d.addr, open, taken[moved] = moved, true, d.name
	}
	seen := map[netip.Addr]bool{}
	for i, e := range c.Detect.Exporters {
		a, err := netip.ParseAddr(e.Address)
		if a = a.Unmap(); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || seen[a] {
			r.Add(fmt.Sprintf("detect.exporters[%d].address", i), "%q is not the address of one device, named once, as in 192.0.2.1", "%q 不是单个设备的地址(例如 192.0.2.1),或重复", e.Address)
		}
		seen[a] = true
	}
	switch {
	case open && len(c.Detect.Exporters) == 0:
		r.Add("detect.exporters", "flows are listened for, but nobody's would be read: name the devices, as in [{address: 192.0.2.1}]", "已监听流量导出,但没有可信设备:请列出设备,例如 [{address: 192.0.2.1}]")
	case !open && len(c.Detect.Exporters) > 0:
		r.Add("detect.exporters", "nobody listens for them: set listen.sflow, listen.netflow or listen.ipfix, as in \":6343\"", "没有监听:请设置 listen.sflow、listen.netflow 或 listen.ipfix,例如 \":6343\"")
	}
}

// networks reads addresses and networks; what is wrong goes into the report.
func networks(r *resource.Report, path string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Masked() != p {
			r.Add(fmt.Sprintf("%s[%d]", path, i), "%q is neither an address nor a network, as in 10.0.0.0/8", "%q 既不是地址也不是网段(例如 10.0.0.0/8)", s)
			continue
		}
		out = append(out, p)
	}
	return out
}

func movePort(addr string, offset int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("want host:port")
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", fmt.Errorf("want an address of this machine before the port")
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("want a port from 0 to 65535")
	}
	if n == 0 {
		return addr, nil // any free port
	}
	if int(n)+offset < 1 || int(n)+offset > 65535 {
		return "", fmt.Errorf("the port leaves 1 to 65535")
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n)+offset)), nil
}
