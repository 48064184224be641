package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

func TestHostilePoliciesAreRefusedQuickly(t *testing.T) {
	_, c := setup(t)
	const most = 32 << 10
	wrap := func(s string) string { return `forbid (principal, action, resource) when { ` + s + ` };` }
	for name, text := range map[string]string{
		"parentheses": wrap(strings.Repeat("(", most)),
		"closed":      wrap(strings.Repeat("(", most/2) + "true" + strings.Repeat(")", most/2)),
		"not":         wrap(strings.Repeat("!", most) + "true"),
		"minus":       wrap(strings.Repeat("-", most) + "1 == 1"),
		"lists":       wrap(strings.Repeat("[", most/2) + strings.Repeat("]", most/2) + " == 1"),
		"ifs":         wrap(strings.Repeat("if true then ", most/13) + "true"),
		"wrong ends":  strings.Repeat("permit(", most/7),
		"null bytes":  strings.Repeat("\x00", 100),
	} {
		begin := time.Now()
		err := c.Check("platform/x", text)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if err != nil {
			if e := fault.Of(err); e.Code != fault.Invalid || len(e.Fields) == 0 || len(e.Fields[0].Reason.En) > 4096 {
				t.Errorf("%s: %.300v", name, err)
			}
		}
		t.Log(name, time.Since(begin), err == nil)
	}
	conditions := wrap(strings.Repeat(`resource.name == "a" || `, 1000) + "true")
	begin := time.Now()
	if err := c.Check("platform/x", conditions); time.Since(begin) > 5*time.Second {
		t.Errorf("a long condition took %v (%v)", time.Since(begin), err)
	}
	many := strings.Repeat(fmt.Sprintln(`permit (principal, action == Action::"site.read", resource);`), 500)
	begin = time.Now()
	if err := c.Check("platform/x", many); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("many statements took %v (%v)", time.Since(begin), err)
	}
}
