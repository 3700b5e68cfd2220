# Without a target, make lists what it can do.
FUZZTIME ?= 10s
FUZZPACKAGES ?= ./...
ROUNDS ?= 5
SECONDS ?= 3
RELEASES ?= go1.26.8 go1.27.0

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: ## serve http://localhost:8080
	go run .

# Without cgo, the binary needs no library of the system: it runs in an empty root, too.
build: ## build ./cars: static, and without the tables for debuggers
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o cars$(shell go env GOEXE) .

test: ## run every test
	go test ./...

# A release that is missing here is fetched. If that fails, the tests run without it.
releases: ## run every test with the oldest and the newest Go release that are supported
	@set -e; for release in $(RELEASES); do \
		if GOTOOLCHAIN=$$release go version >/dev/null 2>&1; then \
			echo "GOTOOLCHAIN=$$release go test ./..."; \
			GOTOOLCHAIN=$$release go test ./...; \
		else \
			echo "$$release can neither be found nor fetched: not tested with it"; \
		fi; \
	done

race: ## run every test under the race detector
	go test -race ./...

vet: ## look for likely mistakes, here and on the other systems
	go vet ./...
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...

fmt-check: ## name the files that gofmt would change
	@files="$$(gofmt -l .)"; if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

# With goroutines, the same input does not cover the same code each time. Without a limit,
# the search for the shortest input with the same coverage takes all the time.
fuzz: ## fuzz each target for FUZZTIME (10s, or so many times: 1000x)
	@set -e; for package in $$(go list $(FUZZPACKAGES)); do \
		tests=$$(go test -list '^Fuzz' "$$package"); \
		for target in $$(echo "$$tests" | grep '^Fuzz'); do \
			echo "go test -run '^$$' -fuzz '^$$target$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$package"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$package"; \
		done; \
	done

# The test binary is run by itself: go test would mix its progress with the results.
bench: ## measure what README promises, ROUNDS times (5) for SECONDS each (3), or only the rows that match ROWS
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && go test -c -o "$$dir/bench.exe" ./internal/e2e && cd internal/e2e && \
		"$$dir/bench.exe" -test.run '^$$' -test.bench '^BenchmarkTable$$' -test.benchtime 1x -test.timeout 2h -rounds $(ROUNDS) -seconds $(SECONDS) -rows '$(ROWS)'

# Fuzzing has a number of runs, not a time: up to Go 1.26, a target can fail just because
# its time is up (go.dev/issue/75804). The targets of package main are slow, since they ask
# the whole server. The long tests run with each release, but not under the race detector.
check: fmt-check vet releases ## what CI runs: fmt-check, vet, releases, race in short, builds for other systems, fuzz and bench in short
	go test -race -short ./...
	GOOS=darwin GOARCH=arm64 go build -o /dev/null .
	GOOS=windows GOARCH=amd64 go build -o /dev/null .
	$(MAKE) fuzz FUZZPACKAGES=. FUZZTIME=1000x
	$(MAKE) fuzz FUZZPACKAGES=./internal/... FUZZTIME=100000x
	go test -short -run '^$$' -bench . -benchtime 1x ./...

.PHONY: help run build test releases race vet fmt-check fuzz bench check
