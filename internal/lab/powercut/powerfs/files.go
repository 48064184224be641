package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxFile bounds what one file may take of this process's memory, in bytes.
const maxFile = 4 << 30

// Open implements fuse.RawFileSystem. The kernel keeps its pages: it alone
// changes the file. Writes go through at once, since nobody asked for the
// write-back cache; pages that are mapped shared come when the kernel sees fit.
func (s *server) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	s.lock()
	defer s.mu.Unlock()
	n := s.disk.Read(s.nodes[in.NodeId].Node, int64(in.Offset), buf)
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if in.Offset+uint64(len(data)) > maxFile {
		return 0, fuse.Status(syscall.EFBIG)
	}
	s.lockChange()
	defer s.mu.Unlock()
	s.disk.Write(s.nodes[in.NodeId].Node, int64(in.Offset), data)
	return uint32(len(data)), fuse.OK
}

// Flush implements fuse.RawFileSystem: close(2) makes nothing durable.
func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	return fuse.OK
}

// Release implements fuse.RawFileSystem.
func (s *server) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// Fsync implements fuse.RawFileSystem, for fsync and fdatasync alike.
func (s *server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	if !s.ignoreSync {
		s.disk.SyncFile(s.nodes[in.NodeId].Node)
	}
	return fuse.OK
}

// FsyncDir implements fuse.RawFileSystem.
func (s *server) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	if !s.ignoreSync {
		s.disk.SyncDir(s.nodes[in.NodeId].Node)
	}
	return fuse.OK
}
