package edge

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

// blunt is a feed on which sites lose their class: the edge then holds back
// nothing.
type blunt struct{ resource.Feed }

func (b blunt) Next(ctx context.Context) (resource.Batch, error) {
	batch, err := b.Feed.Next(ctx)
	for i, c := range batch.Changes {
		if c.Object != nil && c.Ref.Kind == "Site" {
			o := *c.Object
			o.Metadata.Labels = nil
			batch.Changes[i].Object = &o
		}
	}
	return batch, err
}

// TestAnAnswerAboveTheCanarysClassIsSeenEitherWay: the try tells an edge that
// holds back from one that does not, and leaves neither record nor count.
func TestAnAnswerAboveTheCanarysClassIsSeenEitherWay(t *testing.T) {
	url, asked := markedOrigin(t)
	for _, tt := range []struct {
		path   string
		broken bool
		want   ClassAnswer
	}{
		{"/?as=production-user", false, ClassAnswer{http.StatusForbidden, false, true}},
		{"/?as=public", false, ClassAnswer{http.StatusOK, true, false}},
		{"/", false, ClassAnswer{http.StatusOK, true, false}},
		{"/?as=production-user", true, ClassAnswer{http.StatusOK, true, false}},
	} {
		c := newCheckedBy(t, func(o *Options) {
			o.Dial = func(string) DialFunc {
				return func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(url, "http://"))
				}
			}
		}, func(f resource.Feed) resource.Feed {
			if tt.broken {
				return blunt{f}
			}
			return f
		})
		before := asked.Load()
		got, err := c.edge.TryClass(t.Context(), c.env, ClassTry{Site: "egress-x", Class: "public", Origin: "http://origin.canary.dun.invalid"}, tt.path, marker)
		if err != nil || got != tt.want || asked.Load() != before+1 {
			t.Errorf("%s, broken %v: %+v %v, want %+v", tt.path, tt.broken, got, err, tt.want)
		}
		if n := c.left(); n != 0 {
			t.Errorf("%d records were left behind", n)
		}
		if s := c.edge.Stats(); s.Total.Requests != 0 || s.Total.Blocked != 0 || len(c.edge.Usage()) != 0 {
			t.Errorf("the canary is counted: %+v", s)
		}
	}
}
