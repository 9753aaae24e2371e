# Two commands matter on a fresh machine: `make demo` and `make test`.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION) $(ALIGN)
GOBUILD  = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

# Functions begin at multiples of 32 bytes on amd64, of 16 or fewer elsewhere: 0.3 MB.
ALIGN    = $(if $(filter amd64,$(shell go env GOARCH)),-funcalign=16)

# Code that is inlined is code that is there many times. The full build doesn't
# inline what runs now and then: 1.1 MB.
COLD     = $(foreach p,github.com/twmb/... github.com/pierrec/... github.com/alecthomas/... go.yaml.in/... github.com/golang-jwt/... \
	text/template/... encoding/json encoding/xml encoding/asn1 crypto/tls/... crypto/x509/... vendor/... archive/... mime/... net/smtp \
	cs/platform/... cs/remediate/... cs/storage/migrate/... cs/pipeline/explain cs/pipeline/hub/... cs/pipeline/source/kafka cs/pipeline/source/logdb \
	cs/pipeline/source/webhook cs/roles/bouncer cs/roles/cli cs/roles/config cs/roles/container cs/roles/run cs/roles/setup cs/roles/status cs/roles/takeover,-gcflags=$(p)=-l)

.PHONY: build small bouncer sizes cross demo test lint bench clean

build: ## ./cs, with everything
	$(GOBUILD) $(COLD) -o cs .

# The small builds inline only what handles log lines and decisions, and leave
# out HTTP/2, which no agent and no bouncer speaks.
NOINLINE = -gcflags=all=-l
HOT      = $(foreach p,cs/pipeline/... cs/decisions strings bytes runtime internal/... unicode/utf8 slices math/bits sync/... hash/... github.com/cespare/... github.com/gaissmai/...,-gcflags=$(p)=) \
	$(foreach p,cs/pipeline/hub/... cs/pipeline/explain cs/pipeline/expr/syntax cs/pipeline/expr/xmlpath cs/pipeline/source/docker cs/pipeline/source/journal cs/pipeline/source/logread,-gcflags=$(p)=-l)

small: ## ./cs-edge, all roles without SQL and cloud sources
	$(GOBUILD) -tags edge,nethttpomithttp2 $(NOINLINE) $(HOT) -o cs-edge .

bouncer: ## ./cs-bouncer, the firewall bouncer alone
	$(GOBUILD) -tags edge,bouncer_only,nethttpomithttp2 $(NOINLINE) -o cs-bouncer .

sizes: build small bouncer ## compare the builds with packaging/sizes.txt
	@grep -v '^#' packaging/sizes.txt | while read -r name budget; do \
		size=$$(wc -c <$$name); echo "$$name: $$size of $$budget bytes"; \
		[ $$size -le $$budget ] || { echo "$$name is over its budget"; exit 1; }; \
	done

cross: ## compile every build for every target
	.ci/cross

demo: build ## from a log line to a dropped packet, in two namespaces; needs root
	.ci/deps demo
	go run ./bench/demo ./cs

test: ## everything, race detector included
	.ci/deps test
	go vet ./...
	go test -timeout 30m ./...
	go test -timeout 30m -race -short ./...

lint: ## gofmt, vet, staticcheck
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	GOOS=windows go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

bench: build small bouncer ## one table of the numbers that matter
	go run ./bench ./cs ./cs-edge ./cs-bouncer

clean:
	rm -f cs cs-edge cs-bouncer cs.exe
