# CodeRunner's tasks. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# tools/deps.sh installs Go here when the machine has none, or an old one.
export PATH := /usr/local/lib/coderunner/go/bin:$(PATH)
export CGO_ENABLED ?= 0

# The server makes sandboxes, which only root may. Its settings go with it.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env)

LISTEN ?= 127.0.0.1:8080
DATA_DIR ?= /var/lib/coderunner
CACHE := /var/cache/coderunner
PROGRAM := bin/coderunner
LINT := $(CACHE)/bin/golangci-lint-$(shell sed -n 's/.*golangci-lint\/v2 v\([0-9.]*\).*/\1/p' tools/lint/go.mod | head -n 1)
PACKAGES = $(shell go list ./... | grep -v /e2e)
# Each of these keeps the whole machine busy, and says how soon it recovers.
ALONE = $(addprefix github.com/coderunner/coderunner/internal/,playbook sandbox/containerd)

.PHONY: help run down install uninstall build templates test faults other-faults check e2e demo examples load bench generate generated vet lint deps-run deps-test clean

help: ## list these tasks
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: deps-run build ## install what is needed, build, and serve the dashboard
	@$(AS_ROOT) bin/coderunner serve --listen $(LISTEN) --data-dir $(DATA_DIR)

down: ## stop everything that run started; the data is kept
	@if [ ! -e $(DATA_DIR) ]; then echo "There is no $(DATA_DIR): nothing runs."; exit; fi; \
	[ -x bin/coderunner ] || $(MAKE) build; \
	$(AS_ROOT) bin/coderunner down --data-dir $(DATA_DIR)

install: deps-run build ## make it a service that starts with the machine, or upgrade that
	@$(AS_ROOT) tools/service.sh install $(PROGRAM) $(LISTEN) $(DATA_DIR)

uninstall: ## end the service; data and apps stay
	@$(AS_ROOT) tools/service.sh uninstall

build: ## compile bin/coderunner
	@echo "Building bin/coderunner …"
	@go build -trimpath -buildvcs=false -o bin/coderunner ./cmd/coderunner

test: deps-test templates ## all tests but the browser's, with the race detector
	CGO_ENABLED=1 go test -race -timeout 40m $(filter-out $(ALONE),$(PACKAGES))
	CGO_ENABLED=1 go test -race -timeout 40m -p 1 $(ALONE)
	node --test static/test/*.test.js

faults: deps-test templates ## every fault in every step of every playbook, as a table
	@mkdir -p tmp && rm -f tmp/faults.txt
	@status=0; (cd internal/playbook && FAULTS=all FAULTS_REPORT=$(CURDIR)/tmp/faults.txt go test -count=1 -timeout 30m -run '^TestFaults$$') || status=$$?; \
	echo; cat tmp/faults.txt; exit $$status

# Those that the tests leave out: they kill the process and nothing else.
other-faults: deps-test templates
	cd internal/playbook && FAULTS=others go test -count=1 -timeout 30m -run '^TestFaults$$'

# The tests of this machine share one engine, so that templates are built once, and not by
# a test: the race detector makes packing several times slower.
templates: build
	@CODERUNNER_ENGINE_DIR=$(CACHE)/engine bin/coderunner appliance build --data-dir $(CACHE)/test

check: generated vet lint test other-faults e2e ## everything that a change has to pass

e2e: deps-test build ## the whole program in a real Chromium
	go test -count=1 -timeout 40m -p 1 ./e2e/...

demo: deps-run build ## one whole deploy through the API, timed and cleaned up
	@go run ./e2e/demo --program bin/coderunner

examples: deps-run build ## deploy every app of examples/ and use it; NAME=flask for one
	@go run ./e2e/examples --program bin/coderunner $(NAME)

load: deps-test build ## requests that fail or wait while versions and CodeRunner itself change
	@go test -count=1 -timeout 20m -v -run 'ComesAndGoes|ComeAndGo' ./e2e/load -timed | awk -f tools/load.awk

bench: deps-test build ## speed and memory, as ratios; see docs/PERFORMANCE.md
	@go run ./e2e/bench --program bin/coderunner

generate: deps-test ## make the generated code again: sqlc, templ, css
	go tool sqlc generate
	go tool templ generate -log-level error
	./static/build.sh

generated: generate ## prove that the committed generated code is current
	@git diff --exit-code --stat -- internal/store/sqlc views static || { echo "Generated code is stale: run 'make generate' and commit the result."; exit 1; }
	@test -z "$$(git status --porcelain -- internal/store/sqlc views static)" || { git status --short -- internal/store/sqlc views static; echo "Generated files are not committed."; exit 1; }

vet:
	go vet ./...

lint: $(LINT)
	$(LINT) run ./...

$(LINT): tools/lint/go.mod
	@echo "Building the linter, once for this version (some minutes) …"
	@mkdir -p $(@D)
	cd tools/lint && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

deps-run:
	@tools/deps.sh run

deps-test:
	@tools/deps.sh test

clean: ## remove what was built here; no data
	rm -rf bin tmp node_modules
