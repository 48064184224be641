package scrub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// DefaultSlots is how many protected addresses a filter has room for.
const DefaultSlots = 4096

// InstallOptions say what root puts in place.
type InstallOptions struct {
	Interfaces []string
	// Pins is a folder of a bpf file system, for what outlives the process:
	// /sys/fs/bpf/dun/<cell>. "" = nothing outlives it.
	Pins  string
	Table string // of nftables, for the SYN proxy; "" = none
	Slots uint32 // 0 = DefaultSlots
}

// Installation is the privileged half: the programs, their maps, and what they
// are attached to. It needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN to begin,
// CAP_BPF and CAP_NET_ADMIN to go on.
type Installation struct {
	opt      InstallOptions
	c        *ebpf.Collection
	attached map[string]*attachment
	pinned   error // why nothing is pinned
	proxy    error // why there is no SYN proxy
	refused  error // why the kernel takes none of the programs
	rung     rung
}

// mapDir holds the maps of one layout.
func (o *InstallOptions) mapDir() string  { return filepath.Join(o.Pins, "maps-"+strconv.Itoa(layout)) }
func (o *InstallOptions) linkDir() string { return filepath.Join(o.Pins, "links") }

// Install loads the programs, with the maps that an earlier process pinned if
// they have this layout. Nothing is attached yet (Attach).
func Install(opt InstallOptions) (*Installation, error) {
	if opt.Slots == 0 {
		opt.Slots = DefaultSlots
	}
	spec, err := loadFilter()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	size(spec, opt.Slots, uint32(cpus))
	i := &Installation{opt: opt, attached: map[string]*attachment{}}
	var load ebpf.CollectionOptions
	if opt.Pins != "" {
		if i.pinned = i.preparePins(); i.pinned == nil {
			load.Maps.PinPath = opt.mapDir()
			for name, m := range spec.Maps {
				if !strings.HasPrefix(name, ".") { // constants belong to the program
					m.Pinning = ebpf.PinByName
				}
			}
		}
	}
	i.c, err = ebpf.NewCollectionWithOptions(spec, load)
	if errors.Is(err, ebpf.ErrMapIncompatible) { // of another number of slots or processors
		if err := os.RemoveAll(opt.mapDir()); err != nil {
			return nil, fmt.Errorf("replace the filter's maps: %w", err)
		}
		if err := i.preparePins(); err != nil {
			return nil, err
		}
		i.c, err = ebpf.NewCollectionWithOptions(spec, load)
	}
	if err != nil { // by the verifier, perhaps: the maps serve nftables
		i.refused = fmt.Errorf("load the filter: %w", shortened(err))
		spec.Programs = nil
		i.c, err = ebpf.NewCollectionWithOptions(spec, load)
	}
	if err != nil {
		return nil, errors.Join(i.refused, fmt.Errorf("make the filter's maps: %w", err))
	}
	return i, nil
}

// shortened leaves the verifier's log out.
func shortened(err error) error {
	var v *ebpf.VerifierError
	if errors.As(err, &v) {
		return v.Cause
	}
	return err
}

func size(spec *ebpf.CollectionSpec, slots, cpus uint32) {
	for name, n := range map[string]uint32{
		filterMapPolicies: 2 * slots, filterMapRules: 2 * slots * MaxRules, filterMapRulehits: slots * MaxRules,
		filterMapBuckets: slots * Vectors, filterMapBucketsout: slots * Vectors, filterMapCounters: slots, filterMapCountersout: slots, filterMapAside: 2 * slots, filterMapSketch: cpus,
	} {
		spec.Maps[name].MaxEntries = n
	}
}

const bpfFS = "/sys/fs/bpf"

// preparePins makes the folders, and mounts the bpf file system where a machine
// has none.
func (i *Installation) preparePins() error {
	var st unix.Statfs_t
	if err := unix.Statfs(bpfFS, &st); err != nil || st.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", bpfFS, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fmt.Errorf("mount the bpf file system at %s: %w", bpfFS, err)
		}
	}
	for _, dir := range []string{i.opt.mapDir(), i.opt.linkDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("folder for the filter: %w", err)
		}
	}
	return nil
}

// Hand gives a descriptor of a map to who has no privilege to open it.
func (i *Installation) Hand(name string) (*os.File, error) {
	m, ok := i.c.Maps[name]
	if !ok {
		return nil, unix.EACCES
	}
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "map"), nil
}

// filled reports whether somebody has published to the maps: before that the
// programs would pass everything, and an older filter that is in force stays.
func (i *Installation) filled() bool {
	var s filterSettings
	return i.c.Maps[filterMapConfig].Lookup(uint32(0), &s) == nil && s.Layout == layout
}

// Close gives the descriptors back. What is pinned goes on; what is not ends.
func (i *Installation) Close() error {
	var errs []error
	for _, a := range i.attached {
		errs = append(errs, a.close())
	}
	i.c.Close()
	return errors.Join(errs...)
}

func mapOf(f *os.File) (*ebpf.Map, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return ebpf.NewMapFromFD(fd)
}
