# Everything here needs Go and make only; the tools are fetched by go run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOFUMPT := go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZ_TIME ?= 10s

.PHONY: help build daemons test faults check bench bench-cluster cluster fuzz clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

build: ## build bin/cim
	go build -trimpath -buildvcs=auto -o bin/cim ./cmd/cim

daemons: # what the tests of a cluster start
	@missing=""; \
	command -v redis-server >/dev/null || missing="redis-server"; \
	[ -f /usr/share/java/zookeeper.jar ] || missing="$$missing zookeeper"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "install first: apt-get install -y --no-install-recommends $$missing" >&2; exit 1; fi; \
	echo "installing $$missing"; \
	apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

test: daemons ## run every test with the race detector
	go test -race -shuffle=on -timeout 9m ./...

faults: daemons ## kill, stop and cut off the parts of a cluster under load, and count every delivery (40 minutes; needs root); SEED=n
	go test -count=1 -v -timeout 90m ./internal/faults -args -faults $(if $(SEED),-seed $(SEED))

check: ## check format, vet, staticcheck and the architecture
	@unformatted="$$($(GOFUMPT) -l .)"; \
	if [ -n "$$unformatted" ]; then $(GOFUMPT) -d .; echo "not formatted: $$unformatted" >&2; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	go test -count=1 ./internal/arch

bench: build ## measure bin/cim and write results/latest (under 3 minutes)
	bin/cim bench --out results/latest

bench-cluster: build daemons ## measure two servers, two routes, Redis and ZooKeeper, into results/latest-cluster (6 minutes)
	bin/cim bench --cluster --out results/latest-cluster

cluster: build daemons ## run Redis, ZooKeeper, two servers and two routes on this machine until Ctrl-C
	bin/cim cluster

fuzz: ## run each fuzz target for FUZZ_TIME (default 10s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) "$$package"; \
		done; \
	done

clean: ## remove what the other targets made
	rm -rf bin results/latest results/latest-cluster
