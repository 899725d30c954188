# Everything here needs Go and make only; the tools are fetched by go run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOFUMPT := go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZ_TIME ?= 10s

.PHONY: help build test check bench fuzz clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

build: ## build bin/cim
	go build -trimpath -buildvcs=auto -o bin/cim ./cmd/cim

test: ## run every test with the race detector
	go test -race -shuffle=on -timeout 9m ./...

check: ## check format, vet, staticcheck and the architecture
	@unformatted="$$($(GOFUMPT) -l .)"; \
	if [ -n "$$unformatted" ]; then $(GOFUMPT) -d .; echo "not formatted: $$unformatted" >&2; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	go test -count=1 ./internal/arch

bench: build ## measure bin/cim and write results/latest (under 3 minutes)
	bin/cim bench --out results/latest

fuzz: ## run each fuzz target for FUZZ_TIME (default 10s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) "$$package"; \
		done; \
	done

clean: ## remove what the other targets made
	rm -rf bin results/latest
