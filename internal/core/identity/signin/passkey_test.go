package signin

import (
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

var here = Place{Host: "dun.example.com", Origin: "https://dun.example.com:7443"}

// device is ann's phone.
type device struct {
	party virtualwebauthn.RelyingParty
	phone virtualwebauthn.Authenticator
	key   virtualwebauthn.Credential
}

func newDevice(uid string) *device {
	d := &device{
		party: virtualwebauthn.RelyingParty{Name: "Dun", ID: here.Host, Origin: here.Origin},
		phone: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(uid)}),
		key:   virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2),
	}
	return d
}

func (h *house) made(d *device) []byte {
	h.t.Helper()
	ask, err := h.AskNewPasskey(h.t.Context(), here, ann, h.uid)
	if err != nil {
		h.t.Fatal(err)
	}
	o, err := virtualwebauthn.ParseAttestationOptions(string(ask))
	if err != nil {
		h.t.Fatal(err)
	}
	return []byte(virtualwebauthn.CreateAttestationResponse(d.party, d.phone, d.key, *o))
}

func (h *house) proof(d *device) []byte {
	h.t.Helper()
	ask, err := h.AskPasskey(here)
	if err != nil {
		h.t.Fatal(err)
	}
	o, err := virtualwebauthn.ParseAssertionOptions(string(ask))
	if err != nil {
		h.t.Fatal(err)
	}
	return []byte(virtualwebauthn.CreateAssertionResponse(d.party, d.phone, d.key, *o))
}

func (h *house) pass(answer []byte) error {
	_, err := h.Passkey(h.t.Context(), by("192.0.2.1"), here, answer)
	return err
}

func TestAPasskeyLetsSomebodyIn(t *testing.T) {
	h := newHouse(t)
	d := newDevice(h.uid)
	if err := h.AddPasskey(t.Context(), by(""), here, ann, h.uid, "  phone ", h.made(d)); err != nil {
		t.Fatal(err)
	}
	d.phone.AddCredential(d.key)
	answer := h.proof(d)
	p, err := h.Passkey(t.Context(), by("192.0.2.1"), here, answer)
	if err != nil || p.User != ann || p.Proof != identity.ProofPasskey {
		t.Fatalf("%+v %v", p, err)
	}
	want(t, "the same proof again", h.pass(answer), fault.Unauthenticated)
	if err := h.pass(h.proof(d)); err != nil {
		t.Errorf("a second time: %v", err)
	}
	old := h.proof(d)
	h.at = h.at.Add(challengeFor)
	want(t, "too late", h.pass(old), fault.Unauthenticated)

	phished := *d
	phished.party.Origin = "https://dun.example.com.evil.test"
	want(t, "a proof for another page", h.pass(h.proof(&phished)), fault.Unauthenticated)
	elsewhere := *d
	elsewhere.party.ID = "evil.test"
	want(t, "a proof for another host", h.pass(h.proof(&elsewhere)), fault.Unauthenticated)
	unverified := *d
	unverified.phone.Options.UserNotVerified = true
	want(t, "a device that nobody unlocked", h.pass(h.proof(&unverified)), fault.Unauthenticated)
	stranger := newDevice(h.uid)
	stranger.phone.AddCredential(stranger.key)
	want(t, "a key that was never added", h.pass(h.proof(stranger)), fault.Unauthenticated)
	want(t, "no proof", h.pass([]byte("{}")), fault.Unauthenticated)

	h.uid = ""
	want(t, "a disabled user", h.pass(h.proof(d)), fault.Unauthenticated)
	h.uid = "u-another"
	want(t, "another under the old name", h.pass(h.proof(d)), fault.Unauthenticated)
}

func TestPasskeysAreAddedAndRemoved(t *testing.T) {
	h := newHouse(t)
	d := newDevice(h.uid)
	answer := h.made(d)
	want(t, "no name", h.AddPasskey(t.Context(), by(""), here, ann, h.uid, " ", answer), fault.Invalid)
	if err := h.AddPasskey(t.Context(), by(""), here, ann, h.uid, "phone", answer); err != nil {
		t.Fatal(err)
	}
	want(t, "an answer to nothing", h.AddPasskey(t.Context(), by(""), here, ann, h.uid, "phone", answer), fault.Unauthenticated)
	h.made(d)
	want(t, "an answer to an older question", h.AddPasskey(t.Context(), by(""), here, ann, h.uid, "phone", answer), fault.Invalid)
	late := h.made(newDevice(h.uid))
	h.at = h.at.Add(challengeFor)
	want(t, "too late", h.AddPasskey(t.Context(), by(""), here, ann, h.uid, "late", late), fault.Unauthenticated)

	list, err := h.Proofs(t.Context(), h.uid)
	if err != nil || len(list.Passkeys) != 1 || list.Passkeys[0].Title != "phone" || list.Passkeys[0].Host != here.Host || !list.Passkeys[0].Used.IsZero() {
		t.Fatalf("%+v %v", list, err)
	}
	want(t, "the only way in", h.RemovePasskey(t.Context(), by(""), ann, h.uid, list.Passkeys[0].ID), fault.Conflict)
	h.enrol()
	want(t, "another's", h.RemovePasskey(t.Context(), by(""), ann, "u-another", list.Passkeys[0].ID), fault.Conflict)
	if err := h.RemovePasskey(t.Context(), by(""), ann, h.uid, list.Passkeys[0].ID); err != nil {
		t.Error(err)
	}
	d.phone.AddCredential(d.key)
	want(t, "a removed key", h.pass(h.proof(d)), fault.Unauthenticated)
}

func TestAPasskeyNeedsAName(t *testing.T) {
	h := newHouse(t)
	_, err := h.AskPasskey(Place{Host: "127.0.0.1", Origin: "https://127.0.0.1:7443"})
	want(t, "an address", err, fault.Invalid)
}

func FuzzChallenge(f *testing.F) {
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":"AA"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newChallenges()
		if c.fresh(string(b), time.Now()) {
			t.Error("a made-up challenge was taken")
		}
	})
}
