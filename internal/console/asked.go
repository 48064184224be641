package console

import (
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// askedRow is one change that waits for assent, as a difference.
type askedRow struct {
	gate.AskedChange
	kind *resource.Kind
	rows []changeRow
}

// asked shows what a record asks assent for; nothing for other records.
func (v *visit) asked(o *resource.Object) ([]askedRow, error) {
	list, err := v.c.opt.Gate.Asked(v.r.Context(), v.actor, o)
	if err != nil {
		return nil, err
	}
	var out []askedRow
	for _, x := range list {
		k, err := v.c.opt.Gate.Registry().Kind(x.Ref.Kind)
		if err != nil {
			return nil, err
		}
		row := askedRow{AskedChange: x, kind: k}
		if !x.Hidden {
			if row.rows, err = changesOf(k, x.Old, x.Next); err != nil {
				return nil, err
			}
		}
		out = append(out, row)
	}
	return out, nil
}
