package supervisor

import (
	"errors"
	"math"
	"os/user"
	"strconv"

	"github.com/dun-sec/dun/internal/core/fault"
)

// User is whom the worker runs as.
type User struct{ UID, GID uint32 }

const (
	standardName = "dun"
	standardID   = 61999 // where there is no user dun; of no distribution's ranges
)

// Root says that there is to be no split.
func (u User) Root() bool { return u.UID == 0 }

// FindUser looks up whom the configuration names; "" = user dun if that
// exists, else 61999. A number needs no entry in /etc/passwd.
func FindUser(name string) (User, error) {
	std := name == ""
	if std {
		name = standardName
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n < math.MaxUint32 {
		return User{uint32(n), uint32(n)}, nil
	}
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown && std {
		return User{standardID, standardID}, nil
	}
	if err != nil {
		return User{}, fault.New(fault.Invalid, "user: %q is no user of this machine", "user:本机没有用户 %q", name).Because(err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uerr, gerr); err != nil {
		return User{}, fault.New(fault.Invalid, "user: %q has no number", "user:%q 没有数字编号", name).Because(err)
	}
	return User{uint32(uid), uint32(gid)}, nil
}
