# make demo and make test are the two that matter; see README.md.

GO ?= go

.PHONY: build test check gosec vuln reproducible fmt demo bench rounds torture ha fuzz tools

build: ## the static binary, ./gatehouse
	CGO_ENABLED=0 $(GO) build -trimpath -o gatehouse ./cmd/gatehouse

demo: ## three sandbox banks, a TPP, the whole flow, then a browser
	$(GO) run ./cmd/gatehouse demo

test: tools ## every test, on SQLite and PostgreSQL; what takes longest begins first
	$(GO) run ./e2e/tally -race -timeout 30m ./oidc ./store ./...

check: ## what a machine can see of the code
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'not gofmt-ed: run make fmt'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

gosec: ## gosec over the program
	@.ci/gosec

vuln: ## known vulnerabilities of what the program calls
	@.ci/vuln

reproducible: ## two builds are the same bytes
	@.ci/reproducible

fmt:
	gofmt -w $$(git ls-files '*.go')

bench: ## CPU and allocations of the token endpoint; docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 3s ./jose ./store ./oidc

rounds: tools ## the contests between concurrent callers in their long form
	GATEHOUSE_TEST_ROUNDS=200 $(GO) test -timeout 30m -run 'Once|AtOnce' ./store ./oidc

TORTURE ?= 90s
torture: tools ## replicas and databases killed, cut off and filled up under load; docs/reliability.md
	$(GO) run ./e2e/torture -database both -duration $(TORTURE)

ha: ## the leader of a PostgreSQL cluster is killed under load, five times
	@.ci/tools cluster
	$(GO) run ./e2e/torture -database cluster -faults leader-loss -count 5 -pause 50ms

FUZZTIME ?= 10m
fuzz: ## every fuzz target for FUZZTIME under the race detector; docs/security.md
	@FUZZTIME=$(FUZZTIME) .ci/fuzz

tools: ## what the tests need beside Go: installed from Debian when missing
	@.ci/tools
