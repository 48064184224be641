# make test   install what the tests need (as root; otherwise name it) and pass all tests
# make build  the static, stripped program
# make bench  ratios against peers in the same run
# make soak   what is too long for every push
# make fuzz   every fuzz target for FUZZTIME

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

# What tests and benches run as real peers, and what the race detector needs.
TEST_PACKAGES  := gcc libc6-dev curl python3-botocore slowhttptest chromium fonts-noto-cjk libnss3-tools glewlwyd sqlite3 dnsmasq-base nftables iproute2 conntrack dnsutils softflowd
BENCH_PACKAGES := nginx wrk fastnetmon ethtool

.PHONY: build test bench soak fuzz deps bench-deps generate

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dun ./cmd/dun
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dun-verify ./cmd/dun-verify

test: deps
	$(GO) vet ./...
	$(GO) test -race -short ./internal/core/... ./internal/plane/edge/... ./internal/console ./internal/agent ./internal/govern/nodes ./internal/govern/approvals
	$(GO) test -timeout 20m -count=1 ./... # the program that end-to-end tests build is no part of the cache's key

bench: bench-deps
	$(GO) run ./bench/ready
	$(GO) run ./bench/edge
	$(GO) run ./bench/edge sites
	$(GO) run ./bench/edge slow
	$(GO) run ./bench/policy
	$(GO) run ./bench/gate
	$(GO) run ./bench/scrub
	$(GO) run ./bench/scrub alarm
	$(GO) run ./bench/scrub replay
	$(GO) run ./bench/scrub arming

soak: deps
	$(GO) test ./test/crash -count=1 -timeout 120m -kills 1000
	$(GO) test ./test/power -count=1 -timeout 60m -cuts 300
	$(GO) test ./test/scrub -run Flat -v -count=1 -timeout 90m -flood 1h
	$(GO) test -race -count=3 -timeout 60m ./internal/core/... ./internal/plane/...
	$(MAKE) fuzz FUZZTIME=5m

fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME); \
		done; done

# Files that are made from the code and committed.
generate:
	$(GO) tool templ generate -path internal/console
	$(GO) test . -run Dependencies -update
	$(GO) test ./test/reference -update

define install
	@missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
		else echo "install these Debian packages first:$$missing" >&2; exit 1; fi; \
	fi
endef

deps:
	$(call install,$(TEST_PACKAGES))

bench-deps: deps
	$(call install,$(BENCH_PACKAGES))
