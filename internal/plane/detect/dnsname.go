package detect

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// A flood of queries for names that nobody asked before, below one zone, goes past
// every cache to the zone's own servers ("random prefixes", "water torture").
// It is told by its names: one zone, and hardly a first label twice.
const (
	randomZone   = 0.9 // of the queries are of one zone
	randomLabels = 0.9 // of those have a first label of their own
	maxLabels    = 12
)

var nameSeed = maphash.MakeSeed()

// question is what a DNS query asks for: hashes of its first label and of the
// zone below which that is; zero = none was read.
type question struct{ label, zone uint64 }

// questionOf reads the first question of a DNS message (RFC 1035, section 4.1.2),
// which may be cut anywhere.
func questionOf(message []byte) question {
	label, zone, ok := splitName(message)
	if !ok {
		return question{}
	}
	return question{maphash.String(nameSeed, label), maphash.String(nameSeed, zone)}
}

// splitName is the first label and the rest of the name that is asked for, in
// small letters; what is no name of at least two labels is none.
func splitName(message []byte) (label, zone string, ok bool) {
	if len(message) < 12 {
		return "", "", false
	}
	b := message[12:]
	var labels []string
	for range maxLabels {
		if len(b) == 0 || b[0] > 63 || len(b) < 1+int(b[0]) {
			return "", "", false
		}
		n := int(b[0])
		if n == 0 {
			break
		}
		for _, c := range b[1 : 1+n] {
			if c <= ' ' || c >= 0x7f || c == '.' {
				return "", "", false
			}
		}
		labels = append(labels, strings.ToLower(string(b[1:1+n])))
		b = b[1+n:]
	}
	if len(labels) < 2 {
		return "", "", false
	}
	return labels[0], strings.Join(labels[1:], "."), true
}

// randomPrefixes is the zone whose names a flood of queries makes up; "" = it is
// none of that kind. raw may tell its name.
func randomPrefixes(bad []seen, raw []raw) string {
	zones, labels := map[uint64]int{}, map[uint64]map[uint64]bool{}
	read, best := 0, uint64(0)
	for _, s := range bad {
		q := s.asked
		if q == (question{}) {
			continue
		}
		read++
		if labels[q.zone] == nil {
			labels[q.zone] = map[uint64]bool{}
		}
		labels[q.zone][q.label] = true
		if zones[q.zone]++; zones[q.zone] > zones[best] {
			best = q.zone
		}
	}
	n := zones[best]
	if read < wantSamples || float64(n) < randomZone*float64(len(bad)) || float64(len(labels[best])) < randomLabels*float64(n) {
		return ""
	}
	for _, x := range raw {
		p, ok := traffic.Classify(x.data)
		if !ok || x.vector != traffic.DNS || p.Payload == 0 || p.Payload > len(x.data) {
			continue
		}
		if _, zone, ok := splitName(x.data[p.Payload:]); ok && maphash.String(nameSeed, zone) == best {
			return zone
		}
	}
	return "?"
}

// namesOf puts into words what the names of a flood have in common.
func namesOf(zone string) string { return fmt.Sprintf("dns random names below %s", zone) }
