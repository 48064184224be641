package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

// The socket DIR/run/dun.sock serves verbs that need the machine itself:
// whoever is root here, or owns DIR, may recover the operator's session.

const socketFile = "run/dun.sock"

func (c *cell) serveSocket(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, c.status()) })
	mux.HandleFunc("POST /recover", c.recoverOperator)
	mux.HandleFunc("POST /founder", c.makeFounder)
	return serveSocket(ctx, c.dir, mux)
}

// serveSocket answers on DIR/run/dun.sock until ctx ends.
func serveSocket(ctx context.Context, d *Dir, h http.Handler) error {
	ln, err := listenUnix(d.File("run"), "dun.sock")
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerUID(conn))
		},
	}
	return serveUntil(ctx, srv, func() error { return srv.Serve(ln) })
}

// listenUnix binds through /proc/self/fd, since a socket's path may have 108
// bytes at most and DIR may lie deep. A socket left by a killed process is
// replaced: DIR/lock says that nobody else uses it.
func listenUnix(dir, name string) (net.Listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the socket's folder: %w", err)
	}
	defer d.Close()
	path := "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + name
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket: %w", err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the path is gone with the descriptor
	}
	return ln, os.Chmod(dir+"/"+name, 0o600)
}

type peerKey struct{}

// peerUID is the user at the other end (SO_PEERCRED), -1 when unknown.
func peerUID(conn net.Conn) int {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	}); err != nil {
		return -1
	}
	return uid
}

// mayAdmin lets in root and the owner of DIR.
func (c *cell) mayAdmin(uid int) bool {
	if uid == 0 {
		return true
	}
	st, err := os.Stat(c.dir.Path)
	if err != nil || uid < 0 {
		return false
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == uid
}

// adminOnly refuses everybody but root and the owner of DIR.
func (c *cell) adminOnly(w http.ResponseWriter, r *http.Request) bool {
	uid, _ := r.Context().Value(peerKey{}).(int)
	if c.mayAdmin(uid) {
		return true
	}
	writeJSON(w, 403, map[string]string{"error": fault.New(fault.Forbidden, "only root and the owner of the data directory may do this", "只有 root 和数据目录的所有者可以执行").Detail.In(c.opt.Lang)})
	return false
}

func (c *cell) recoverOperator(w http.ResponseWriter, r *http.Request) {
	if !c.adminOnly(w, r) {
		return
	}
	by := identity.Service("socket")
	by.Door, by.Source = "socket", ""
	_, err := c.writeProfile(r.Context(), by)
	var link string
	if err == nil {
		link, err = c.makeLink()
	}
	if err != nil {
		c.opt.Log.Error("recover failed", "err", err)
		writeJSON(w, 500, map[string]string{"error": fault.Of(err).Detail.In(c.opt.Lang)})
		return
	}
	writeJSON(w, 200, map[string]string{"profile": c.dir.File(profileFile), "link": link})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // the client left
	}
}
