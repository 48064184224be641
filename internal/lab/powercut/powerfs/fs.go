package main

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dun-sec/dun/internal/lab/powercut/disk"
)

// forever is how long the kernel may remember what it was told: nobody but the
// kernel changes anything here.
const forever = 24 * time.Hour

// server answers the kernel from a disk. After freeze no call returns any
// more, as no instruction ends on a machine without power.
type server struct {
	fuse.RawFileSystem // ENOSYS for the rest
	ignoreSync         bool

	mu     sync.Mutex
	frozen bool
	after  int // freeze before this change from now; 0 = none
	disk   *disk.Disk
	nodes  map[uint64]*known
	lists  map[uint64][]fuse.DirEntry // open folders, as they were when opened
	handle uint64
}

// known is a node that the kernel may name by number.
type known struct {
	*disk.Node
	lookups uint64
}

func newServer(d *disk.Disk, ignoreSync bool, after int) *server {
	return &server{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), ignoreSync: ignoreSync, after: after, disk: d,
		nodes: map[uint64]*known{fuse.FUSE_ROOT_ID: {Node: d.Root}}, lists: map[uint64][]fuse.DirEntry{},
	}
}

// patience is how long a frozen machine may stand before its end is not told
// but taken: nothing that waits on the mount waits longer.
const patience = 60 * time.Second

// freeze ends the machine's time: who waits now waits until the connection is
// aborted. The caller alone uses the disk from here on.
func (s *server) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freezeLocked()
}

func (s *server) freezeLocked() {
	if !s.frozen {
		s.frozen = true
		time.AfterFunc(patience, func() { os.Exit(1) }) // the kernel aborts with the last descriptor
	}
}

// lock lets one call at the disk, and none once it is frozen.
func (s *server) lock() {
	s.mu.Lock()
	if s.frozen {
		s.mu.Unlock()
		select {}
	}
}

// lockChange is lock for a call that changes or syncs something.
func (s *server) lockChange() {
	s.lock()
	if s.after--; s.after == 0 {
		s.freezeLocked()
		s.mu.Unlock()
		select {}
	}
}

// String implements fuse.RawFileSystem.
func (s *server) String() string { return "powerfs" }

// status turns the model's errors, all of which are numbers, into answers.
func status(err error) fuse.Status { return fuse.ToStatus(err) }

// attr fills what stat(2) shows.
func attr(n *disk.Node, out *fuse.Attr) {
	*out = fuse.Attr{Ino: n.ID, Mode: n.Attr.Mode, Nlink: n.Links, Size: uint64(n.Attr.Size), Blocks: uint64(n.Attr.Size+disk.Sector-1) / disk.Sector, Blksize: 4096}
	out.Uid, out.Gid = n.Attr.UID, n.Attr.GID
	out.SetTimes(&n.Time, &n.Time, &n.Time)
}

// entry tells the kernel of a node and counts that it knows it.
func (s *server) entry(n *disk.Node, out *fuse.EntryOut) {
	k := s.nodes[n.ID]
	if k == nil {
		k = &known{Node: n}
		s.nodes[n.ID] = k
	}
	k.lookups++
	out.NodeId, out.Generation = n.ID, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	attr(n, &out.Attr)
}

// Forget implements fuse.RawFileSystem.
func (s *server) Forget(id, n uint64) {
	s.lock()
	defer s.mu.Unlock()
	if k := s.nodes[id]; k != nil && id != fuse.FUSE_ROOT_ID {
		if k.lookups -= n; k.lookups == 0 {
			delete(s.nodes, id)
		}
	}
}

// Lookup implements fuse.RawFileSystem.
func (s *server) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	n := s.disk.Lookup(s.nodes[h.NodeId].Node, name)
	if n == nil {
		out.SetEntryTimeout(forever) // number 0: remember that there is none
		return fuse.OK
	}
	s.entry(n, out)
	return fuse.OK
}

// GetAttr implements fuse.RawFileSystem.
func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	out.SetTimeout(forever)
	attr(s.nodes[in.NodeId].Node, &out.Attr)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (s *server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.lockChange()
	defer s.mu.Unlock()
	n := s.nodes[in.NodeId].Node
	a := n.Attr
	if mode, ok := in.GetMode(); ok {
		a.Mode = a.Mode&syscall.S_IFMT | mode&^uint32(syscall.S_IFMT)
	}
	if uid, ok := in.GetUID(); ok {
		a.UID = uid
	}
	if gid, ok := in.GetGID(); ok {
		a.GID = gid
	}
	if size, ok := in.GetSize(); ok {
		if size > maxFile {
			return fuse.Status(syscall.EFBIG)
		}
		a.Size = int64(size)
	}
	s.disk.Change(n, a)
	if t, ok := in.GetMTime(); ok {
		n.Time = t
	}
	out.SetTimeout(forever)
	attr(n, &out.Attr)
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem: a disk that is never full.
func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s.lock()
	defer s.mu.Unlock()
	*out = fuse.StatfsOut{Blocks: 1 << 30, Bfree: 1 << 29, Bavail: 1 << 29, Files: 1 << 30, Ffree: 1 << 29, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}
