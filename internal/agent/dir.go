package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/lkg"
)

// DirVersion is the number in DIR/VERSION: the form of the data directory.
const DirVersion = 1

// Dir is an open and locked data directory (formats.md, DIR).
type Dir struct {
	Path string
	Cell string
	lock *os.File
}

// OpenDir makes the directory on the first start, locks it and checks that
// this release can read it. Nothing is made in a folder that holds something
// else.
func OpenDir(path string) (*Dir, error) {
	return openDir(path, func(d *Dir) (string, error) {
		if m, err := d.readMembership(); err != nil || m != nil {
			return "", errors.Join(err, fault.New(fault.Invalid, "%s is that of a node that joined a cell: start it with dun run", "%s 属于已加入集群的节点:请用 dun run 启动", d.Path))
		}
		if _, err := os.Stat(d.File("cell")); err == nil {
			return "", nil // it is there
		}
		return id.Cell(), d.fresh("cell")
	})
}

// openDir is OpenDir for a cell whose name comes from cell.
func openDir(path string, cell func(*Dir) (string, error)) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, dirError(path, err)
	}
	if err := file.MakeDirs(abs, 0o700); err != nil {
		return nil, dirError(path, err)
	}
	if err := recognise(abs); err != nil {
		return nil, err
	}
	d := &Dir{Path: abs}
	if err := d.flock(); err != nil {
		return nil, err
	}
	if err := d.prepare(cell); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func dirError(path string, err error) error {
	why := err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		why = pe.Err
	}
	return fault.New(fault.Invalid, "data directory %s: %s; choose another with --data", "数据目录 %s:%s;请用 --data 另选", path, why.Error()).Because(err)
}

// recognise refuses a folder of somebody else and one of a newer release.
func recognise(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return dirError(path, err)
	}
	b, err := os.ReadFile(filepath.Join(path, "VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			if e.Name() != "lock" && !strings.HasPrefix(e.Name(), file.Temporary) { // what a first start leaves that was cut short
				return fault.New(fault.Invalid, "%s is not empty and holds no VERSION: not a data directory of Dun; choose another with --data",
					"%s 非空且没有 VERSION 文件:不是 Dun 的数据目录;请用 --data 另选", path)
			}
		}
		return nil
	}
	if err != nil {
		return dirError(path, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 1 {
		return fault.New(fault.Invalid, "%s/VERSION is damaged; restore it (this release writes %d)", "%s/VERSION 已损坏;请恢复(此版本写入 %d)", path, DirVersion)
	}
	if n > DirVersion {
		return fault.New(fault.Invalid, "%s is of a newer release (VERSION %d, this one reads up to %d); use that release", "%s 属于更新的版本(VERSION %d,此版本至多读取 %d);请使用新版本", path, n, DirVersion)
	}
	return nil
}

// flock holds DIR/lock for as long as the process lives.
func (d *Dir) flock() error {
	f, err := os.OpenFile(filepath.Join(d.Path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return dirError(d.Path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		e := fault.New(fault.Conflict, "%s is in use by process %s; stop it, or choose another directory with --data and other ports with --port-offset",
			"%s 正被进程 %s 使用;请先停止它,或用 --data 另选目录并用 --port-offset 换端口", d.Path, strings.TrimSpace(string(pid[:n]))).Because(err)
		return errors.Join(e, f.Close())
	}
	d.lock = f
	if err := f.Truncate(0); err != nil {
		return dirError(d.Path, err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return dirError(d.Path, err)
	}
	return nil
}

func (d *Dir) prepare(name func(*Dir) (string, error)) error {
	if err := os.Chmod(d.Path, 0o700); err != nil {
		return dirError(d.Path, err)
	}
	// VERSION comes before all else: what has no VERSION is not Dun's, and is
	// not touched again after a first start that was cut short.
	if _, err := d.once("VERSION", 0o600, func() ([]byte, error) { return []byte(strconv.Itoa(DirVersion) + "\n"), d.named() }); err != nil {
		return err
	}
	for _, sub := range []string{"events", "bytes", "tiles", "lkg", "keys", "bootstrap", "run"} {
		if err := file.MakeDirs(filepath.Join(d.Path, sub), 0o700); err != nil {
			return dirError(d.Path, err)
		}
	}
	cell, err := name(d)
	if err != nil {
		return err
	}
	kept, err := d.once("cell", 0o600, func() ([]byte, error) { return []byte(cell + "\n"), nil })
	d.Cell = strings.TrimSpace(string(kept))
	return err
}

// named puts the directory's own name on the disk, whoever made it. A parent
// that one may not read is the business of whoever owns it.
func (d *Dir) named() error {
	if err := file.SyncDir(filepath.Dir(d.Path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return dirError(d.Path, err)
	}
	return nil
}

// fresh refuses to make up an identity for data that had one.
func (d *Dir) fresh(what string) error {
	if _, err := os.Stat(filepath.Join(d.Path, "records.db")); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, "%s/%s is missing although records.db exists; restore it from the backup", "%s/%s 缺失而 records.db 存在;请从备份恢复", d.Path, what)
	}
	return nil
}

// once reads a file, or makes it by make and writes it so that it is there
// whole or not at all. When it returns, the file survives a power cut, also one
// that an earlier process wrote and was killed before it could sync its name:
// what comes later relies on it.
func (d *Dir) once(name string, mode fs.FileMode, make func() ([]byte, error)) ([]byte, error) {
	path := filepath.Join(d.Path, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = make(); err != nil {
			return nil, err
		}
		return b, d.write(name, mode, b)
	}
	if err == nil {
		err = file.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, dirError(path, err)
	}
	return b, nil
}

func (d *Dir) write(name string, mode fs.FileMode, b []byte) error {
	path := filepath.Join(d.Path, name)
	if err := file.Replace(path, mode, b); err != nil {
		return dirError(path, err)
	}
	return nil
}

// Keys are the secrets of the cell that this process holds.
type Keys struct {
	CA          *identity.CA
	CAPEM       []byte
	Signer      note.Signer
	VKey        string
	Denials     note.Signer // of the log of denials
	DenialsVKey string
	LKG         lkg.Keys // of this node's last-known-good
	Hosts       [32]byte // from which the proofs of hosts follow
}

// Keys reads the cell's keys, or makes them on the first start.
func (d *Dir) Keys(opt Options) (*Keys, error) {
	k := &Keys{}
	caKey, err := d.once("keys/ca.key", 0o600, func() ([]byte, error) {
		if err := d.fresh("keys/ca.key"); err != nil {
			return nil, err
		}
		_, cert, key, err := identity.NewCA(d.Cell, opt.Now)
		if err != nil {
			return nil, err
		}
		return key, d.write("ca.pem", 0o644, cert)
	})
	if err != nil {
		return nil, err
	}
	if k.CAPEM, err = os.ReadFile(filepath.Join(d.Path, "ca.pem")); err != nil {
		return nil, dirError(filepath.Join(d.Path, "ca.pem"), err)
	}
	if k.CA, err = identity.LoadCA(k.CAPEM, caKey, opt.Now); err != nil {
		return nil, fault.New(fault.Invalid, "ca.pem and keys/ca.key in %s do not belong together; restore them", "%s 中的 ca.pem 与 keys/ca.key 不匹配;请恢复", d.Path).Because(err)
	}
	logKey, err := d.once("keys/log.key", 0o600, func() ([]byte, error) {
		if err := d.fresh("keys/log.key"); err != nil {
			return nil, err
		}
		skey, vkey, err := audit.GenerateKey(audit.Origin(d.Cell))
		return []byte(skey + "\n" + vkey + "\n"), err
	})
	if err != nil {
		return nil, err
	}
	skey, vkey, _ := strings.Cut(strings.TrimSpace(string(logKey)), "\n")
	if k.Signer, err = note.NewSigner(skey); err != nil {
		return nil, fault.New(fault.Invalid, "keys/log.key in %s is damaged; restore it", "%s 中的 keys/log.key 已损坏;请恢复", d.Path).Because(errors.New("bad signer key"))
	}
	k.VKey = vkey
	if k.Denials, k.DenialsVKey, err = denialsKey(skey, vkey); err != nil {
		return nil, fault.New(fault.Invalid, "keys/log.key in %s is damaged; restore it", "%s 中的 keys/log.key 已损坏;请恢复", d.Path).Because(errors.New("bad signer key"))
	}
	if k.LKG, err = d.lkgKeys(); err != nil {
		return nil, err
	}
	return k, d.secret("keys/hosts.key", &k.Hosts)
}

// lkgKeys are those of this node's last-known-good.
func (d *Dir) lkgKeys() (k lkg.Keys, err error) {
	var seed [32]byte
	err = errors.Join(d.secret("keys/node.key", &k.Seal), d.secret("keys/lkg.key", &seed))
	k.Sign = ed25519.NewKeyFromSeed(seed[:])
	return k, err
}

// secret reads 32 random bytes, or makes them. What they guard can be made
// anew, so that one that was lost stops nothing.
func (d *Dir) secret(name string, to *[32]byte) error {
	b, err := d.once(name, 0o600, func() ([]byte, error) {
		b := make([]byte, len(to))
		rand.Read(b)
		return []byte(hex.EncodeToString(b) + "\n"), nil
	})
	if err != nil {
		return err
	}
	if n, err := hex.Decode(to[:], bytes.TrimSpace(b[:min(len(b), 2*len(to)+1)])); err != nil || n != len(to) {
		return fault.New(fault.Invalid, "%s in %s is damaged; restore it, or remove it to have a new one", "%[2]s 中的 %[1]s 已损坏;请恢复,或删除以重新生成", name, d.Path)
	}
	return nil
}

// denialsKey is the log's key under the name of the log of denials.
func denialsKey(skey, vkey string) (note.Signer, string, error) {
	sk, err := audit.DenialsKey(skey)
	if err != nil {
		return nil, "", err
	}
	vk, err := audit.DenialsVKey(vkey)
	if err != nil {
		return nil, "", err
	}
	signer, err := note.NewSigner(sk)
	return signer, vk, err
}

// File is the path of a file in the directory.
func (d *Dir) File(name string) string { return filepath.Join(d.Path, name) }

// Close gives the lock back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", d.Path, err)
	}
	return nil
}
