package flood

// As in plane/scrub: who changes bpf/ needs clang-14.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package flood -output-stem program -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu" program bpf/flood.c
