package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// One-time codes as every authenticator app makes them: RFC 6238, SHA-1, six
// digits, 30 s. A code of the step before and after is taken too, for clocks
// that differ.
const (
	period      = 30 // s
	skew        = 1  // steps
	digits      = 6
	secretLen   = 20 // bytes; RFC 4226 section 4, R6
	codePurpose = "one-time-code"
)

var secretCoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func newSecret() string {
	b := make([]byte, secretLen)
	rand.Read(b)
	return secretCoding.EncodeToString(b)
}

// appURI is what an authenticator app reads from the picture.
func appURI(cell string, user resource.Ref, key string) string {
	issuer := "Dun " + cell
	q := url.Values{"secret": {key}, "issuer": {issuer}}
	return "otpauth://totp/" + url.PathEscape(issuer+":"+user.Tenant+"/"+user.Name) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// matching is the newest time step after used whose code this is; 0 = none.
func matching(key, code string, now time.Time, used int64) int64 {
	code = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '\u00a0' {
			return -1
		}
		return r
	}, code)
	var found int64
	this := now.Unix() / period
	for step := this - skew; step <= this+skew; step++ {
		want, err := totp.GenerateCodeCustom(key, time.Unix(step*period, 0), totp.ValidateOpts{Period: period, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && len(code) == digits && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > used {
			found = step
		}
	}
	return found
}

// burn takes a code: it and all older ones are worth nothing from then on,
// whoever sends them and however many at once.
func (s *Store) burn(ctx context.Context, by identity.Actor, uid string, c credentials, code string) error {
	if c.code == "" {
		return refused()
	}
	v, err := s.opt.Secrets.Open(ctx, by, secret.Ref(c.code), codePurpose)
	if err != nil {
		return unavailable(err)
	}
	step := matching(string(v.Reveal()), code, s.opt.Now(), c.step)
	v.Wipe()
	if step == 0 {
		return refused()
	}
	res, err := s.opt.DB.Writer.ExecContext(ctx, `UPDATE credentials SET step = ?1 WHERE uid = ?2 AND code = ?3 AND step < ?1`, step, uid, c.code)
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return refused() // somebody else was faster
	}
	return nil
}

func again() error {
	return fault.New(fault.Unauthenticated, "this took too long, or too many codes were tried; begin again", "操作超时或验证码尝试次数过多;请重新开始")
}
