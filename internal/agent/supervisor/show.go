package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/fault"
)

// showDir makes dir reachable for u on the calling thread and what it starts.
// Where a folder above is closed to u, the worker gets a mount namespace of its
// own in which that folder holds nothing but the way to dir: dir keeps its
// path, and the rest of the folder stays closed.
func showDir(dir string, u User) error {
	shut, err := closed(dir, u)
	if err != nil {
		return dirError(dir, err)
	}
	if shut == "" {
		return nil
	}
	if err := mountWay(shut, dir); err != nil {
		return fault.New(fault.Invalid, "data directory %s: %s is closed to user %d, and a private mount is refused (%s); choose another with --data",
			"数据目录 %s:%s 对用户 %d 关闭,且无法建立私有挂载(%s);请用 --data 另选", dir, shut, u.UID, err.Error()).Because(err)
	}
	return nil
}

// closed is the topmost folder above dir that u may not pass; "" = none. Mode
// bits only: an access list that opens more costs a namespace, nothing else.
func closed(dir string, u User) (string, error) {
	parts := strings.Split(strings.Trim(filepath.Dir(dir), "/"), "/")
	at := "/"
	for _, p := range parts {
		at = filepath.Join(at, p)
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return "", err
		}
		bit := uint32(0o001)
		switch {
		case st.Uid == u.UID:
			bit = 0o100
		case st.Gid == u.GID:
			bit = 0o010
		}
		if st.Mode&bit == 0 {
			return at, nil
		}
	}
	return "", nil
}

func mountWay(shut, dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	// Nothing of this may reach the machine's own namespace.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("dun", shut, "tmpfs", flags, "mode=0711,size=64k,nr_inodes=64"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	way, err := filepath.Rel(shut, dir)
	if err != nil {
		return err
	}
	at := shut
	for p := range strings.SplitSeq(way, "/") {
		at = filepath.Join(at, p)
		if err := errors.Join(os.Mkdir(at, 0o711), os.Chmod(at, 0o711)); err != nil { // the umask is 077
			return err
		}
	}
	if err := unix.Mount(fmt.Sprintf("/proc/thread-self/fd/%d", fd), dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Mount("", shut, "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("close the way: %w", err)
	}
	return nil
}
