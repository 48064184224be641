package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/dun-sec/dun/internal/core/resource"
)

// maxLine bounds how many containers, sources and parents one decision follows.
// What lies behind is of the highest class.
const maxLine = 256

// Class is the class of data that a record has in force.
type Class struct {
	Name     string
	Level    int      // 1 to resource.HighestLevel
	Names    []string // its own and those that it is part of
	Handling []string // acts that may be done at all
	Assent   []string // acts that need an approved request
}

// Data is what is known of data beside their class.
type Data struct {
	resource.Terms
	Type           string
	Region         string
	ContainerLevel int // resource.HighestLevel without a container
}

// actPrefix begins the actions on data themselves, as in "data.export".
const actPrefix = "data."

// DataAction is what an act on data is called in policies.
func DataAction(act string) string { return actPrefix + act }

// actOf is the act on data that an action is, "" for what is done to records.
func actOf(action string) string {
	act, ok := strings.CutPrefix(action, actPrefix)
	if !ok {
		return ""
	}
	return act
}

// Class returns the class in force of o: its label, or else that of its
// container; never below its type's, nor below those of its sources. What says
// nothing, or names a class that is not there, is of the highest.
func (s *Snapshot) Class(o *resource.Object) Class {
	left := maxLine
	return s.classOf(o, &left)
}

// Level is what others take over from a record: that of a class with those that
// it is part of, that below which no asset of a type is, or that which data have
// in force; of what is not there the highest. steps is how much was looked at.
func (s *Snapshot) Level(r resource.Ref) (level, steps int) {
	x, ok := s.records.get(refUID(r))
	switch {
	case !ok:
		return resource.HighestLevel, 1
	case x.class != nil:
		c := s.classNamed(r.Name)
		return c.Level, 1 + len(c.Names)
	case x.terms != nil:
		c := s.classNamed(cmp.Or(x.terms.Class, resource.HighestClass))
		return c.Level, 1 + len(c.Names)
	}
	left := maxLine
	return s.classOf(x.object, &left).Level, maxLine - left
}

// highestName is what className says of most records.
var highestName = Class{Name: resource.HighestClass, Names: []string{resource.HighestClass}}

// className is Class as far as the index asks: names, for each decision at once.
func (s *Snapshot) className(o *resource.Object) Class {
	if o.Metadata.Labels[resource.LabelClass] == "" && s.fixed.data[o.Kind] == nil {
		return highestName
	}
	return s.Class(o)
}

func (s *Snapshot) classOf(o *resource.Object, left *int) Class {
	if *left--; *left < 0 || o == nil {
		return highest()
	}
	label := o.Metadata.Labels[resource.LabelClass]
	a := s.assetOf(o)
	if a == nil {
		return s.classNamed(label)
	}
	if a.Of.Name != "" {
		return s.classOf(s.object(a.Of), left)
	}
	out := s.classNamed(label)
	if label == "" && a.Container.Name != "" {
		out = s.classOf(s.object(a.Container), left)
	}
	if a.Type.Name != "" {
		floor := resource.HighestClass
		if t := s.terms(a.Type); t != nil && t.Class != "" {
			floor = t.Class
		}
		out = out.with(s.classNamed(floor))
	}
	for _, src := range a.Sources {
		out = out.with(s.classOf(s.object(src), left))
	}
	return out
}

func highest() Class {
	return Class{Name: resource.HighestClass, Level: resource.HighestLevel, Names: []string{resource.HighestClass}}
}

// classNamed finds a class and those that it is part of.
func (s *Snapshot) classNamed(name string) Class {
	if name == "" {
		name = resource.HighestClass
	}
	var out Class
	for at := name; at != "" && len(out.Names) < maxLine; {
		r, ok := s.records.get(uid(resource.ClassKind, resource.Platform, at))
		if !ok || r.class == nil {
			return highest()
		}
		if at == name {
			out.Name, out.Handling, out.Assent = name, r.class.Handling, r.class.Assent
		}
		out.Level, out.Names = max(out.Level, r.class.Level), append(out.Names, at)
		at = r.class.Parent
	}
	return out
}

// with is the class of what comes from two: the higher, and of two of one
// level what both let be done.
func (c Class) with(o Class) Class {
	switch {
	case o.Level > c.Level:
		return o
	case o.Level < c.Level || o.Name == c.Name:
		return c
	}
	for _, n := range o.Names {
		if !slices.Contains(c.Names, n) {
			c.Names = append(slices.Clip(c.Names), n)
		}
	}
	either := func(x Class, act string) bool {
		return slices.Contains(x.Handling, act) || slices.Contains(x.Assent, act)
	}
	var handling, assent []string
	for _, act := range resource.DataActs() {
		switch {
		case slices.Contains(c.Handling, act) && slices.Contains(o.Handling, act):
			handling = append(handling, act)
		case either(c, act) && either(o, act):
			assent = append(assent, act)
		}
	}
	c.Handling, c.Assent = handling, assent
	return c
}

// Weaker reports whether c protects less than o: a lower level, or on the same
// level an act that o keeps from everybody or leaves to assent.
func (c Class) Weaker(o Class) bool {
	if c.Level != o.Level {
		return c.Level < o.Level
	}
	return slices.ContainsFunc(c.Handling, func(act string) bool { return !slices.Contains(o.Handling, act) }) ||
		slices.ContainsFunc(c.Assent, func(act string) bool {
			return !slices.Contains(o.Handling, act) && !slices.Contains(o.Assent, act)
		})
}

func (s *Snapshot) object(r resource.Ref) *resource.Object {
	if x, ok := s.records.get(refUID(r)); ok {
		return x.object
	}
	return nil
}

func (s *Snapshot) terms(r resource.Ref) *resource.Terms {
	if x, ok := s.records.get(refUID(r)); ok {
		return x.terms
	}
	return nil
}

func (s *Snapshot) assetOf(o *resource.Object) *resource.Asset {
	if k := s.fixed.data[o.Kind]; k != nil {
		return k.Asset(o)
	}
	return nil
}

// Data returns what type and place of o say; nothing may be done to what says
// nothing.
func (s *Snapshot) Data(o *resource.Object) Data {
	d := Data{ContainerLevel: resource.HighestLevel}
	a := s.assetOf(o)
	for left := maxLine; a != nil && a.Of.Name != "" && left > 0; left-- {
		if o = s.object(a.Of); o == nil {
			return d
		}
		a = s.assetOf(o)
	}
	if a == nil {
		return d
	}
	if t := s.terms(a.Type); t != nil {
		d.Terms, d.Type = *t, a.Type.Name
	}
	if a.Container.Name != "" {
		left := maxLine
		d.ContainerLevel = s.classOf(s.object(a.Container), &left).Level
	}
	for left := maxLine; left > 0; left-- {
		if d.Region = a.Region; d.Region != "" || a.Container.Name == "" {
			break
		}
		if up := s.object(a.Container); up == nil {
			break
		} else if a = s.assetOf(up); a == nil {
			break
		}
	}
	return d
}

// dataType is the Cedar type of what is known of data.
const dataType = `{type: String, region: String, containerLevel: Long, processing: Set<String>, purposes: Set<String>, regions: Set<String>, adminRegions: Set<String>, laws: Set<String>, unlawful: Set<String>, contracts: Set<String>, breaches: Set<String>, thirdParties: Set<String>, handling: Set<String>, assent: Set<String>}`

// dataRecord carries the same fields as dataType declares.
func dataRecord(d Data, c Class) cedar.Record {
	return cedar.NewRecord(types.RecordMap{
		"type": cedar.String(d.Type), "region": cedar.String(d.Region), "containerLevel": cedar.Long(d.ContainerLevel),
		"processing": texts(d.Processing), "purposes": texts(d.Purposes), "regions": texts(d.Regions), "adminRegions": texts(d.AdminRegions),
		"laws": texts(d.Laws), "unlawful": texts(d.Unlawful), "contracts": texts(d.Contracts), "breaches": texts(d.Breaches),
		"thirdParties": texts(d.ThirdParties), "handling": texts(c.Handling), "assent": texts(c.Assent),
	})
}

func texts(list []string) cedar.Set {
	out := make([]cedar.Value, len(list))
	for i, s := range list {
		out[i] = cedar.String(s)
	}
	return cedar.NewSet(out...)
}
