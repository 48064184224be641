package resource

import (
	"fmt"
	"reflect"
)

// complete says what a declaration lacks, for the registry and its test.
func (k *Kind) complete() error {
	switch {
	case k.Name == "" || k.Plural == "" || k.Short == "" || k.Nav == "":
		return fmt.Errorf("kind %q: name, plural, short and nav are needed", k.Name)
	case !ValidName(k.Plural) || !ValidName(k.Short):
		return fmt.Errorf("kind %s: plural %q and short %q are path segments in lower case", k.Name, k.Plural, k.Short)
	case k.Title.En == "" || k.Title.Zh == "" || k.Doc.En == "" || k.Doc.Zh == "":
		return fmt.Errorf("kind %s: title and doc are needed in both languages", k.Name)
	case k.Scope != ScopePlatform && k.Scope != ScopeTenant:
		return fmt.Errorf("kind %s: unknown scope %q", k.Name, k.Scope)
	case k.Version < 1 || (k.Version > 1) != (k.Upgrade != nil):
		return fmt.Errorf("kind %s: a version from 1, with an upgrade from 2", k.Name)
	case k.Example == "" || len(k.Columns) == 0 || k.Sensitivity == "" || k.ApprovalClass == "":
		return fmt.Errorf("kind %s: example, columns, sensitivity and approval class are needed", k.Name)
	case k.NewSpec == nil:
		return fmt.Errorf("kind %s: make it with Define", k.Name)
	}
	if t := reflect.TypeOf(k.NewSpec()); t.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("kind %s: the spec is not a struct", k.Name)
	}
	if err := labelled(k.Name, reflect.TypeOf(k.NewSpec()).Elem(), "spec"); err != nil {
		return err
	}
	if err := k.life(); err != nil {
		return err
	}
	for _, c := range k.Columns {
		if c.Title.En == "" || c.Title.Zh == "" || c.Value == nil {
			return fmt.Errorf("kind %s: column %q has no title in both languages or no value", k.Name, c.Title.En)
		}
	}
	return nil
}

// supported says which field the strict decoder could not fill.
func supported(t reflect.Type, path string) error {
	switch {
	case isTextual(t):
		return nil
	case t.Kind() == reflect.Pointer:
		return supported(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return supported(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map && t.Key() == reflect.TypeFor[string]():
		return supported(t.Elem(), path+"{}")
	case t.Kind() == reflect.Struct:
		for _, f := range fieldsOf(t) {
			if err := supported(f.typ, path+"."+f.name); err != nil {
				return err
			}
		}
		return nil
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64:
		return nil
	}
	return fmt.Errorf("field %s has the unsupported type %s", path, t)
}
