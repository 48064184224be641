// Package approvals lets two founders of a real cell ask each other, and tries
// the ways around that.
package approvals

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

// cell is one with two founders: op has the machine's profile, ann her own.
type cell struct {
	*lab.Cell
	t   *testing.T
	ann string // profile
}

func found(t *testing.T, c *cell, name string) string {
	t.Helper()
	out, exit := c.Cell.Dun("admin", "founder", "--data", c.Dir, "--name", name)
	m := regexp.MustCompile(`https://\S+/enter\?t=[a-z0-9.]+`).FindString(out)
	if exit != 0 || m == "" {
		t.Fatalf("%d %s", exit, out)
	}
	profile := filepath.Join(t.TempDir(), name+".yaml")
	login(t, c.Cell, profile, m)
	return profile
}

// login uses a link on the command line, as a person reads and types.
func login(t *testing.T, c *lab.Cell, profile, link string) {
	t.Helper()
	cmd := exec.Command(c.Bin, "--profile", profile, "login", "--ca", filepath.Join(c.Dir, "ca.pem"), "--link", link)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var key string
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for key == "" && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if _, rest, ok := strings.Cut(lines.Text(), "authenticator app: "); ok {
			key = strings.TrimSpace(rest)
		}
	}
	if key == "" {
		t.Fatalf("no key: %s", said.String())
	}
	fmt.Fprintf(in, "%s\n%s\n", lab.Password, lab.Code(t, key, time.Now()))
	in.Close()
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
}

func start(t *testing.T) *cell {
	t.Helper()
	return &cell{Cell: lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d")), t: t}
}

func two(t *testing.T) *cell {
	t.Helper()
	c := start(t)
	c.ann = found(t, c, "ann")
	return c
}

// as runs dun under a profile; "" = the machine's.
func (c *cell) as(profile string, args ...string) (string, int) {
	c.t.Helper()
	if profile != "" {
		args = append([]string{"--profile", profile}, args...)
	}
	return c.Cell.Dun(args...)
}

func (c *cell) file(yaml string) string {
	c.t.Helper()
	f := filepath.Join(c.t.TempDir(), "x.yaml")
	if err := os.WriteFile(f, []byte(yaml), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return f
}

var requestName = regexp.MustCompile(`cr-[a-z2-7]{8}`)

// asks applies and wants it to wait; it returns the request's name.
func (c *cell) asks(profile, yaml string, more ...string) string {
	c.t.Helper()
	out, exit := c.as(profile, append([]string{"apply", "--no-wait", "-f", c.file(yaml)}, more...)...)
	name := requestName.FindString(out)
	if exit != 9 || name == "" {
		c.t.Fatalf("%d %s", exit, out)
	}
	return name
}

func (c *cell) want(what string, wantExit int, words string, out string, exit int) {
	c.t.Helper()
	if exit != wantExit || !strings.Contains(out, words) {
		c.t.Errorf("%s: exit %d (want %d), %q not in %s", what, exit, wantExit, words, out)
	}
}

func (c *cell) phase(name string) string {
	c.t.Helper()
	out, exit := c.as("", "get", "changerequest", name, "-o", "json")
	var o struct{ State struct{ Phase string } }
	if exit != 0 || json.Unmarshal([]byte(out), &o) != nil {
		c.t.Fatalf("%d %s", exit, out)
	}
	return o.State.Phase
}

const policyChange = `kind: Policy
metadata: {tenant: platform, name: night}
spec: {cedar: 'permit (principal == User::"platform/zoe", action == Action::"site.read", resource);'}
`

func TestNothingImportantChangesWithoutASecondPerson(t *testing.T) {
	c := start(t)
	if out, exit := c.as("", "apply", "-f", c.file(policyChange)); exit != 0 {
		t.Fatalf("one founder alone: %d %s", exit, out)
	}
	c.ann = found(t, c, "ann")
	cr := c.asks("", strings.Replace(policyChange, "zoe", "kim", 1), "--reason", "kim watches tonight")
	if out, _ := c.as("", "get", "policy", "night", "-o", "yaml"); strings.Contains(out, "kim") {
		t.Error("it changed before anybody assented")
	}
	out, exit := c.as("", "approve", cr)
	c.want("one's own request", 4, "own request", out, exit)
	if again := c.asks("", strings.Replace(policyChange, "zoe", "kim", 1), "--reason", "kim watches tonight"); again != cr {
		t.Errorf("the same request twice: %s and %s", cr, again)
	}
	out, exit = c.as(c.ann, "approve", cr)
	c.want("the other founder", 0, "carried out", out, exit)
	if out, _ := c.as("", "get", "policy", "night", "-o", "yaml"); !strings.Contains(out, "kim") {
		t.Errorf("it did not change: %s", out)
	}
	out, exit = c.as(c.ann, "approve", cr)
	c.want("approved again", 6, "done", out, exit)
	out, _ = c.as("", "history", "policy", "night")
	if !strings.Contains(out, "User platform/operator") {
		t.Errorf("the change is not the requester's: %s", out)
	}
	if out, exit := c.as("", "audit", "verify"); exit != 0 {
		t.Errorf("%d %s", exit, out)
	}
	out, _ = c.as("", "audit", "tail", "-o", "yaml")
	if !strings.Contains(out, cr) {
		t.Errorf("no leaf names the request: %s", out)
	}
}

// TestTheWaysAroundAreRefused is the table of collusion.
func TestTheWaysAroundAreRefused(t *testing.T) {
	c := two(t)
	night := func(who string) string { return strings.Replace(policyChange, "zoe", who, 1) }

	// A rule, a user, a role and a binding are asked about like a policy.
	for _, y := range []string{
		"kind: ApprovalRule\nmetadata: {tenant: platform, name: mine}\nspec: {kinds: [Site], steps: [{name: me, users: [operator]}]}\n",
		"kind: User\nmetadata: {tenant: platform, name: puppet}\nspec: {}\n",
		"kind: Role\nmetadata: {tenant: platform, name: x}\nspec: {}\n",
		"kind: RoleBinding\nmetadata: {tenant: platform, name: x}\nspec: {role: operator, subjects: [{kind: User, name: operator}]}\n",
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n",
	} {
		c.asks("", y)
	}
	out, exit := c.as("", "delete", "approvalrule", "builtin-policy")
	if exit == 0 {
		t.Errorf("a built-in rule was deleted: %s", out)
	}
	out, exit = c.as("", "apply", "--no-wait", "-f", c.file("kind: ApprovalRule\nmetadata: {tenant: platform, name: builtin-policy}\nspec: {kinds: [Site], steps: [{name: me, users: [operator]}]}\n"))
	if exit != 4 {
		t.Errorf("a built-in rule was changed: %d %s", exit, out)
	}

	// Nobody writes a request by hand.
	out, exit = c.as("", "apply", "--no-wait", "-f", c.file("kind: ChangeRequest\nmetadata: {tenant: platform, name: cr-forged}\nspec: {requester: ann, requesterTenant: platform, steps: [{rule: a/b, step: {name: s, users: [operator]}}], expires: 2099-01-01T00:00:00Z, changes: [{op: delete, kind: Policy, tenant: platform, name: night, action: delete}]}\n"))
	c.want("a forged request", 4, "", out, exit)
	cr := c.asks("", night("kim"))
	out, exit = c.as("", "delete", "changerequest", cr)
	c.want("a request deleted", 4, "", out, exit)
	out, exit = c.as("", "do", "end", "changerequest", cr, "--set", "phase=done")
	if exit == 0 {
		t.Errorf("a request ended by hand: %s", out)
	}

	// A deputy whom the requester made.
	puppet := c.asks("", "kind: User\nmetadata: {tenant: platform, name: puppet}\nspec: {}\n")
	if out, exit := c.as(c.ann, "approve", puppet); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	out, exit = c.as(c.ann, "do", "delegate", "changerequest", cr, "--set", "to=operator")
	c.want("delegated to the requester", 4, "own request", out, exit)
	out, exit = c.as(c.ann, "do", "delegate", "changerequest", cr, "--set", "to=ann")
	c.want("delegated to oneself", 6, "", out, exit)

	// A stale approval: the record moved after the request.
	first, second := c.asks("", night("lee")), c.asks("", night("max"))
	out, exit = c.as(c.ann, "approve", first)
	if exit != 6 && exit != 0 {
		t.Errorf("%d %s", exit, out)
	}
	out, exit = c.as(c.ann, "approve", second)
	c.want("what was approved is stale", 6, "not carried out", out, exit)
	if p := c.phase(second); p != "failed" {
		t.Errorf("it is %s", p)
	}
	// Denied is denied.
	third := c.asks("", "kind: Role\nmetadata: {tenant: platform, name: y}\nspec: {}\n")
	out, exit = c.as("", "deny", third)
	c.want("denied by the requester", 4, "cancel", out, exit)
	out, exit = c.as(c.ann, "deny", third, "--reason", "no need")
	c.want("denied", 0, "denied", out, exit)
	out, exit = c.as(c.ann, "approve", third)
	c.want("approved after that", 6, "denied", out, exit)
	// Cancelled by who asked, and by nobody else.
	fourth := c.asks("", "kind: Role\nmetadata: {tenant: platform, name: z}\nspec: {}\n")
	out, exit = c.as(c.ann, "do", "cancel", "changerequest", fourth)
	c.want("cancelled by another", 4, "only who asked", out, exit)
	out, exit = c.as("", "do", "cancel", "changerequest", fourth)
	c.want("cancelled", 0, "", out, exit)
}

func TestAWindowIsKept(t *testing.T) {
	c := two(t)
	site := "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test], origins: [{url: \"http://127.0.0.1:1\"}]}\n"
	from := time.Now().Add(4 * time.Second).UTC()
	out, exit := c.as("", "request", "-f", c.file(site), "--reason", "tonight", "--from", from.Format(time.RFC3339), "--until", from.Add(time.Hour).Format(time.RFC3339))
	cr := requestName.FindString(out)
	if exit != 9 || cr == "" {
		t.Fatalf("%d %s", exit, out)
	}
	out, exit = c.as(c.ann, "approve", cr)
	c.want("before its window", 0, "carried out at", out, exit)
	if p := c.phase(cr); p != "approved" {
		t.Errorf("it is %s", p)
	}
	c.Kill() // the window outlives the process
	c.Cell = lab.Up(t, c.Bin, c.Dir)
	late := time.Now().Add(lab.Wait)
	for c.phase(cr) != "done" {
		if time.Now().After(late) {
			t.Fatalf("it is %s", c.phase(cr))
		}
		<-time.After(100 * time.Millisecond)
	}
	if time.Now().Before(from.Add(-time.Second)) {
		t.Error("it was carried out before its window")
	}
	out, exit = c.as("", "request", "-f", c.file(strings.ReplaceAll(site, "shop", "late")), "--until", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	c.want("a closed window", 2, "closed", out, exit)
}
