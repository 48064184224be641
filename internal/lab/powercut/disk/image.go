package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Load reads a plain folder; all of it is durable.
func Load(path string) (*Disk, error) {
	d := New()
	if err := d.load(path, d.Root); err != nil {
		return nil, fmt.Errorf("load disk: %w", err)
	}
	return d, nil
}

func (d *Disk) load(path string, dir *Node) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := filepath.Join(path, e.Name())
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: p, Err: err}
		}
		n := d.node(Attr{Mode: st.Mode, UID: st.Uid, GID: st.Gid})
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFDIR:
			n.Links = 2
			err = d.load(p, n)
		case syscall.S_IFREG:
			n.platter, err = os.ReadFile(p)
			n.data = append([]byte(nil), n.platter...)
			n.Attr.Size, n.kept.Size = int64(len(n.data)), int64(len(n.data))
		case syscall.S_IFLNK:
			n.Link, err = os.Readlink(p)
		}
		if err != nil {
			return err
		}
		dir.names[e.Name()], dir.platted[e.Name()] = n, n
	}
	return nil
}

// Store writes what the platter holds into a plain folder, in place of all
// that was there.
func (d *Disk) Store(path string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	if err == nil {
		err = store(path, d.Root, map[*Node]string{})
	}
	if err != nil {
		return fmt.Errorf("store disk: %w", err)
	}
	return nil
}

func store(path string, dir *Node, done map[*Node]string) error {
	for name, n := range dir.platted {
		p := filepath.Join(path, name)
		if first := done[n]; first != "" {
			if err := os.Link(first, p); err != nil {
				return err
			}
			continue
		}
		done[n] = p
		if err := n.store(p, done); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) store(p string, done map[*Node]string) error {
	var err error
	perm := fs.FileMode(n.kept.Mode & 0o777)
	switch kind := n.kept.Mode & syscall.S_IFMT; kind {
	case syscall.S_IFDIR:
		if err = os.Mkdir(p, perm|0o700); err == nil {
			err = store(p, n, done)
		}
	case syscall.S_IFREG:
		err = os.WriteFile(p, n.platter, perm)
	case syscall.S_IFLNK:
		return os.Symlink(n.Link, p)
	default:
		err = syscall.Mknod(p, n.kept.Mode, 0)
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(p, perm), os.Lchown(p, int(n.kept.UID), int(n.kept.GID)))
}
