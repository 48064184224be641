// Package kinds is the one explicit list of record kinds in this program. A
// new kind is one file in its domain and one line here. It holds no behaviour.
package kinds

import (
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/build"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/kinds/response"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// All lists every kind, in the order in which people see them.
func All() []*resource.Kind {
	return []*resource.Kind{
		edge.Site(),
		edge.Certificate(),
		edge.Exclusion(),
		edge.Ban(),
		shield.ProtectedAddress(),
		shield.ScrubPolicy(),
		shield.Attack(),
		response.Incident(),
		build.Release(),
		data.DataClass(),
		data.DataType(),
		data.DataAsset(),
		data.LegalHold(),
		data.ThirdPartyDuty(),
		system.Tenant(),
		system.Node(),
		system.Token(),
		access.User(),
		access.AccessKey(),
		access.Role(),
		access.RoleBinding(),
		access.Policy(),
		access.IdentityProvider(),
		access.ApprovalRule(),
		access.CodeAccess(),
		access.ApplicationAccess(),
		access.SystemAccess(),
		access.NetworkAccess(),
		access.ChangeRequest(),
	}
}
