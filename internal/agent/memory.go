package agent

import "golang.org/x/sys/unix"

// A record takes about four times in memory what it takes as stored, so that
// an eighth of the machine as stored is half of it in use.
const (
	memoryPart = 8
	memoryMost = 2 << 30 // a million records of 2 KiB
)

// memoryBudget is how many bytes of records, as stored, this machine may hold;
// 0 = the gate's own default.
func memoryBudget() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return min(memoryMost, int64(info.Totalram)*int64(info.Unit)/memoryPart)
}
