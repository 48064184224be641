package kinds

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

func TestEveryExampleIsValidAndKeepsItsBytes(t *testing.T) {
	reg, err := resource.NewRegistry(All()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.All() {
		docs, err := resource.ParseYAML([]byte(k.Example))
		if err != nil || len(docs) != 1 {
			t.Fatalf("%s: %d documents, %v", k.Name, len(docs), err)
		}
		o, got, err := reg.Decode(docs[0])
		if err != nil || got != k {
			t.Fatalf("%s: %v", k.Name, err)
		}
		if err := k.Validate(o); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if k.NewState != nil {
			o.State = k.NewState() // as a creation gives it
		}
		b, err := o.Stored()
		if err != nil {
			t.Fatal(err)
		}
		again, err := reg.Load(b)
		if err != nil {
			t.Fatal(err)
		}
		if b2, _ := again.Stored(); string(b2) != string(b) {
			t.Errorf("%s: stored bytes changed:\n%s\n%s", k.Name, b, b2)
		}
		for _, c := range k.Columns {
			_ = c.Value(o)
		}
	}
}
