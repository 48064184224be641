package events

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestEventJSONIsTheFixedForm(t *testing.T) {
	e := sample(0)
	e.V, e.Request = 1, "abc"
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"id":"e0","time":"2026-03-01T12:00:00.000000Z","node":"n1","part":"edge","kind":"block","tenant":"acme",` +
		`"object":"site/shop","request":"abc","source":"192.0.2.1","action":"blocked",` +
		`"rules":[{"id":942100,"message":"SQL injection","where":"ARGS:q","match":"1' OR 1=1--"}],"attributes":{"path":"/search"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, _ := json.Marshal(Event{}); !strings.Contains(string(got), `"rules":[],"attributes":{}`) {
		t.Errorf("empty lists: %s", got)
	}
}

func TestAddBoundsEveryEvent(t *testing.T) {
	huge := strings.Repeat("a\"\\\x00é\xff\u202e\n", 40000)
	e := Event{ID: huge, Node: huge, Part: huge, Kind: huge, Tenant: huge, Object: huge, Request: huge, Source: huge, Action: huge, Attributes: map[string]string{}}
	for n := range 100 {
		e.Rules = append(e.Rules, Rule{ID: n, Message: huge, Where: huge, Match: huge})
		e.Attributes[fmt.Sprint(n)] = huge
	}
	b, size := bound(e, noon)
	if size > 64<<10 || len(b.Rules) != maxRules || len(b.Attributes) != maxAttributes {
		t.Errorf("queued: %d bytes, %d rules, %d attributes", size, len(b.Rules), len(b.Attributes))
	}
	raw, err := finish(&b)
	if err != nil || len(raw) > maxEvent || !utf8.Valid(raw) {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	got, err := decode(raw)
	if err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("decodes to %+v, %v", got, err)
	}
	for _, r := range raw {
		if r < 0x20 {
			t.Fatalf("control character %#x", r)
		}
	}
	for limit, s := range map[int]string{64: b.Kind, 160: b.Object, 128: b.Rules[0].Where, 200: b.Rules[0].Match, 300: b.Rules[0].Message} {
		if len(s) > limit || len(s) < limit-4 || strings.ContainsAny(s, "\u202e\x00") {
			t.Errorf("%d bytes of %d: %q", len(s), limit, s)
		}
	}
}

func TestAddFillsWhatIsMissing(t *testing.T) {
	for name, at := range map[string]time.Time{"zero": {}, "before 1970": noon.AddDate(-100, 0, 0), "year 10000": noon.AddDate(9000, 0, 0)} {
		if b, _ := bound(Event{Time: at}, noon.Add(1500)); !b.Time.Equal(noon.Add(time.Microsecond)) || len(b.ID) != 26 || b.V != 1 {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestAddKeepsNothingOfTheCaller(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	e := sample(1)
	l.Add(e)
	e.Rules[0].Match, e.Attributes["path"] = "changed", "changed"
	mustFlush(t, l)
	got, _ := mustSearch(t, l, Query{})
	if len(got) != 1 || got[0].Rules[0].Match != "1' OR 1=1--" || got[0].Attributes["path"] != "/search" {
		t.Errorf("got %+v", got)
	}
}
