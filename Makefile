# Everything here needs Go and make only; the tools are fetched by go run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOFUMPT := go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZ_TIME ?= 10s

# What is left out of a binary: tables for debuggers. Profiles and stacks do not
# need them; make build LDFLAGS= keeps them.
LDFLAGS ?= -s -w
PREFIX ?= /usr/local

.PHONY: help build install uninstall module daemons peers terminal chromium test e2e faults check check-systems check-module bench bench-cluster bench-peers bench-soak cluster fuzz clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

build: ## build bin/cim
	go build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o bin/cim ./cmd/cim

# Where shells look for completions, below PREFIX.
BASH_COMPLETION = share/bash-completion/completions/cim
ZSH_COMPLETION = share/zsh/site-functions/_cim
FISH_COMPLETION = share/fish/vendor_completions.d/cim.fish

install: build ## install cim and its completions of bash, zsh and fish below PREFIX (/usr/local); DESTDIR=folder in front of it
	mkdir -p '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 bin/cim '$(DESTDIR)$(PREFIX)/bin/cim'
	@for shell in bash:$(BASH_COMPLETION) zsh:$(ZSH_COMPLETION) fish:$(FISH_COMPLETION); do \
		file='$(DESTDIR)$(PREFIX)'/"$${shell#*:}"; \
		mkdir -p "$$(dirname "$$file")"; \
		bin/cim completion "$${shell%%:*}" > "$$file"; \
		chmod 644 "$$file"; done
	@echo "installed $(DESTDIR)$(PREFIX)/bin/cim and its completions"

uninstall: ## remove what make install has installed, with the same PREFIX and DESTDIR
	rm -f '$(DESTDIR)$(PREFIX)/bin/cim' $(foreach file,$(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION),'$(DESTDIR)$(PREFIX)/$(file)')

module: ## give the module a path that others can fetch, MODULE=github.com/you/cim, in all files, and prove it
	@if [ -z '$(MODULE)' ]; then echo "give the path under which others fetch the module: make module MODULE=github.com/you/cim" >&2; exit 1; fi
	go run ./internal/modulepath '$(MODULE)'

daemons: # what the tests of a cluster start
	@missing=""; \
	command -v redis-server >/dev/null || missing="redis-server"; \
	[ -f /usr/share/java/zookeeper.jar ] || missing="$$missing zookeeper"; \
	[ -f /usr/share/java/slf4j-simple.jar ] || missing="$$missing libslf4j-java"; \
	command -v java >/dev/null || missing="$$missing default-jre-headless"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "install first: apt-get install -y --no-install-recommends $$missing" >&2; exit 1; fi; \
	echo "installing $$missing"; \
	apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

peers: # the systems beside ours
	@missing=""; \
	for program in nats-server redis-server mosquitto; do \
		command -v $$program >/dev/null || [ -x /usr/sbin/$$program ] || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "install first: apt-get install -y --no-install-recommends$$missing" >&2; exit 1; fi; \
	echo "installing$$missing"; \
	apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

terminal: # what the tests of the chat sit in front of
	@if command -v tmux >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "install first: apt-get install -y --no-install-recommends tmux" >&2; exit 1; fi; \
	echo "installing tmux"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tmux >/dev/null

test: daemons ## run every test with the race detector
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory peers terminal; fi # tests of one that is missing are skipped for others
	go test -race -shuffle=on -timeout 20m ./...

faults: daemons ## kill, stop and cut off the parts of a cluster under load, and count every delivery (an hour; needs root); SEED=n
	go test -count=1 -timeout 10m ./internal/model -rapid.checks=10000
	go test -count=1 -v -timeout 90m ./internal/faults -args -faults $(if $(SEED),-seed $(SEED))

chromium: # what the test of the page opens it in
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "install first: apt-get install -y --no-install-recommends chromium" >&2; exit 1; fi; \
	echo "installing chromium"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null

e2e: chromium ## test the benchmark's page in a real browser, with its network off
	cd e2e && go vet ./... && go test -count=1 ./...

check: check-systems check-module ## check format, vet, staticcheck, the architecture, other systems and another module path
	@unformatted="$$($(GOFUMPT) -l .)"; \
	if [ -n "$$unformatted" ]; then $(GOFUMPT) -d .; echo "not formatted: $$unformatted" >&2; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	go test -count=1 ./internal/arch

# The systems that cim is built for beside this one. On Windows the tests of
# these packages need signals and descriptors that it does not have.
SYSTEMS = darwin/arm64 darwin/amd64 linux/arm64 windows/amd64
UNIX_TESTS = /(bench|cmd/cim|server|store/redis|compat/redisform|internal/e2e|internal/faults)$$

check-systems: # build and vet for other systems
	@for system in $(SYSTEMS); do \
		export GOOS="$${system%/*}" GOARCH="$${system#*/}" CGO_ENABLED=0; \
		packages="$$(go list ./...)"; \
		if [ "$$GOOS" = windows ]; then packages="$$(grep -v -E '$(UNIX_TESTS)' <<< "$$packages")"; fi; \
		echo "go build, go vet for $$system"; \
		go build ./... && go vet $$packages; \
	done

check-module: # rename a copy of the tree
	go run ./internal/modulepath -try example.com/owner/cim

# Variables of make bench and make bench-cluster: REPEAT=5 for medians of
# five runs, PROFILE=1 for profiles of each process and flame graphs.
BENCH_FLAGS = $(if $(REPEAT),--repeat $(REPEAT)) $(if $(PROFILE),--profile)

bench: build ## measure bin/cim and write results/latest (under 3 minutes); REPEAT=5, PROFILE=1
	bin/cim bench $(BENCH_FLAGS) --out results/latest

bench-cluster: build daemons ## measure two servers, two routes, Redis and ZooKeeper, into results/latest-cluster (6 minutes)
	bin/cim bench --cluster $(BENCH_FLAGS) --out results/latest-cluster

bench-peers: build peers ## measure other systems and a bare server beside a standalone, in turns, into results/latest-peers (25 minutes); REPEAT=6
	bin/cim bench --peers --repeat $(or $(REPEAT),6) $(if $(PROFILE),--profile) --out results/latest-peers

bench-soak: build ## run one load for SOAK (default 30m) and say what grows, into results/latest-soak
	bin/cim bench --soak $(or $(SOAK),30m) --out results/latest-soak

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
	rm -rf bin results/latest results/latest-cluster results/latest-peers
