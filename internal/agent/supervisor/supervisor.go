// Package supervisor is what stays root of a `dun up` that root started: it
// gives the data directory to an ordinary user, starts the worker as that user
// without any privilege, opens the doors that the configuration names (netd)
// and ends when the worker ends. It owns the split of the process, the signals
// between its halves and the frames on the socket between them; it never reads
// anything of the network, of a record, or of the worker but those frames.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Grace is how long the worker may take to stop before it is killed: its own
// limits for open requests and the store's last commit lie far below.
const Grace = 30 * time.Second

// Door is one address that netd opens when the worker names it.
type Door struct {
	Name    string // as in the configuration: "edgeHTTP"
	Network string // a key of the table in netd.go
	Addr    string // host:port; never comes from the worker
}

// Options of a supervisor.
type Options struct {
	User  User
	Dir   string // data directory
	Doors []Door
	// Part makes what stays privileged, for the directory's real path; nil =
	// nothing does but the doors.
	Part func(dir string) *Part
	// Recognise refuses a folder that is not a data directory, before anything
	// in it is touched.
	Recognise func(path string) error
	// Handover makes what the worker gets of what only root can read, for the
	// directory's real path; it goes to the worker as JSON.
	Handover func(dir string) any
	Args     []string // of the worker
	Out, Err io.Writer
	Log      *slog.Logger
}

// Run starts the worker and returns its exit code when it has ended: after ctx
// in good order, or when it wants. An error means that there was no worker.
func Run(ctx context.Context, opt Options) (int, error) {
	dir, err := give(opt.Dir, opt.User, opt.Recognise)
	if err != nil {
		return 0, err
	}
	waitForLock(ctx, dir)
	var part *Part
	if opt.Part != nil {
		part = opt.Part(dir)
	}
	ours, theirs, err := pair()
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	defer theirs.Close()
	handover, err := sealed(opt.Handover(dir))
	if err != nil {
		return 0, err
	}
	defer handover.Close()

	w := &worker{dir: dir, user: opt.User, started: make(chan error, 1), ended: make(chan error, 1), cmd: exec.Command("/proc/self/exe")}
	w.cmd.Args = append([]string{WorkerName}, opt.Args...)
	w.cmd.Env = environment(dir)
	w.cmd.Dir = dir
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = nil, opt.Out, opt.Err
	w.cmd.ExtraFiles = []*os.File{theirs, handover} // fdSocket, fdHandover
	w.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: opt.User.UID, Gid: opt.User.GID, Groups: []uint32{}},
		Pdeathsig:  syscall.SIGKILL,
	}
	go w.run()
	if err := <-w.started; err != nil {
		return 0, err
	}
	if err := errors.Join(theirs.Close(), handover.Close()); err != nil {
		opt.Log.Warn("the supervisor keeps a descriptor", "err", err)
	}
	if err := keepLittle(part); err != nil {
		opt.Log.Warn("the supervisor keeps more privileges than it needs", "err", err)
	}
	if part != nil && part.Keep != nil {
		keep, end := context.WithCancel(ctx)
		defer end()
		go part.Keep(keep)
	}
	go func() {
		// A worker that breaks the protocol is not what was started: it ends.
		if err := newNetd(opt.Doors, part).serve(ours); err != nil {
			opt.Log.Error("netd ends the worker", "err", err)
			w.signal(syscall.SIGKILL)
		}
	}()
	return w.wait(ctx, opt.Log)
}

// worker is the process and the thread that it hangs on.
type worker struct {
	dir            string
	user           User
	cmd            *exec.Cmd
	started, ended chan error
}

// run starts the process from a thread that lives exactly as long: what the
// kernel inherits by thread (bounding set, no-new-privs, mount namespace) is
// set there, and Pdeathsig means the end of this thread. The thread is never
// unlocked, so that nothing else of the supervisor runs on it.
func (w *worker) run() {
	runtime.LockOSThread()
	err := errors.Join(prepareProcess(), showDir(w.dir, w.user))
	if err == nil {
		err = prepareThread()
	}
	if err == nil {
		err = startError(w.cmd.Start())
	}
	w.started <- err
	if err == nil {
		w.ended <- w.cmd.Wait()
	}
}

func startError(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Invalid, "the worker does not start as an ordinary user: %s", "工作进程无法以普通用户启动:%s", err.Error()).Because(err)
}

func (w *worker) signal(s syscall.Signal) {
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.ended <- fmt.Errorf("signal the worker: %w", err)
	}
}

// wait passes the end of ctx on as SIGTERM, once: Ctrl-C in a terminal has
// already reached the worker, for which a second signal changes nothing.
func (w *worker) wait(ctx context.Context, log *slog.Logger) (int, error) {
	var err error
	select {
	case err = <-w.ended:
	case <-ctx.Done():
		w.signal(syscall.SIGTERM)
		late := time.NewTimer(Grace)
		defer late.Stop()
		select {
		case err = <-w.ended:
		case <-late.C:
			log.Error("the worker does not stop; it is killed", "after", Grace.String())
			w.signal(syscall.SIGKILL)
			err = <-w.ended
		}
	}
	ee, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		return 0, err
	}
	st, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && st.Signaled() {
		return 0, fault.New(fault.Internal, "the worker was ended by a signal: %s", "工作进程被信号终止:%s", st.Signal().String()).Because(ee)
	}
	return w.cmd.ProcessState.ExitCode(), nil
}

// sealed puts v into memory that the worker reads once.
func sealed(v any) (*os.File, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("hand over the configuration: %w", err)
	}
	fd, err := unix.MemfdCreate("dun-handover", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("hand over the configuration: %w", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// environment is all that Dun reads of one, beside DUN_PROFILE, which is for
// the command line; temporary files lie where the worker may write. It is never
// nil, which would stand for root's own.
func environment(dir string) []string {
	out := []string{"TMPDIR=" + filepath.Join(dir, "run")}
	for _, name := range []string{"LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}
