package resource

import "github.com/dun-sec/dun/internal/core/fault"

// Validate checks a decoded record: metadata, then what the kind itself says.
func (k *Kind) Validate(o *Object) error {
	var r Report
	k.checkMetadata(&o.Metadata, &r)
	k.validate(o, &r)
	if err := fault.Fields(r.Fields); err != nil {
		return err
	}
	n, err := o.Size()
	if err != nil {
		return err
	}
	if n > MaxObject {
		return fault.New(fault.Invalid, "the record has %d bytes; at most %d are stored (keep files and lists of data elsewhere and refer to them)",
			"记录有 %d 字节,上限为 %d(文件和数据列表请存放在别处并引用)", n, MaxObject)
	}
	return k.checkWhole(o)
}

// checkWhole bounds a record together with its annotation LastApplied: what is
// stored must be small enough to be patched, exported and proven later.
func (k *Kind) checkWhole(o *Object) error {
	if _, ok := o.Metadata.Annotations[LastApplied]; !ok {
		return nil
	}
	b, err := o.Stored()
	if err != nil {
		return err
	}
	if len(b) > MaxInput {
		return fault.New(fault.Invalid, "the record has %d bytes with its annotation %s; at most %d are stored",
			"记录连同注解 %[2]s 有 %[1]d 字节,上限为 %[3]d", len(b), LastApplied, MaxInput)
	}
	return nil
}

func (k *Kind) checkMetadata(m *Metadata, r *Report) {
	if !ValidName(m.Name) {
		r.Add("metadata.name", "%q is not a name (a-z, 0-9 and '-', at most 63, no '-' at either end)", "%q 不是有效名称(a-z、0-9 和 -,至多 63 个字符,首尾不能是 -)", clip(m.Name))
	}
	if !ValidName(m.Tenant) {
		r.Add("metadata.tenant", "%q is not the name of a tenant", "%q 不是有效的租户名", clip(m.Tenant))
	} else if k.Scope == ScopePlatform && m.Tenant != Platform {
		r.Add("metadata.tenant", "a %s belongs to the tenant %s", "%s 属于租户 %s", k.Name, Platform)
	}
	if len(m.Labels) > maxLabels {
		r.Add("metadata.labels", "more than %d labels", "标签超过 %d 个", maxLabels)
	}
	for key, v := range m.Labels {
		if t := CheckLabelKey(key); t != nil {
			r.Add("metadata.labels."+clip(key), "%s", "%s", *t)
		}
		if t := checkString(v); t != nil {
			r.Add("metadata.labels."+clip(key), "%s", "%s", *t)
		} else if len(v) > maxLabelValue {
			r.Add("metadata.labels."+clip(key), "is longer than %d bytes", "超过 %d 字节", maxLabelValue)
		}
	}
	for key := range m.Annotations {
		if t := CheckLabelKey(key); t != nil {
			r.Add("metadata.annotations."+clip(key), "%s", "%s", *t)
		}
	}
}
