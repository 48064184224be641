package edge

// certificateExample carries a certificate whose key was thrown away.
const certificateExample = `kind: Certificate
metadata: {tenant: platform, name: shop}
spec:
  chain: |
    -----BEGIN CERTIFICATE-----
    MIIBqjCCAVCgAwIBAgIUHX4wBe0UDWxur29jDXJE2hWBbygwCgYIKoZIzj0EAwIw
    GzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTAgFw0yNjExMjUxNTE5MjdaGA8y
    MTI2MTEwMTE1MTkyN1owGzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTBZMBMG
    ByqGSM49AgEGCCqGSM49AwEHA0IABEMSj200C0X9Gy2ZiZ/aVj1D3goVLJaPDx3q
    JQqgXLYLEz8fDi49g2v9ibz6NozNNZhyZrSwgJUAWtorfYuR5bSjcDBuMB0GA1Ud
    DgQWBBQIrG28KPTrruD/iiCx3CA7MWw/BDAfBgNVHSMEGDAWgBQIrG28KPTrruD/
    iiCx3CA7MWw/BDAPBgNVHRMBAf8EBTADAQH/MBsGA1UdEQQUMBKCEHNob3AuZXhh
    bXBsZS5jb20wCgYIKoZIzj0EAwIDSAAwRQIgalIi8dYIS4PmwHR1g0qA1ftrZHR1
    6nBudjZ1onakPQcCIQCyMrE8W18h4n+ycCBBoepjP8TndxnhZT8vREVfg2x/PA==
    -----END CERTIFICATE-----
`
