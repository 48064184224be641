package resource

import (
	"maps"
	"slices"
	"time"
)

// The class of whatever says no other: absent means the highest (design
// section 2).
const (
	ClassKind    = "DataClass"
	HighestClass = "production"
	HighestLevel = 4
)

// DataActs lists what can be done to data, beside what can be done to the
// record that stands for them (control 4.0-2).
func DataActs() []string {
	return []string{"read", "process", "copy", "export", "print", "share", "delete"}
}

// Class is what a record says that is a class of data.
type Class struct {
	Level    int      // 1 to HighestLevel
	Parent   string   // "" = none
	Handling []string // acts that may be done at all
	Assent   []string // acts that need an approved request
}

// Terms is what a record says that is a type of data.
type Terms struct {
	Class                      string // the lowest that an asset may have; "" = HighestClass
	Processing, Purposes       []string
	Regions, AdminRegions      []string
	Laws, Unlawful             []string // by name; acts that they forbid
	Contracts, Breaches        []string // by name; acts that they forbid
	ThirdParties               []string
	RetentionMin, RetentionMax time.Duration // 0 = none
}

// Asset is what a record says that is data or holds them.
type Asset struct {
	Of        Ref // another asset that it is about, in everything; zero = it is one itself
	Type      Ref // zero = none
	Container Ref // zero = none
	Sources   []Ref
	Region    string // "" = that of the container
}

// Share is what a record says that gives an asset to somebody else.
type Share struct {
	Of                 Ref // the asset
	Recipient, Purpose string
	Ends               time.Time
}

// Hold keeps records of a tenant from being deleted and erased.
type Hold struct {
	Tenant       string
	Kinds, Names []string          // empty = any
	Labels       map[string]string // that the record has; empty = any
	Law          string
}

// Selects reports whether o is held.
func (h *Hold) Selects(o *Object) bool {
	m := &o.Metadata
	if m.Tenant != h.Tenant || len(h.Kinds) > 0 && !slices.Contains(h.Kinds, o.Kind) || len(h.Names) > 0 && !slices.Contains(h.Names, m.Name) {
		return false
	}
	for k, v := range maps.All(h.Labels) {
		if m.Labels[k] != v {
			return false
		}
	}
	return true
}

// Class is what o says as a class of data, nil for what is none.
func (k *Kind) Class(o *Object) *Class { return k.class(o) }

// Terms is what o says as a type of data, nil for what is none.
func (k *Kind) Terms(o *Object) *Terms { return k.terms(o) }

// Asset is what o says as data, nil for what is none.
func (k *Kind) Asset(o *Object) *Asset { return k.asset(o) }

// Data reports whether records of the kind are data, or about some.
func (k *Kind) Data() bool { return k.data }

// Classed reports whether records of the kind are data, or decide the class of
// some: classes, types and assets.
func (k *Kind) Classed() bool { return k.classed }

// Share is what o gives away, nil for nothing.
func (k *Kind) Share(o *Object) *Share { return k.share(o) }

// Shares reports whether records of the kind give data away.
func (k *Kind) Shares() bool { return k.shares }

// Holds is what o keeps from deletion, nil for nothing.
func (k *Kind) Holds(o *Object) *Hold {
	if k.holds == nil {
		return nil
	}
	return k.holds(o)
}

// Keeps reports whether records of the kind can hold others.
func (k *Kind) Keeps() bool { return k.holds != nil }
