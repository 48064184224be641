package deposit

import (
	"reflect"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// refsOf lists the secrets that the state of a record names in its own fields.
func refsOf(o *resource.Object) map[secret.Ref]bool {
	out := map[secret.Ref]bool{}
	if o == nil || o.State == nil {
		return out
	}
	v := reflect.ValueOf(o.State)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return out
	}
	for i := range v.Elem().NumField() {
		f := v.Elem().Field(i)
		if f.Kind() == reflect.String {
			if r := secret.Ref(f.String()); r.Valid() {
				out[r] = true
			}
		}
	}
	return out
}
