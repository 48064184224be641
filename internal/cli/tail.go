package cli

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
)

// tailQuery narrows dun audit tail.
type tailQuery struct {
	n                                  int
	actor, kind, record, class, action string
	since, until, log                  string
	from, to                           time.Time
}

// opened is a leaf that was checked against what it commits to.
type opened struct {
	leaf   audit.Leaf
	values audit.Values
}

func (o *opened) record() string {
	return orErased(o.values[audit.FieldTenant]) + "/" + string(o.values[audit.FieldName])
}

// wants compares without regard to case and takes parts: an auditor looks for
// "zhou", not for "User platform/zhou-min".
func (q *tailQuery) wants(o *opened) bool {
	has := func(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
	return has(string(o.values[audit.FieldActor]), q.actor) && has(o.record(), q.record) &&
		(q.kind == "" || strings.EqualFold(o.leaf.Kind, q.kind)) && (q.class == "" || o.leaf.Class.String() == q.class) &&
		(q.action == "" || o.leaf.Action == q.action) && (q.to.IsZero() || !o.leaf.Time.After(q.to))
}

func (a *app) auditTail() *cobra.Command {
	var q tailQuery
	cmd := &cobra.Command{
		Use: "tail", Args: cobra.NoArgs,
		Short:   a.t("Show the newest leaves, each checked against what it commits to", "显示最新的叶子,并逐一核对其承诺"),
		Example: "  dun audit tail -n 50\n  dun audit tail --actor zhou --kind Site --since 7d\n  dun audit tail --log denials --since 1h",
	}
	f := cmd.Flags()
	f.IntVarP(&q.n, "number", "n", 20, a.t("how many, 1 to 1000", "数量,1 到 1000"))
	f.StringVar(&q.actor, "actor", "", a.t("only by whom: part of the name", "仅限操作者:名称的一部分"))
	f.StringVar(&q.kind, "kind", "", a.t("only about this kind", "仅限此类型"))
	f.StringVar(&q.record, "record", "", a.t("only about this record: part of tenant/name", "仅限此记录:tenant/name 的一部分"))
	f.StringVar(&q.class, "class", "", a.t("only this class: change, login, export …", "仅限此类别:change、login、export ……"))
	f.StringVar(&q.action, "action", "", a.t("only this action: create, update, delete …", "仅限此动作:create、update、delete ……"))
	f.StringVar(&q.since, "since", "", a.t("not older than this: 15m, 2h, 7d or a time", "不早于:15m、2h、7d 或具体时间"))
	f.StringVar(&q.until, "until", "", a.t("not newer than this", "不晚于"))
	a.logFlag(cmd, &q.log)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.n < 1 || q.n > 1000 {
			return fault.New(fault.Invalid, "-n %d: want 1 to 1000", "-n %d:应为 1 到 1000", q.n)
		}
		for _, x := range []struct {
			flag, text string
			to         *time.Time
		}{{"--since", q.since, &q.from}, {"--until", q.until, &q.to}} {
			if x.text == "" {
				continue
			}
			var err error
			if *x.to, err = sinceTime(x.flag, x.text, time.Now()); err != nil {
				return err
			}
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		list, err := c.tail(cmd, &q)
		if err != nil {
			return err
		}
		if a.output != "" {
			return a.tailDocument(list)
		}
		var rows [][]string
		for _, o := range list {
			rows = append(rows, []string{
				strconv.FormatUint(o.leaf.Seq, 10), when(o.leaf.Time), o.leaf.Class.String(), o.leaf.Action, o.leaf.Kind,
				o.record(), orErased(o.values[audit.FieldActor]), dashZero(o.leaf.Revision), shorten(string(o.values[audit.FieldReason])),
			})
		}
		table(a.opt.Out, []string{a.t("LEAF", "叶子"), a.t("TIME", "时间"), a.t("CLASS", "类别"), a.t("ACTION", "动作"), a.t("KIND", "类型"),
			a.t("RECORD", "记录"), a.t("ACTOR", "操作者"), a.t("REVISION", "修订"), a.t("REASON", "理由")}, rows)
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// tail reads backwards from the newest leaf until it has enough; the result is
// in the order of the log.
func (c *client) tail(cmd *cobra.Command, q *tailQuery) ([]opened, error) {
	const page = 1000
	newest, err := c.leaves(cmd, q.log, url.Values{"newest": {strconv.Itoa(page)}})
	if err != nil {
		return nil, err
	}
	var out []opened
	for len(newest) > 0 {
		for i := len(newest) - 1; i >= 0; i-- {
			leaf, v, err := newest[i].open()
			if err != nil {
				return nil, doesNotVerify(err)
			}
			o := opened{leaf, v}
			if leaf.Time.Before(q.from) { // times of leaves ascend
				slices.Reverse(out)
				return out, nil
			}
			if q.wants(&o) {
				if out = append(out, o); len(out) == q.n {
					slices.Reverse(out)
					return out, nil
				}
			}
		}
		first := newest[0].Seq
		if first == 0 {
			break
		}
		from := first - min(first, page)
		if newest, err = c.leaves(cmd, q.log, url.Values{"from": {strconv.FormatUint(from, 10)}, "limit": {strconv.FormatUint(first-from, 10)}}); err != nil {
			return nil, err
		}
	}
	slices.Reverse(out)
	return out, nil
}

func (a *app) tailDocument(list []opened) error {
	out := []map[string]any{}
	for _, o := range list {
		out = append(out, map[string]any{
			"seq": o.leaf.Seq, "time": o.leaf.Time, "class": o.leaf.Class.String(), "action": o.leaf.Action, "kind": o.leaf.Kind, "revision": o.leaf.Revision,
			"tenant": string(o.values[audit.FieldTenant]), "name": string(o.values[audit.FieldName]), "actor": string(o.values[audit.FieldActor]),
			"reason": string(o.values[audit.FieldReason]), "context": rawOrNull(o.values[audit.FieldContext]),
		})
	}
	return a.emit(map[string]any{"items": out})
}

// shorten keeps a table a table; -o json shows the whole.
func shorten(s string) string {
	r := []rune(s)
	if len(r) <= 80 {
		return s
	}
	return string(r[:79]) + "…"
}

func rawOrNull(b []byte) any {
	if !json.Valid(b) {
		return nil
	}
	return json.RawMessage(b)
}

func orErased(b []byte) string {
	if b == nil {
		return "(erased)"
	}
	return string(b)
}

func dashZero(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}
