package main

import (
	"context"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/resource"
)

// makeSecret lets the cell make a secret, for a page that shows it once.
func makeSecret(p agent.Parts) func(context.Context, deposit.Request) (*resource.Object, string, error) {
	return func(ctx context.Context, req deposit.Request) (*resource.Object, string, error) {
		res, v, err := deposit.Make(ctx, p.Gate, p.Secrets, req)
		defer v.Wipe()
		return res.Object, string(v.Reveal()), err
	}
}
