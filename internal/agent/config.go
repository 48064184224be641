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
	Log     LogConfig     `json:"log,omitempty"`

	Join      JoinConfig `json:"join,omitempty"`
	Roles     []string   `json:"roles,omitempty" max:"16" each:"enum:'edge'"` // of dun run; default: those of the token
	Advertise string     `json:"advertise,omitempty" max:"256"`               // host under which nodes reach this machine; default: as they reached it to join

	RootKeyFile string `json:"rootKeyFile,omitempty" max:"4096"` // default keys/root.key in Data
}

// ListenConfig names the doors.
type ListenConfig struct {
	Console   string `json:"console,omitempty" max:"256"`
	EdgeHTTP  string `json:"edgeHTTP,omitempty" max:"256"`
	EdgeHTTPS string `json:"edgeHTTPS,omitempty" max:"256"`
	Nodes     string `json:"nodes,omitempty" max:"256"` // other machines of the cell, by certificates of the cell

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
	return fault.Fields(r.Fields)
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
