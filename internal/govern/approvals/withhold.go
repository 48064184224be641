package approvals

import (
	"slices"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Withhold implements gate.Approvals. What policy would decide otherwise names
// records, and why a request failed may repeat what was asked for: both go with
// the content.
func (Rules) Withhold(o *resource.Object) *resource.Object {
	out := *o
	spec := *o.Spec.(*access.ChangeRequestSpec)
	spec.Changes = slices.Clone(spec.Changes)
	for i := range spec.Changes {
		c := &spec.Changes[i]
		c.Withheld, c.Content = c.Content != "", ""
	}
	out.Spec = &spec
	if st := stateOf(o); st.Phase == access.PhaseFailed {
		state := *st
		state.Outcome = ""
		out.State = &state
	}
	if s, ok := o.Status.(*access.ChangeRequestStatus); ok && s != nil {
		status := *s
		status.Denied, status.Allowed = nil, nil
		out.Status = &status
	}
	return &out
}
