package main

import (
	"context"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// uploadCertificate keeps a certificate with its key; one that does not match
// the other leaves nothing behind.
func uploadCertificate(p agent.Parts) func(ctx context.Context, actor identity.Actor, tenant, name, chainPEM, keyPEM string) error {
	return func(ctx context.Context, actor identity.Actor, tenant, name, chainPEM, keyPEM string) error {
		_, err := deposit.PutWith(ctx, p.Gate, p.Secrets, deposit.Request{
			Actor: actor, Ref: resource.Ref{Kind: "Certificate", Tenant: tenant, Name: name}, Verb: "key",
		}, &resource.Object{Kind: "Certificate", Spec: &edge.CertificateSpec{Chain: chainPEM}}, []byte(keyPEM))
		return err
	}
}
