package scrub

// Whoever changes bpf/ needs clang-14, llvm-strip-14 and libbpf-dev; everybody
// else builds with the committed object.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package scrub -output-stem filter -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu" -type settings -type policy -type rule -type counts -type totals -type cells -type flow -type denied -type verdict -type prefix4 -type prefix6 -type allowed filter bpf/scrub.c
