// Command gather makes common.bin of a list of passwords, a JSON array of
// strings; COMMON says of which.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

const (
	keep     = 5 // bytes of each hash
	shortest = 6 // bytes of a password
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: gather passwords.json common.bin")
	}
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	var sums [][]byte
	for _, p := range list {
		if len(p) >= shortest {
			s := sha256.Sum256([]byte(strings.ToLower(p)))
			sums = append(sums, s[:keep])
		}
	}
	slices.SortFunc(sums, bytes.Compare)
	sums = slices.CompactFunc(sums, bytes.Equal)
	return os.WriteFile(os.Args[2], bytes.Join(sums, nil), 0o644)
}
