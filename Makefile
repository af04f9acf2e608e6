# make test   everything that CI runs, tools installed where they are missing
# make prove  the long, hostile version
SHELL := /bin/bash
GO ?= go
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help test tools vet unit prove prove-suite bench shots clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/'

test: tools vet unit ## all that CI runs

tools: ## install what the tests need, where that is possible
	@./docs/tools.sh

vet: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "not gofmt'ed"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...

unit: ## the tests, with the race detector; a missing tool fails
	CI=1 $(GO) test -race -timeout 12m ./...

prove-suite: ## plant faults in the stores; each must be found
	CI=1 $(GO) run ./linking/storetest/prove

prove: vet unit prove-suite ## the long, hostile version
	CI=1 PLACARD_PROVE=1 $(GO) test -race -timeout 4h ./cmd/placard ./bankapi/...
	CI=1 PLACARD_PROVE=1 $(GO) test -timeout 4h -v -run 'Thousand|Share' ./printing
	CI=1 $(GO) test -timeout 4h ./linking -run TestWorld -world.seeds 20000 -world.steps 300

bench: ## measure scans and attaches
	$(GO) run ./cmd/placard bench

shots: ## take pictures of every page into out/shots
	PLACARD_SHOTS=$(CURDIR)/out/shots $(GO) test ./cmd/placard -count 1 -run TestShots

clean:
	rm -rf out placard
