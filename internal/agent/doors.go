package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// doors are the listeners; nil = off.
type doors struct {
	console, edgeHTTP, edgeHTTPS, telemetry, nodes net.Listener

	flows map[string]*net.UDPConn // by name; an absent one is off
}

func (d *doors) all() []net.Listener {
	return []net.Listener{d.console, d.edgeHTTP, d.edgeHTTPS, d.telemetry, d.nodes}
}

func openDoors(opt *Options) (doors, error) {
	var d doors
	c := &opt.Config
	for _, x := range []struct {
		name, addr string
		to         *net.Listener
	}{
		{"console", c.Listen.Console, &d.console},
		{"edgeHTTP", c.Listen.EdgeHTTP, &d.edgeHTTP},
		{"edgeHTTPS", c.Listen.EdgeHTTPS, &d.edgeHTTPS},
		{"telemetry", *c.Listen.Telemetry, &d.telemetry},
		{"nodes", c.Listen.Nodes, &d.nodes},
	} {
		if x.addr == off {
			continue
		}
		ln, err := opt.listener(x.name, x.addr)
		if err != nil {
			return d, errors.Join(doorError(x.name, x.addr, err), d.close())
		}
		*x.to = ln
	}
	return d, nil
}

// openFlows opens the doors of exporters of flows.
func (d *doors) openFlows(opt *Options) error {
	d.flows = map[string]*net.UDPConn{}
	for _, x := range opt.Config.Listen.flowDoors() {
		if *x.addr == off {
			continue
		}
		c, err := opt.datagrams(x.name, *x.addr)
		if err != nil {
			return doorError(x.name, *x.addr, err)
		}
		d.flows[x.name] = c
		if err := c.SetReadBuffer(flowBuffer); err != nil {
			return doorError(x.name, *x.addr, err)
		}
	}
	return nil
}

// flowBuffer is what the kernel keeps of datagrams that wait, bytes; it gives
// less where net.core.rmem_max is lower.
const flowBuffer = 4 << 20

func datagramsHere(addr string) (*net.UDPConn, error) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a socket of datagrams"), c.Close())
	}
	return u, nil
}

func listenHere(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func doorError(name, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fault.New(fault.Unavailable, "listen.%s: %s is taken by another program; stop it, or move every port with --port-offset N", "listen.%s:%s 已被其他程序占用;请停止它,或用 --port-offset N 平移全部端口", name, addr).Because(err)
	}
	why := err
	if se, ok := errors.AsType[*os.SyscallError](err); ok {
		why = se.Err
	}
	return fault.New(fault.Invalid, "listen.%s: %s: %s", "listen.%s:%s:%s", name, addr, why.Error()).Because(err)
}

func (d *doors) close() error {
	var errs []error
	for _, ln := range d.all() {
		if ln != nil {
			errs = append(errs, ignoreClosed(ln.Close()))
		}
	}
	for _, c := range d.flows {
		errs = append(errs, ignoreClosed(c.Close()))
	}
	return errors.Join(errs...)
}

// addresses lists where Dun listens, for the dialer that must not reach it.
func (d *doors) addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, ln := range d.all() {
		if a, ok := address(ln); ok {
			out = append(out, a)
		}
	}
	return out
}

// address is where a door is; false for one that is off.
func address(ln net.Listener) (netip.AddrPort, bool) {
	if ln == nil {
		return netip.AddrPort{}, false
	}
	a, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), true
}

func (d *doors) endpoints() map[string]string {
	out := map[string]string{}
	for name, x := range map[string]struct {
		scheme string
		ln     net.Listener
	}{"console": {"https", d.console}, "edgeHTTP": {"http", d.edgeHTTP}, "edgeHTTPS": {"https", d.edgeHTTPS}, "telemetry": {"http", d.telemetry}, "nodes": {"https", d.nodes}} {
		if x.ln != nil {
			out[name] = x.scheme + "://" + reachable(x.ln.Addr())
		}
	}
	for name, c := range d.flows {
		out[name] = "udp://" + reachable(c.LocalAddr())
	}
	return out
}

// reachable writes an address that a client on this machine can use.
func reachable(a net.Addr) string {
	t, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return a.String()
	}
	ap := t.AddrPort()
	if ip := ap.Addr().Unmap(); ip.IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
}

// serveConsole serves API and console over TLS with a certificate of the own
// authority for every name under which this machine is reached here.
func (d *doors) serveConsole(ctx context.Context, h http.Handler, k *Keys, dns []string, log *slog.Logger) error {
	if d.console == nil {
		<-ctx.Done()
		return nil
	}
	names := append([]string{"localhost", "127.0.0.1", "::1"}, dns...)
	names = append(names, reachedAt(d.console, log)...)
	own := &ownCertificate{now: time.Now, make: func() (*tls.Certificate, error) {
		c, err := k.CA.Issue(names...)
		if err == nil {
			// A machine that joins knows the authority by its hash alone.
			c.Certificate = append(c.Certificate, k.CA.DER())
		}
		return c, err
	}}
	if _, err := own.get(nil); err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: own.get, NextProtos: []string{"h2", "http/1.1"}},
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.With("part", "console").Handler(), slog.LevelDebug),
	}
	if s, ok := h.(interface{ Stop() }); ok {
		srv.RegisterOnShutdown(s.Stop)
	}
	return serveUntil(ctx, srv, func() error { return srv.ServeTLS(plainAware{d.console}, "", "") })
}

// reachedAt is where a door is reached from other machines: at its address, or
// at every one of this machine's.
func reachedAt(ln net.Listener, log *slog.Logger) (out []string) {
	a, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	if !ip.IsUnspecified() {
		if ip.IsLoopback() {
			return nil // named anyway
		}
		return []string{ip.String()}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		log.Warn("the addresses of this machine are not known; name them in the configuration as console.names", "err", err)
	}
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

// ownCertificate is that of one of the own doors, of the own authority. It is made anew when a
// third of its life is left, since a cell runs for longer than one lives.
type ownCertificate struct {
	make func() (*tls.Certificate, error)
	now  func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate
}

func (o *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.cert; c != nil && o.now().Before(c.Leaf.NotBefore.Add(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)*2/3)) {
		return c, nil
	}
	c, err := o.make()
	if err != nil {
		if o.cert != nil {
			return o.cert, nil
		}
		return nil, err
	}
	o.cert = c
	return c, nil
}

// serveUntil stops the server when ctx ends: no new requests, a few seconds
// for those that run.
func serveUntil(ctx context.Context, srv *http.Server, serve func() error) error {
	done := make(chan error, 1)
	go func() { done <- ignoreClosed(serve()) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return errors.Join(srv.Close(), <-done)
	}
	return <-done
}
