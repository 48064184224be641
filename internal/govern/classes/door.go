package classes

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Door is one way on which what a record holds could reach somebody who must
// not have it. Control 1-1 tries each that exists; a later one is one more.
type Door struct {
	Name string
	// Begin, where it is set, is called before the marker is anywhere, and what it
	// returns when it is gone: for what comes by itself and is not asked for.
	Begin func(Planted) (end func())
	// Try looks for the marker behind the door as who must not have it.
	Try func(context.Context, Planted) (Look, error)
	// Twin does the same as who may, or with what may leave: a probe that finds no
	// marker there would find none anywhere. Nil = a try that finds the door gone
	// is an error by itself.
	Twin func(context.Context, Planted) (Look, error)
}

// Look is what a try saw.
type Look struct {
	Leaked bool
	Quiet  bool   // it was refused, and neither leaf nor event tells of it
	Saw    string // in a few words, for the evidence
}

// Planted is what is looked for.
type Planted struct {
	Marker string // in the record's labels; random
	Ref    resource.Ref
	First  uint64 // revision that the record was made at
	Second uint64 // revision in force; what differs is a label with the marker

	request string // of the record's event
	log     int64  // leaves of the audit log before it
	refused int64  // leaves of the log of refusals before it; -1 = it is off
}

// holds reports whether an answer has the needle, as it stands or in base64.
func holds(answer []byte, needle string) bool {
	return bytes.Contains(answer, []byte(needle)) || bytes.Contains(plainText(answer), []byte(needle))
}

// tally is what came of the tries, by the names of the doors.
type tally struct{ open, shut, quiet []string }

// tried goes through the doors.
func tried(ctx context.Context, doors []Door, p Planted, way func(Door) func(context.Context, Planted) (Look, error), note func(door, saw string)) (tally, error) {
	var out tally
	for _, d := range doors {
		f := way(d)
		if f == nil {
			continue
		}
		look, err := f(ctx, p)
		if err != nil {
			return out, fmt.Errorf("%s: %w", d.Name, err)
		}
		if look.Leaked {
			out.open = append(out.open, d.Name)
		} else {
			out.shut = append(out.shut, d.Name)
		}
		if look.Quiet {
			out.quiet = append(out.quiet, d.Name)
		}
		if note != nil {
			note(d.Name, look.Saw)
		}
	}
	return out, nil
}

func tryOf(d Door) func(context.Context, Planted) (Look, error)  { return d.Try }
func twinOf(d Door) func(context.Context, Planted) (Look, error) { return d.Twin }
