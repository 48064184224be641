package gate_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

// eventful fills a cell: a site with three revisions, a deleted one, a login,
// a fact and a reason, so that every table has something to damage.
func eventful(t testing.TB) *cell {
	c := newCell(t)
	r := c.must(site("platform", "a", "", "a.test"))
	for _, h := range []string{"b.test", "c.test"} {
		var err error
		if r, err = c.patch(operator, r, map[string]any{"spec": map[string]any{"hosts": []any{h}}}); err != nil {
			t.Fatal(err)
		}
	}
	gone := c.must(site("platform", "gone", "", "gone.test"))
	if err := c.remove(operator, gone); err != nil {
		t.Fatal(err)
	}
	c.signIn(operator.Principal, "")
	if err := c.Record(t.Context(), operator, gate.Fact{Class: audit.Check, Kind: "Audit", Action: "check"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), gate.Request{Actor: operator, Reason: "because", Changes: []gate.Change{c.change(site("platform", "d", "", "d.test"))}}); err != nil {
		t.Fatal(err)
	}
	c.check()
	return c
}

// Every edit of one value must be noticed, by Open or by Check.
func TestEveryDamageIsFound(t *testing.T) {
	flip := func(column string) string {
		return fmt.Sprintf("CAST(substr(%[1]s,1,length(%[1]s)-1) || CASE substr(%[1]s,length(%[1]s)) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)", column)
	}
	const site = "(SELECT max(revision) FROM history WHERE name='a')"
	const old = "(SELECT min(revision) FROM history WHERE name='a')"
	edits := map[string]string{
		"leaf, last byte":             `UPDATE leaf SET body=` + flip("body") + ` WHERE seq=3`,
		"leaf, newest":                `UPDATE leaf SET body=` + flip("body") + ` WHERE seq=(SELECT max(seq) FROM leaf)`,
		"leaf missing":                `DELETE FROM leaf WHERE seq=4`,
		"leaf moved":                  `UPDATE leaf SET seq=9000 WHERE seq=4`,
		"salt":                        `UPDATE payload SET salts=` + flip("salts") + ` WHERE seq=3`,
		"salts cut":                   `UPDATE payload SET salts=substr(salts,1,200) WHERE seq=3`,
		"payload tenant":              `UPDATE payload SET tenant=CAST('acme' AS BLOB) WHERE seq=3`,
		"payload actor":               `UPDATE payload SET actor=` + flip("actor") + ` WHERE seq=3`,
		"payload name":                `UPDATE payload SET name=` + flip("name") + ` WHERE seq=3`,
		"payload name absent":         `UPDATE payload SET name=NULL WHERE seq=3`,
		"payload context":             `UPDATE payload SET context=` + flip("context") + ` WHERE seq=3`,
		"payload reason":              `UPDATE payload SET reason=` + flip("reason") + ` WHERE reason IS NOT NULL`,
		"payload reason invented":     `UPDATE payload SET reason=CAST('x' AS BLOB) WHERE reason IS NULL`,
		"payload old":                 `UPDATE payload SET old=old+1 WHERE seq=(SELECT seq FROM history WHERE revision=` + site + `)`,
		"payload old absent":          `UPDATE payload SET old=0 WHERE seq=(SELECT seq FROM history WHERE revision=` + site + `)`,
		"payload old hidden":          `UPDATE payload SET old=100000 WHERE seq=(SELECT seq FROM history WHERE revision=` + site + `)`,
		"payload new":                 `UPDATE payload SET new=new-1 WHERE seq=(SELECT seq FROM history WHERE revision=` + site + `)`,
		"payload gone, history stays": `DELETE FROM payload WHERE seq=(SELECT seq FROM history WHERE revision=` + old + `)`,
		"history data":                `UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'a.test','z.test') AS BLOB) WHERE revision=` + old,
		"history data, newest":        `UPDATE history SET data=CAST(replace(CAST(data AS TEXT),'c.test','z.test') AS BLOB) WHERE revision=` + site,
		"history data, not JSON":      `UPDATE history SET data=` + flip("data") + ` WHERE revision=` + old,
		"history data absent":         `UPDATE history SET data=NULL WHERE revision=` + old,
		"history row missing":         `DELETE FROM history WHERE revision=` + old,
		"history row, newest":         `DELETE FROM history WHERE revision=` + site,
		"history of the deleted":      `DELETE FROM history WHERE name='gone'`,
		"history actor":               `UPDATE history SET actor='User platform/eve' WHERE revision=` + old,
		"history action":              `UPDATE history SET action='update' WHERE revision=` + old,
		"history time":                `UPDATE history SET time=time+1 WHERE revision=` + old,
		"history request":             `UPDATE history SET request='other' WHERE revision=` + old,
		"history uid":                 `UPDATE history SET uid='aaaaaaaaaaaaaaaaaaaaaaaaaa' WHERE revision=` + old,
		"history uid of a deletion":   `UPDATE history SET uid='aaaaaaaaaaaaaaaaaaaaaaaaaa' WHERE action='delete'`,
		"history leaf":                `UPDATE history SET seq=seq+1 WHERE revision=` + old,
		"history name":                `UPDATE history SET name='other' WHERE revision=` + old,
		"history kind":                `UPDATE history SET kind='Ban' WHERE revision=` + old,
		"history invented":            `INSERT INTO history SELECT revision+1000, kind, tenant, name, uid, action, actor, request, time, seq, data FROM history WHERE revision=` + site,
		"node at the edge":            `UPDATE node SET hash=` + flip("hash") + ` WHERE id=(SELECT max(id) FROM node)`,
		"node inside":                 `UPDATE node SET hash=` + flip("hash") + ` WHERE id=0`,
		"node missing":                `DELETE FROM node WHERE id=2`,
		"root":                        `UPDATE head SET root=` + flip("root"),
		"size":                        `UPDATE head SET size=size-1`,
		"revision":                    `UPDATE head SET revision=3`,
		"record missing":              `DELETE FROM history WHERE name='a'`,
		"record back from the dead":   `DELETE FROM history WHERE name='gone' AND action='delete'`,
	}
	c := eventful(t)
	good := c.snapshot(t)
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			c.restore(t, good)
			err := c.tryDamage(t, func(d *sql.DB) error {
				r, err := d.Exec(edit)
				if err != nil {
					return err
				}
				if n, err := r.RowsAffected(); err != nil || n == 0 {
					return fmt.Errorf("nothing was edited: %w", err)
				}
				return nil
			})
			if err == nil {
				_, err = c.Check(context.Background(), operator)
				wantCode(t, err, fault.Internal)
			}
			t.Log(err)
		})
	}
}

// An erasure that the log does not tell of is damage.
func TestAnErasureBehindTheLogIsSeen(t *testing.T) {
	for name, edit := range map[string]string{
		"everything": `DELETE FROM payload WHERE seq IN (SELECT seq FROM history WHERE name='gone'); DELETE FROM history WHERE name='gone'`,
		"payload":    `DELETE FROM payload WHERE seq IN (SELECT seq FROM history WHERE name='gone')`,
		"history":    `DELETE FROM history WHERE name='gone'`,
	} {
		t.Run(name, func(t *testing.T) {
			c := eventful(t)
			c.damage(t, func(d *sql.DB) error {
				_, err := d.Exec(edit)
				return err
			})
			_, err := c.Check(context.Background(), operator)
			wantCode(t, err, fault.Internal)
		})
	}
}
