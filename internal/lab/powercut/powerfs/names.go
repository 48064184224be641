package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dun-sec/dun/internal/lab/powercut/disk"
)

func (s *server) make(h *fuse.InHeader, name string, mode uint32, out *fuse.EntryOut) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	n, err := s.disk.Make(s.nodes[h.NodeId].Node, name, disk.Attr{Mode: mode, UID: h.Uid, GID: h.Gid})
	if err != nil {
		return status(err)
	}
	s.entry(n, out)
	return fuse.OK
}

// Create implements fuse.RawFileSystem.
func (s *server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return s.make(&in.InHeader, name, syscall.S_IFREG|in.Mode&0o7777, &out.EntryOut)
}

// Mknod implements fuse.RawFileSystem, for sockets above all.
func (s *server) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.make(&in.InHeader, name, in.Mode, out)
}

// Mkdir implements fuse.RawFileSystem.
func (s *server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.make(&in.InHeader, name, syscall.S_IFDIR|in.Mode&0o7777, out)
}

// Symlink implements fuse.RawFileSystem.
func (s *server) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	n, err := s.disk.Symlink(s.nodes[h.NodeId].Node, name, target)
	if err != nil {
		return status(err)
	}
	s.entry(n, out)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (s *server) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	s.lock()
	defer s.mu.Unlock()
	return []byte(s.nodes[h.NodeId].Link), fuse.OK
}

// Link implements fuse.RawFileSystem.
func (s *server) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	n := s.nodes[in.Oldnodeid].Node
	if err := s.disk.Hard(n, s.nodes[in.NodeId].Node, name); err != nil {
		return status(err)
	}
	s.entry(n, out)
	return fuse.OK
}

// Unlink implements fuse.RawFileSystem.
func (s *server) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	return status(s.disk.Remove(s.nodes[h.NodeId].Node, name))
}

// Rmdir implements fuse.RawFileSystem.
func (s *server) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.Unlink(cancel, h, name)
}

// Rename implements fuse.RawFileSystem.
func (s *server) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, name string) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	return status(s.disk.Rename(s.nodes[in.NodeId].Node, old, s.nodes[in.Newdir].Node, name, in.Flags))
}

// OpenDir implements fuse.RawFileSystem: the list is of this moment, so that a
// name which goes while it is read moves no other.
func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	dir := s.nodes[in.NodeId].Node
	var list []fuse.DirEntry
	for _, name := range s.disk.Names(dir) {
		n := s.disk.Lookup(dir, name)
		list = append(list, fuse.DirEntry{Name: name, Mode: n.Attr.Mode, Ino: n.ID, Off: uint64(len(list)) + 1})
	}
	s.handle++
	out.Fh = s.handle
	s.lists[out.Fh] = list
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	list := s.lists[in.Fh]
	for _, e := range list[min(in.Offset, uint64(len(list))):] {
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *server) ReleaseDir(in *fuse.ReleaseIn) {
	s.lock()
	defer s.mu.Unlock()
	delete(s.lists, in.Fh)
}
