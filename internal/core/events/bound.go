package events

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/id"
)

// Limits of one event.
const (
	maxEvent      = 8 << 10 // bytes, encoded
	maxRules      = 32
	maxAttributes = 32
	maxWord       = 64
	maxObject     = 160
	maxWhere      = 128
	maxMessage    = 300
	maxMatch      = 200
	maxKey        = 64
	maxValue      = 256
	// beforeMask is kept until masking: a secret that is cut in two is no
	// longer recognised as one.
	beforeMask = 512
)

// bound copies what it keeps of e, so that the queue holds neither the caller's
// large strings nor his maps. size is about the bytes that the copy occupies.
func bound(e Event, now time.Time) (b Event, size int64) {
	b = Event{
		V: 1, ID: clean(e.ID, maxWord), Time: e.Time.UTC().Truncate(time.Microsecond),
		Node: clean(e.Node, maxWord), Part: clean(e.Part, maxWord), Kind: clean(e.Kind, maxWord),
		Tenant: clean(e.Tenant, maxWord), Object: clean(e.Object, maxObject), Request: clean(e.Request, maxWord),
		Source: clean(e.Source, maxWord), Action: clean(e.Action, maxWord),
		Rules:      make([]Rule, 0, min(len(e.Rules), maxRules)),
		Attributes: make(map[string]string, min(len(e.Attributes), maxAttributes)),
	}
	if b.ID == "" {
		b.ID = id.UID()
	}
	// Years that RFC 3339 cannot write would make an event that nobody can read.
	if e.Time.IsZero() || b.Time.Year() < 1970 || b.Time.Year() > 9999 {
		b.Time = now.UTC().Truncate(time.Microsecond)
	}
	size = 1024
	for _, r := range e.Rules[:min(len(e.Rules), maxRules)] {
		r.Message, r.Where, r.Match = clean(r.Message, beforeMask), clean(r.Where, maxWhere), clean(r.Match, beforeMask)
		b.Rules = append(b.Rules, r)
		size += int64(64 + len(r.Message) + len(r.Where) + len(r.Match))
	}
	for _, k := range firstKeys(e.Attributes) {
		key, value := clean(k, maxKey), clean(e.Attributes[k], beforeMask)
		b.Attributes[key] = value
		size += int64(64 + len(key) + len(value))
	}
	return b, size
}

// firstKeys picks the attributes that are kept, always the same ones.
func firstKeys(m map[string]string) []string {
	keys := slices.Sorted(maps.Keys(m))
	return keys[:min(len(keys), maxAttributes)]
}

// finish masks a bounded event and cuts it to its final size. Rules, then
// attributes, are given up when the whole is still over maxEvent.
func finish(e *Event) ([]byte, error) {
	for i := range e.Rules {
		r := &e.Rules[i]
		r.Message = cut(Mask(r.Message), maxMessage)
		if secretName(r.Where) {
			r.Match = hidden
		}
		r.Match = cut(Mask(r.Match), maxMatch)
	}
	for k, v := range e.Attributes {
		e.Attributes[k] = cut(maskAttribute(k, v), maxValue)
	}
	for {
		raw, err := e.MarshalJSON()
		if err != nil || len(raw) <= maxEvent {
			return raw, err
		}
		if len(e.Rules) > 1 {
			e.Rules = e.Rules[:len(e.Rules)/2]
		} else {
			e.Attributes = map[string]string{"cut": "attributes"}
		}
	}
}

// clean makes s printable and at most limit bytes: white space becomes a space;
// other control characters, direction marks (they reorder what a person reads)
// and bytes that are not UTF-8 become U+FFFD. It never keeps s itself.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:min(len(s), limit+utf8.UTFMax)] // the loop cuts at a character
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			r = ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cut shortens valid UTF-8 to at most limit bytes at a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
