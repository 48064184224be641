package resource

// Secret makes a verb take a secret. The face seals what was sent and hands the
// verb a reference: neither record nor history ever hold the content.
type Secret struct {
	Max int // bytes

	// Made = nobody sends a content: the cell makes it, and shows it once to who
	// asked.
	Made bool

	// Check judges the content against the record before it is sealed; nil =
	// anything. It returns what may be known of the content: the fingerprint
	// of a public half, or "".
	Check func(o *Object, content []byte, r *Report) (fingerprint string)
}

// Sealed is the input of a verb that takes a secret. core/deposit makes it; the
// gate takes no other, so that nobody names a secret that was not put just now.
type Sealed struct {
	Ref         string `json:"ref" required:"true" max:"28" en:"Reference" zh:"引用" help:"Where the secret lies" help_zh:"机密的存放位置"`
	Fingerprint string `json:"fingerprint,omitempty" max:"64" en:"Fingerprint" zh:"指纹" help:"Of its public half" help_zh:"其公开部分的指纹"`
}

// OnSecret binds a verb that takes a secret.
func OnSecret[S, T any](v Verb, s Secret, do func(Act[S, T, Sealed]) error) Verb {
	v = On(v, do)
	v.Secret = &s
	return v
}
