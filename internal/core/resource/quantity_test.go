package resource_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dun-sec/dun/internal/core/resource"
)

func TestDurations(t *testing.T) {
	for in, want := range map[string]string{
		"30s": "30s", "5m": "5m", "90m": "1h30m", "12h": "12h", "24h": "1d", "36h": "36h", "7d": "7d", "0s": "0s", "0": "0s", "0d": "0s", "1h0m0s": "1h", "1h10m": "1h10m", "10m0s": "10m", "1.5h": "1h30m",
		"1ms": "1ms", "70s": "1m10s", "3600s": "1h", "65535d": "65535d", "65536d": "65536d", "106751d": "106751d", "2562024h": "106751d",
	} {
		d, err := resource.ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%q is %q, want %q (%v)", in, d.String(), want, err)
		}
	}
	for _, in := range []string{"", "d", "5", "-5m", "-1d", "+1d", "1.5d", "1d12h", "5 m", "1y", "106752d", "9223372036854775807d", "99999999999999999999d", "2562048h", "0x1d", "１d"} {
		if d, err := resource.ParseDuration(in); err == nil {
			t.Errorf("%q is accepted as %v", in, d)
		} else if !strings.Contains(err.Error(), "such as 30s") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]string{
		"64KiB": "64KiB", "1024KiB": "1MiB", "2GiB": "2GiB", "1500B": "1500B", "0B": "0B", "0GiB": "0B", "1024B": "1KiB", "16 MiB": "16MiB", "4194304TiB": "4194304TiB", "4611686018427387904B": "4194304TiB",
	} {
		s, err := resource.ParseSize(in)
		if err != nil || s.String() != want {
			t.Errorf("%q is %q, want %q (%v)", in, s.String(), want, err)
		}
	}
	for _, in := range []string{"", "B", "5", "5kb", "5KB", "5K", "5kib", "-1B", "1.5GiB", "4194305TiB", "9223372036854775808B", "9007199254740993GiB", "1e3B", "5BB"} {
		if s, err := resource.ParseSize(in); err == nil {
			t.Errorf("%q is accepted as %d", in, s)
		} else if !strings.Contains(err.Error(), "such as 64KiB") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// What is written can be read again: a record that cannot be is a cell that
// does not start.
func TestQuantitiesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.OneOf(
			rapid.Int64Range(0, math.MaxInt64),
			rapid.Map(rapid.Int64Range(0, math.MaxInt64/int64(24*time.Hour)), func(days int64) int64 { return days * int64(24*time.Hour) }),
			rapid.Map(rapid.Int64Range(0, 1e6), func(m int64) int64 { return m * int64(time.Minute) }),
		).Draw(t, "ns")
		d := resource.Duration(ns)
		if got, err := resource.ParseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%d: %q is read as %d (%v)", d, d.String(), got, err)
		}
		s := resource.Size(rapid.OneOf(
			rapid.Int64Range(0, 1<<62),
			rapid.Map(rapid.Int64Range(0, 1<<22), func(n int64) int64 { return n << 40 }),
		).Draw(t, "size"))
		if got, err := resource.ParseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d: %q is read as %d (%v)", s, s.String(), got, err)
		}
	})
}
