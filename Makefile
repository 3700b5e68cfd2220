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

# Without C, and so without the system's libraries: it runs in an empty root, too.
build: ## build ./cars: static, without what only debuggers read
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o cars$(shell go env GOEXE) .

test: ## run every test
	go test ./...

# A release that is not here is fetched. Where that cannot be, the others must do.
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

# Where goroutines are involved, what a fuzz target covers differs from run to run. Without
# a limit, the search for the shortest input that covers as much takes all the time.
fuzz: ## fuzz each target for FUZZTIME (10s, or so many times: 1000x)
	@set -e; for package in $$(go list $(FUZZPACKAGES)); do \
		tests=$$(go test -list '^Fuzz' "$$package"); \
		for target in $$(echo "$$tests" | grep '^Fuzz'); do \
			echo "go test -run '^$$' -fuzz '^$$target$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$package"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$package"; \
		done; \
	done

# The program is run by itself, since go test would write what it says of its progress among
# the results.
bench: ## measure all that is promised, ROUNDS times (5) for SECONDS each (3), or only the rows that match ROWS
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && go test -c -o "$$dir/bench.exe" ./internal/e2e && cd internal/e2e && \
		"$$dir/bench.exe" -test.run '^$$' -test.bench '^BenchmarkTable$$' -test.benchtime 1x -test.timeout 2h -rounds $(ROUNDS) -seconds $(SECONDS) -rows '$(ROWS)'

# So many times, not so long: up to Go 1.26, a target whose time is up can fail of nothing
# but that (go.dev/issue/75804). Those at the top ask the whole server, so they are slow.
# The long tests of the binary run once with each release, and not under the race detector.
check: fmt-check vet releases ## what CI runs: these, race in short, builds for other systems, fuzz and bench in short
	go test -race -short ./...
	GOOS=darwin GOARCH=arm64 go build -o /dev/null .
	GOOS=windows GOARCH=amd64 go build -o /dev/null .
	$(MAKE) fuzz FUZZPACKAGES=. FUZZTIME=1000x
	$(MAKE) fuzz FUZZPACKAGES=./internal/... FUZZTIME=100000x
	go test -short -run '^$$' -bench . -benchtime 1x ./...

.PHONY: help run build test releases race vet fmt-check fuzz bench check
