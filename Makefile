# make test is what every change must pass; the other targets are its parts and
# the long runs. Only Go is needed to build; scripts/install-test-deps brings the
# clients and servers that tests drive.

export CGO_ENABLED = 0

GO      = go
TOOL    = $(GO) tool -modfile=tools/go.mod

FUZZTIME = 10m
FUZZ     = .
COUNT    = 6
CRASH    = 36
RESULTS  = bench-results
BASE     = origin/main
PKG      = ./...

.PHONY: dev build test check lint unit interop pkcs11 race fuzz crash bench bench-go bench-compare vuln fmt clean

# A complete mail system on loopback ports.
dev:
	$(GO) run ./cmd/postino dev

build:
	$(GO) build -trimpath -ldflags "-s -w" -o bin/postino ./cmd/postino

# Everything, in the order of cost.
test:
	@scripts/install-test-deps
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory interop
	@$(MAKE) --no-print-directory pkcs11

# The quick round while working: no real clients, long tests shortened.
check: lint
	$(GO) test -short $(PKG)

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt these files:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

unit:
	$(GO) test -timeout 15m $$($(GO) list ./... | grep -v /test/interop)

# Real clients against the real program.
interop:
	$(GO) test -timeout 8m -count=1 ./test/interop/...

# Keys in tokens, with SoftHSM. Needs a C compiler.
pkcs11:
	@if command -v cc >/dev/null; then \
		CGO_ENABLED=1 $(GO) vet -tags pkcs11 ./directory ./app ./cmd/postino && \
		CGO_ENABLED=1 $(GO) test -tags pkcs11 -count=1 -run 'PKCS11' ./directory ./app; \
	else echo "pkcs11: skipped, there is no C compiler"; fi

# Needs a C compiler, for the race detector's runtime.
race:
	CGO_ENABLED=1 $(GO) test -race -short $(PKG)

# Every fuzz target, one after the other, FUZZTIME each. FUZZ chooses by name.
fuzz:
	@scripts/fuzz $(FUZZTIME) '$(FUZZ)'

# The long forms of what shows that no mail is lost: more than 20,000 power cuts
# over the storage interface, 300 kill -9 of the program under load, full disks,
# failing syncs. Full disks need root. See docs/durability.md.
crash:
	POSTINO_LONG=1 POSTINO_CRASH=$(CRASH) $(GO) test -v -count=1 -timeout 12h ./test/crash/...

# Postino beside Postfix, Dovecot and Cyrus; see test/peers/README.md for BENCH,
# MATRIX and the other knobs. Needs root.
bench: build
	@scripts/install-test-deps
	test/peers/bench $(RESULTS)

# The Go benchmarks beside the code, and their comparison with another commit.
bench-go:
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) $(PKG)

bench-compare:
	@scripts/bench-compare $(BASE) $(COUNT) '$(PKG)'

# Known vulnerabilities in what we use; asks the database on line.
vuln:
	$(TOOL) govulncheck ./...

fmt:
	$(TOOL) gofumpt -l -w .

clean:
	rm -rf bin $(RESULTS)
