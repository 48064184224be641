package gate_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/audit"

	"golang.org/x/mod/sumdb/note"
)

func TestARolledBackStoreIsRefused(t *testing.T) {
	c := newCell(t)
	c.must(shop)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	older, err := os.ReadFile(c.file("records.db"))
	if err != nil {
		t.Fatal(err)
	}
	c.open()
	c.must(site("platform", "b", "", "b.test"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	newer, err := os.ReadFile(c.file("records.db"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(c.file("records.db"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(older)
	if err := c.tryOpen(); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("opened: %v", err)
	}
	write(nil)
	if err := c.tryOpen(); err == nil {
		t.Error("an empty store was opened beside a checkpoint")
	}
	// A store that went another way from there has the right size and the wrong leaves.
	write(older)
	if err := os.Rename(c.file("checkpoint"), c.file("kept")); err != nil {
		t.Fatal(err)
	}
	c.open()
	c.must(site("platform", "another", "", "another.test"), site("platform", "way", "", "way.test"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.file("kept"), c.file("checkpoint")); err != nil {
		t.Fatal(err)
	}
	if err := c.tryOpen(); err == nil || !strings.Contains(err.Error(), "does not contain") {
		t.Errorf("opened: %v", err)
	}
	write(newer)
	c.open()
	c.check()
}

func TestACheckpointOfAnotherKeyIsRefused(t *testing.T) {
	c := newCell(t)
	c.must(shop)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	skey, _, err := audit.GenerateKey(audit.Origin("testcell"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := audit.SignCheckpoint(audit.Checkpoint{Origin: audit.Origin("testcell"), Root: audit.NewTree().Root()}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"forged": forged, "torn": forged[:20], "empty": nil} {
		if err := os.WriteFile(c.file("checkpoint"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.tryOpen(); err == nil || !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeignStoresAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ edit, want string }{
		"another cell":     {`UPDATE head SET cell='othercel'`, "belongs to cell othercel"},
		"an older head":    {`UPDATE head SET revision=3`, "above the head's 3"},
		"newer schema":     {`UPDATE head SET schema=1000`, "schema 1000"},
		"no head table":    {`DROP TABLE head`, "no such table"},
		"policy is broken": {`UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'permit','perm1t') AS BLOB) WHERE name='mine'`, "stored policies"},
		"unknown kind":     {`UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'"kind":"Policy"','"kind":"Thing"') AS BLOB) WHERE name='mine'`, "unknown kind"},
		"newer record":     {`UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'"version":1','"version":2') AS BLOB) WHERE name='mine'`, "newer than"},
		"no version":       {`UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'"version":1','"version":0') AS BLOB) WHERE name='mine'`, "no version"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t)
			c.must("kind: Policy\nmetadata: {tenant: platform, name: mine}\nspec:\n  cedar: 'permit (principal in Role::\"platform/x\", action, resource);'\n")
			err := c.tryDamage(t, func(d *sql.DB) error { _, err := d.Exec(tt.edit); return err })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	c := newCell(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file("records.db"), []byte(strings.Repeat("not a database ", 400)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.tryOpen(); err == nil {
		t.Error("a file that is no database was opened")
	}
}
