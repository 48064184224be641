// Command powerfs is the disk of a power-cut test: a FUSE server in a process
// of its own, since a program that maps files of a file system which it serves
// itself can hang for ever when it ends. It loads a plain folder, serves it,
// and on its standard input hears of the cut. When whoever started it is gone,
// for whatever reason, it takes its mount with it. It never touches the mount.
//
//	powerfs DISK MOUNT IGNORE-SYNC AFTER
//	"ready"            once the mount answers
//	cut SEED           from now on no call returns; what survives is decided
//	{"sectors":…}      what was lost
//	off                abort the connection, detach the mount, write DISK, end
//	"off"
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/lab/powercut/disk"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "powerfs:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 4 {
		return errors.New("usage: powerfs DISK MOUNT IGNORE-SYNC AFTER (true or false; a number of changes, 0 = no limit)")
	}
	path, mount := args[0], args[1]
	ignoreSync, err1 := strconv.ParseBool(args[2])
	after, err2 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	d, err := disk.Load(path)
	if err != nil {
		return err
	}
	fs := newServer(d, ignoreSync, after)
	srv, err := fuse.NewServer(fs, mount, &fuse.MountOptions{
		FsName: "powercut", Name: "powercut", DirectMountStrict: true, AllowOther: true, Options: []string{"default_permissions"},
		DisableXAttrs: true, DisableReadDirPlus: true, DisabledCapabilities: fuse.CAP_WRITEBACK_CACHE | fuse.CAP_ATOMIC_O_TRUNC, MaxWrite: 1 << 20,
	})
	if err != nil {
		return fmt.Errorf("mount (needs root and /dev/fuse): %w", err)
	}
	detached := false
	defer func() {
		if !detached {
			err = errors.Join(err, abort(mount))
		}
	}()
	go srv.Serve()
	if err := srv.WaitMount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	fmt.Fprintln(out, "ready")

	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch word, arg, _ := strings.Cut(lines.Text(), " "); word {
		case "cut":
			seed, err := strconv.ParseUint(arg, 10, 64)
			if err != nil {
				return fmt.Errorf("seed: %w", err)
			}
			fs.freeze()
			if err := json.NewEncoder(out).Encode(d.Cut(seed)); err != nil {
				return err
			}
		case "off":
			detached = true
			if err := errors.Join(abort(mount), d.Store(path)); err != nil {
				return err
			}
			fmt.Fprintln(out, "off")
			return nil
		}
	}
	return lines.Err()
}

// abort fails every call that waits, as /sys/fs/fuse/connections/N/abort does
// but without fusectl, and takes the mount out of the tree though files in it
// are open.
func abort(mount string) error {
	if err := unix.Unmount(mount, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach %s: %w", mount, err)
	}
	return nil
}
