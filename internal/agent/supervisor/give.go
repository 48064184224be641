package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
)

// own are the names that lie in a data directory (formats.md, DIR); the
// databases have companions (-wal, -shm).
var own = []string{"VERSION", "cell", "lock", "ca.pem", "config.lock", "events", "bytes", "racks", "tiles", "lkg", "keys", "bootstrap", "run", "krb5.conf"}

var ownPrefixes = []string{"records.db", "denials.db", "meta.db", "queue.db", file.Temporary}

// depth bounds the walk; the deepest that Dun makes is a few levels.
const depth = 16

// give makes the data directory if need be, hands it and all in it to u with
// 0700, and returns its real path. It follows no symbolic link, and before
// anything changes hands everything has been looked at: what is not Dun's, has
// a second name elsewhere or belongs to a third user is refused, since a
// chown of it would give away something else.
func give(path string, u User, recognise func(string) error) (string, error) {
	dir, err := real(path)
	if err != nil {
		return "", err
	}
	if system(dir) {
		return "", refuse(dir, "it is a folder of the system", "这是系统目录")
	}
	if err := file.MakeDirs(dir, 0o700); err != nil {
		return "", dirError(dir, err)
	}
	if err := recognise(dir); err != nil {
		return "", err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", dirError(dir, err)
	}
	top := os.NewFile(uintptr(fd), dir)
	defer top.Close()
	for _, change := range []bool{false, true} {
		w := walk{user: u, change: change}
		if err := w.folder(top, 0); err != nil {
			return "", err
		}
		// The directory itself goes last: until then nobody else gets in.
		if err := w.entry(int(top.Fd()), dir); err != nil {
			return "", err
		}
	}
	if err := top.Chmod(0o700); err != nil {
		return "", dirError(dir, err)
	}
	return dir, nil
}

// real resolves what lies above the directory; the directory itself must not
// be a link. What does not exist yet is made by root and needs no resolving.
func real(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", dirError(path, err)
	}
	if st, err := os.Lstat(abs); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return "", refuse(abs, "it is a symbolic link", "这是符号链接")
	}
	above, rest := abs, ""
	for {
		got, err := filepath.EvalSymlinks(above)
		if err == nil {
			return filepath.Join(got, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || above == "/" {
			return "", dirError(path, err)
		}
		above, rest = filepath.Dir(above), filepath.Join(filepath.Base(above), rest)
	}
}

// system folders are never given away, even empty ones.
func system(dir string) bool {
	for _, d := range []string{"/proc", "/sys", "/dev"} {
		if dir == d || strings.HasPrefix(dir, d+"/") && !strings.HasPrefix(dir, "/dev/shm/") {
			return true
		}
	}
	return filepath.Dir(dir) == "/" && slices.Contains([]string{"/", "bin", "boot", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "root", "run", "sbin", "srv", "tmp", "usr", "var"}, filepath.Base(dir)) ||
		slices.Contains([]string{"/usr/bin", "/usr/lib", "/usr/local", "/var/lib", "/var/log", "/var/tmp", "/dev/shm"}, dir)
}

// walk looks at a tree, and in its second pass gives it away.
type walk struct {
	user   User
	change bool
}

func (w walk) folder(d *os.File, level int) error {
	if level > depth {
		return refuse(d.Name(), "it is too deep", "层级过深")
	}
	if _, err := d.Seek(0, 0); err != nil {
		return dirError(d.Name(), err)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return dirError(d.Name(), err)
	}
	for _, name := range names {
		path := filepath.Join(d.Name(), name)
		if level == 0 && !slices.Contains(own, name) && !slices.ContainsFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return refuse(path, "it is not Dun's; move it away", "它不属于 Dun;请移走")
		}
		if err := w.child(d, name, path, level); err != nil {
			return err
		}
	}
	return nil
}

func (w walk) child(d *os.File, name, path string, level int) error {
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dirError(path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return dirError(path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		sub, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return dirError(path, err)
		}
		f := os.NewFile(uintptr(sub), path)
		defer f.Close()
		if err := w.folder(f, level+1); err != nil {
			return err
		}
	}
	return w.entry(fd, path)
}

// entry checks what fd holds and chowns that very thing, whatever its name
// means by now.
func (w walk) entry(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return dirError(path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFSOCK:
	case unix.S_IFREG:
		if st.Nlink > 1 {
			return refuse(path, "it has a second name (hard link)", "它有另一个名称(硬链接)")
		}
	case unix.S_IFLNK:
		return refuse(path, "it is a symbolic link", "这是符号链接")
	default:
		return refuse(path, "it is a device or a pipe", "它是设备或管道")
	}
	if st.Uid != 0 && st.Uid != w.user.UID {
		return refuse(path, fmt.Sprintf("it belongs to user %d", st.Uid), fmt.Sprintf("它属于用户 %d", st.Uid))
	}
	if !w.change || st.Uid == w.user.UID && st.Gid == w.user.GID {
		return nil
	}
	if err := unix.Fchownat(fd, "", int(w.user.UID), int(w.user.GID), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return dirError(path, err)
	}
	return nil
}

func refuse(path, en, zh string) error {
	e := fault.New(fault.Invalid, "%s cannot be given to the worker", "%s 无法交给工作进程", path)
	e.Detail.En += ": " + en
	e.Detail.Zh += ":" + zh
	return e
}

func dirError(path string, err error) error {
	why := err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		why = pe.Err
	}
	return fault.New(fault.Invalid, "data directory %s: %s; choose another with --data", "数据目录 %s:%s;请用 --data 另选", path, why.Error()).Because(err)
}
