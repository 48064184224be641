package identity

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/file"
)

// Profile is what a client holds to reach a cell and to prove who it is
// (formats.md, Profile). The pinned log key is what makes a proof worth
// anything: a server cannot change it behind the client's back.
type Profile struct {
	Version int            `yaml:"version"`
	Server  string         `yaml:"server"`
	CAPEM   string         `yaml:"caPEM"`
	Tenant  string         `yaml:"tenant"`
	Lang    string         `yaml:"lang"`
	Session ProfileSession `yaml:"session"`
	Log     ProfileLog     `yaml:"log"`
}

// ProfileSession is a bearer session.
type ProfileSession struct {
	Token   string    `yaml:"token"`
	Expires time.Time `yaml:"expires"`
}

// ProfileLog names the audit log and pins its key.
type ProfileLog struct {
	Origin string `yaml:"origin"`
	VKey   string `yaml:"vkey"`
}

const maxProfile = 256 << 10

// ReadProfile reads the file strictly.
func ReadProfile(name string) (*Profile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open profile: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open profile: %w", err)
	}
	if st.Size() > maxProfile || !st.Mode().IsRegular() {
		return nil, errors.New("read profile: not a profile")
	}
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	var p Profile
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	if p.Version != 1 {
		return nil, fmt.Errorf("read profile: version %d; this release reads version 1", p.Version)
	}
	return &p, nil
}

// Write replaces the file with mode 0600, old or new, never torn.
func (p *Profile) Write(name string) error {
	b, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode profile: %w", err)
	}
	if err := file.Replace(name, 0o600, b); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}
