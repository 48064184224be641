package policy

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed builtin/*.cedar
var builtinFiles embed.FS

// Builtin is one policy that ships with the release. It is in force whether or
// not its record is in the store: the record only shows it to people.
type Builtin struct{ Name, Text string }

// Builtins lists the policies of the release by name.
func Builtins() ([]Builtin, error) {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		return nil, fmt.Errorf("read the built-in policies: %w", err)
	}
	var out []Builtin
	for _, e := range entries {
		b, err := builtinFiles.ReadFile("builtin/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the built-in policy %s: %w", e.Name(), err)
		}
		out = append(out, Builtin{Name: "builtin-" + strings.TrimSuffix(e.Name(), ".cedar"), Text: string(b)})
	}
	return out, nil
}
