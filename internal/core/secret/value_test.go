package secret_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/secret"
)

const canary = "canary-5hH9wq2"

// holder has it where printers do not call methods: in a field of its own.
type holder struct {
	V      secret.Value
	hidden secret.Value
	List   []secret.Value
	Map    map[string]secret.Value
	Any    any
	Ptr    *secret.Value
}

// say prints x in every way that there is.
func say(t *testing.T, x any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%o", "%c", "%10.3s"} {
		fmt.Fprintf(&b, verb+"\n", x)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&b, nil), slog.NewTextHandler(&b, nil)} {
		slog.New(h).Info("x", "secret", x, slog.Group("g", "secret", x))
	}
	for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, yaml.Marshal, func(x any) ([]byte, error) {
		var g bytes.Buffer
		err := gob.NewEncoder(&g).Encode(x)
		return g.Bytes(), err
	}} {
		out, err := encode(x)
		fmt.Fprintf(&b, "%s %v\n", out, err)
	}
	if m, ok := x.(encoding.BinaryMarshaler); ok {
		out, err := m.MarshalBinary()
		fmt.Fprintf(&b, "%s %v\n", out, err)
	}
	return b.String()
}

// found looks for the text in every form in which a careless part would give
// it away.
func found(out, text string) bool {
	dec := strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(text)), " ", ", "), "[]")
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), dec, strings.ReplaceAll(dec, ", ", " "), strings.ReplaceAll(fmt.Sprintf("%#v", []byte(text)), "[]byte{", "")} {
		if strings.Contains(out, strings.TrimSuffix(form, "}")) {
			return true
		}
	}
	return false
}

func TestNoPrinterReadsASecret(t *testing.T) {
	v := secret.New([]byte(canary))
	h := holder{v, v, []secret.Value{v}, map[string]secret.Value{"k": v}, v, &v}
	for _, x := range []any{v, &v, h, &h, []any{v}, fmt.Errorf("failed with %v: %+v", v, h)} {
		out := say(t, x)
		if found(out, canary) {
			t.Errorf("%T gives the content away:\n%s", x, out)
		}
	}
	for _, x := range []any{canary, []byte(canary), struct{ b []byte }{[]byte(canary)}} { // the net has holes of this size
		if !found(say(t, x), canary) {
			t.Errorf("a plain %T is not found: the test sees nothing", x)
		}
	}
	if string(v.Reveal()) != canary {
		t.Error("the only way does not work")
	}
	copied := v
	v.Wipe()
	if len(copied.Reveal()) != 0 {
		t.Error("a copy outlives the wipe")
	}
	secret.Value{}.Wipe()
	if (secret.Value{}).Reveal() != nil {
		t.Error("the empty one is not empty")
	}
}

func TestWipeOverwrites(t *testing.T) {
	b := []byte(canary)
	v := secret.New(b)
	v.Wipe()
	if !bytes.Equal(b, make([]byte, len(canary))) {
		t.Errorf("the buffer still holds %q", b)
	}
}

func TestRefForm(t *testing.T) {
	for ref, want := range map[secret.Ref]bool{
		"s-aaaaaaaaaaaaaaaaaaaaaaaaaa": true, "s-aaaaaaaaaaaaaaaaaaaaaaaaab": false, "s-aaaaaaaaaaaaaaaaaaaaaaaaa": false,
		"b-aaaaaaaaaaaaaaaaaaaaaaaaaa": false, "": false, "s-AAAAAAAAAAAAAAAAAAAAAAAAAA": false, "s-aaaaaaaaaaaaaaaaaaaaaaaaa\n": false,
	} {
		if ref.Valid() != want {
			t.Errorf("%q: %v", ref, !want)
		}
	}
}
