package gate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// again is a put of what is there already.
func (c *cell) again(yaml string) gate.Change {
	c.t.Helper()
	ch := c.change(yaml)
	if o, err := c.Get(c.t.Context(), operator, ch.Ref); err == nil {
		ch.Revision = o.Metadata.Revision
	}
	return ch
}

func class(name string, level int, parent string) string {
	if parent != "" {
		parent = ", parent: " + parent
	}
	return fmt.Sprintf("kind: DataClass\nmetadata: {tenant: platform, name: %s}\nspec: {title: C, level: %d%s}\n", name, level, parent)
}

func typed(class string) string {
	return "kind: DataType\nmetadata: {tenant: platform, name: k}\nspec: {title: T, class: " + class + ", processing: [read], regions: [cn], adminRegions: [cn], purposes: [serve]}\n"
}

// TestAContainerIsNotLoweredBelowWhatLiesInIt: by whatever way its class would
// fall. Each world holds in the beginning; the change alone breaks it.
func TestAContainerIsNotLoweredBelowWhatLiesInIt(t *testing.T) {
	for what, tt := range map[string]struct {
		world  []string
		change []string // in one request
		names  string   // what the refusal says, "" = it is done
	}{
		"its label": {
			[]string{asset("box", "internal", ""), asset("in", "internal", "container: box")},
			[]string{asset("box", "public", "")}, "DataAsset platform/in",
		},
		"its label, with content that takes over its class": {
			[]string{asset("box", "internal", ""), asset("in", "", "container: box")},
			[]string{asset("box", "public", "")}, "",
		},
		"its label, with lower content": {
			[]string{asset("box", "internal", ""), asset("in", "test", "container: box")},
			[]string{asset("box", "test", "")}, "",
		},
		"from no label": {
			[]string{asset("box", "", ""), asset("in", "internal", "container: box")},
			[]string{asset("box", "test", "")}, "DataAsset platform/in",
		},
		"with its content": {
			[]string{asset("box", "internal", ""), asset("in", "internal", "container: box")},
			[]string{asset("box", "public", ""), asset("in", "public", "container: box")}, "",
		},
		"while its content moves out": {
			[]string{asset("box", "internal", ""), asset("in", "internal", "container: box")},
			[]string{asset("box", "public", ""), asset("in", "internal", "")}, "",
		},
		"what it lies in": {
			[]string{asset("host", "internal", ""), asset("disk", "", "container: host"), asset("dir", "", "container: disk"), asset("in", "internal", "container: dir")},
			[]string{asset("host", "public", "")}, "DataAsset platform/in",
		},
		"what it lies in, itself labelled": {
			[]string{asset("host", "internal", ""), asset("disk", "internal", "container: host"), asset("in", "internal", "container: disk")},
			[]string{asset("host", "public", "")}, "DataAsset platform/disk",
		},
		"where it lies": {
			[]string{asset("high", "internal", ""), asset("low", "public", ""), asset("disk", "", "container: high"), asset("in", "internal", "container: disk")},
			[]string{asset("disk", "", "container: low")}, "DataAsset platform/in",
		},
		"what it is made from": {
			[]string{asset("src", "internal", ""), asset("box", "public", "sources: [src]"), asset("in", "internal", "container: box")},
			[]string{asset("src", "public", "")}, "DataAsset platform/in",
		},
		"that it is made from something": {
			[]string{asset("src", "internal", ""), asset("box", "public", "sources: [src]"), asset("in", "internal", "container: box")},
			[]string{asset("box", "public", "")}, "DataAsset platform/in",
		},
		"its type's lowest class": {
			[]string{typed("internal"), asset("box", "public", "type: k"), asset("in", "internal", "container: box")},
			[]string{typed("public")}, "DataAsset platform/in",
		},
		"the level of its class": {
			[]string{class("mine", 3, ""), asset("box", "mine", ""), asset("in", "internal", "container: box")},
			[]string{class("mine", 2, "")}, "DataAsset platform/in",
		},
		"the level of a class that its own is part of": {
			[]string{class("mine", 3, ""), class("child", 1, "mine"), asset("box", "child", ""), asset("in", "internal", "container: box")},
			[]string{class("mine", 2, "")}, "DataAsset platform/in",
		},
		"the level of its class and of its content": {
			[]string{class("mine", 3, ""), asset("box", "mine", ""), asset("in", "mine", "container: box")},
			[]string{class("mine", 2, "")}, "",
		},
		"made behind its content": {
			nil,
			[]string{asset("in", "internal", "container: box"), asset("box", "public", "")}, "DataAsset platform/in",
		},
		"made behind its content, from what is made behind it": {
			nil,
			[]string{asset("in", "internal", "container: box"), asset("box", "public", "sources: [src]"), asset("src", "public", "")}, "DataAsset platform/in",
		},
		"another share of it": {
			[]string{dataType, asset("box", "internal", "type: t"), duty("d", "box", "carrier", "2027-01-01T00:00:00Z")},
			[]string{asset("box", "public", "type: t")}, "",
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCell(t)
			c.must(tt.world...)
			var changes []gate.Change
			for _, y := range tt.change {
				changes = append(changes, c.again(y))
			}
			_, err := c.do(operator, changes...)
			switch {
			case tt.names == "" && err != nil:
				t.Error(err)
			case tt.names != "" && (!fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), tt.names+", which lies in it")):
				t.Errorf("%v, want that it names %s", err, tt.names)
			case tt.names != "" && fault.Of(err).Detail.Zh == "":
				t.Error("says it in one language")
			}
		})
	}
}

// TestAContainerMadeAnewIsNotLower in one request with its end.
func TestAContainerMadeAnewIsNotLower(t *testing.T) {
	c := newCell(t)
	box := c.must(asset("box", "internal", ""))
	c.must(asset("in", "internal", "container: box"))
	_, err := c.do(operator, gate.Change{Op: gate.Delete, Ref: box.Ref, Revision: box.Revision}, c.change(asset("box", "public", "")))
	wantCode(t, err, fault.Conflict)
}

// TestWhatLiesInAContainerRisesWithIt however deep, and raising asks nobody.
func TestWhatLiesInAContainerRisesWithIt(t *testing.T) {
	c := newCell(t)
	c.must(typed("public"), asset("host", "public", "type: k"), asset("disk", "", "container: host, type: k"), asset("in", "", "container: disk, type: k"))
	in := resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "in"}
	level := func() (l int) {
		err := c.RehearseData(t.Context(), func(r gate.Rehearsal) error {
			class, _ := r.Class(in)
			l = class.Level
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if level() != 1 {
		t.Fatal(level())
	}
	if _, err := c.do(operator, c.again(asset("host", "internal", "type: k"))); err != nil || level() != 3 {
		t.Errorf("level %d: %v", level(), err)
	}
}

// TestAFallIsFollowedAsFarAsItMay and no further; what rises is not followed.
func TestAFallIsFollowedAsFarAsItMay(t *testing.T) {
	c := newCell(t)
	c.must(asset("box", "internal", ""))
	fill := func(from, to int) {
		t.Helper()
		var changes []gate.Change
		for i := from; i < to; i++ {
			if changes = append(changes, c.change(asset(fmt.Sprintf("in-%05d", i), "", "container: box"))); len(changes) == gate.MaxChanges || i == to-1 {
				if _, err := c.do(operator, changes...); err != nil {
					t.Fatal(err)
				}
				changes = nil
			}
		}
	}
	say := func(class string) error {
		begun := time.Now()
		_, err := c.do(operator, c.again(asset("box", class, "")))
		t.Logf("to %s: %s: %v", class, time.Since(begun), err)
		return err
	}
	fill(0, 6_000)
	if err := say("test"); err != nil {
		t.Error(err)
	}
	fill(6_000, 12_000)
	err := say("public")
	wantCode(t, err, fault.Conflict)
	if err == nil || !strings.Contains(err.Error(), "too much lies in DataAsset platform/box") {
		t.Error(err)
	}
	if err := say("internal"); err != nil {
		t.Error(err)
	}
}
