# Targets and what they do: `make`.

PREFIX  ?= /usr/local
DESTDIR ?=
# The interpreter that runs ocirt: the system's, because its path is written into the launcher.
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)

# The native launcher holds the interpreter and starts twice as fast: auto (where it can be built), yes or no.
NATIVE  ?= auto
# How the native launcher keeps itself from containers: ro-shared-page or independent-data-copy (docs/launcher.md).
export SELF_EXE ?= ro-shared-page

LIBDIR := $(PREFIX)/lib/ocirt
STAGE  := $(CURDIR)/build/ocirt
PLAIN  := $(CURDIR)/build/portable
VENV   := .venv/bin
# The portable launcher runs the same modules: what depends on how they are started, once more (tests/e2e: all).
PORTABLE_TESTS ?= $(patsubst %,tests/e2e/test_%.py,run create start exec kill delete state pause hooks terminal seccomp \
	seccomp_notify trace python executable exec_process attacks cli errors rootless namespaces checkpoint network_devices process idmap)

# Where packages are put.
DIST ?= dist

NEEDS_VENV  := python3 python3-venv
NEEDS_BUILD := python3-dev gcc libc6-dev
NEEDS_DEMO  := $(NEEDS_BUILD) busybox-static
NEEDS_TEST  := $(NEEDS_VENV) $(NEEDS_BUILD) busybox-static runc crun debootstrap libseccomp2 strace iproute2 procps util-linux uidmap podman \
	zsh fish groff-base
NEEDS_SUITE := $(NEEDS_TEST) golang-go ca-certificates
NEEDS_ENGINES := $(NEEDS_BUILD) python3 busybox-static runc podman conmon buildah containerd docker.io docker-compose catatonit tini \
	uidmap slirp4netns fuse-overlayfs containernetworking-plugins iptables iproute2 procps util-linux golang-go ca-certificates
NEEDS_BENCH := $(NEEDS_TEST) time
NEEDS_GUEST := bash git qemu-system-x86 mmdebstrap e2fsprogs

# $(call needs,packages): install the Debian packages that are missing; elsewhere, leave it to the user.
needs = missing=; command -v dpkg-query >/dev/null || { echo "not Debian: please see to it that you have: $(1)"; exit 0; }; \
	for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] || { echo "missing packages, install them as root:$$missing" >&2; exit 1; }; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; }

.DEFAULT_GOAL := help
.PHONY: bench-guest profile deb wheel engines errors fuzz help check lint test test-root test-guest e2e faults demo install uninstall conformance bench imports spec plans clean stage portable

help: ## show this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

check: lint ## format, lint, types, unit and architecture tests: seconds, no root
	$(VENV)/pytest -q tests/unit tests/architecture tests/configs tests/plans

lint: .venv/ready
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

test: ## everything, as root; installs the Debian packages and the virtual environment it needs
	@$(call needs,$(NEEDS_TEST))
	@$(MAKE) --no-print-directory lint
	@# Where an ordinary user can reach them, too: a checkout below /root is closed to others.
	@public=$$(mktemp -d /var/tmp/ocirt-test.XXXXXX) && trap "rm -rf $$public" EXIT && chmod 755 $$public && \
	$(MAKE) --no-print-directory -s install PREFIX=$$public/portable DESTDIR= NATIVE=no && \
	$(MAKE) --no-print-directory -s install PREFIX=$$public/native DESTDIR= && \
	OCIRT_RUNTIME=$$public/portable/bin/ocirt $(VENV)/pytest -q $(PORTABLE_TESTS) && \
	OCIRT_RUNTIME=$$public/native/bin/ocirt $(VENV)/pytest $(TESTS)

test-root: .venv/ready stage ## only the tests of real kernel calls (root)
	OCIRT_RUNTIME=$(STAGE)/bin/ocirt $(VENV)/pytest -q tests/kernel

test-guest: ## the tests of cgroup v2, systemd and users, in a Debian guest under qemu (root, once, for its image); TESTS=
	@$(call needs,$(NEEDS_GUEST))
	tests/guest/vm.sh --share . -- tests/guest/inside.sh $(TESTS)

e2e: .venv/ready stage ## only the tests that run containers (root)
	OCIRT_RUNTIME=$(STAGE)/bin/ocirt $(VENV)/pytest -q tests/e2e

faults: .venv/ready ## kill and fail at every step and call, not only at a sample of them; an hour (root)
	OCIRT_TEST_FAULTS=all $(VENV)/pytest -q -s tests/faults

demo: ## make a bundle from busybox, run a container and show what it printed (root)
	@$(call needs,$(NEEDS_DEMO))
	@$(MAKE) --no-print-directory stage
	@sh docs/demo.sh $(STAGE)/bin/ocirt

install: ## install ocirt into PREFIX (/usr/local); DESTDIR is honoured; NATIVE=no leaves the C compiler out
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ocirt needs Python 3.11 or newer: make install PYTHON=...")'
	@[ $(NATIVE) != yes ] || $(PYTHON) -I ocirt/launcher/native.py --check
	install -d $(DESTDIR)$(LIBDIR) $(DESTDIR)$(PREFIX)/bin
	rm -rf $(DESTDIR)$(LIBDIR)/ocirt
	cp -R ocirt $(DESTDIR)$(LIBDIR)/ocirt
	find $(DESTDIR)$(LIBDIR)/ocirt -name __pycache__ -prune -exec rm -rf {} +
	@[ "$$(id -u)" != 0 ] || chown -R root:root $(DESTDIR)$(LIBDIR)
	chmod -R u=rwX,go=rX $(DESTDIR)$(LIBDIR)
	$(PYTHON) -I -m compileall -q --invalidation-mode unchecked-hash -d $(LIBDIR)/ocirt $(DESTDIR)$(LIBDIR)/ocirt
	$(PYTHON) -I -X no_debug_ranges ocirt/launcher/write.py $(LIBDIR) $(PREFIX)/bin/ocirt $(DESTDIR)
	[ $(NATIVE) = no ] || $(PYTHON) -I -X no_debug_ranges ocirt/launcher/native.py $(LIBDIR) $(PREFIX)/bin/ocirt $(DESTDIR) \
	  || { [ $$? = 3 ] && [ $(NATIVE) = auto ]; }
	$(PYTHON) -IB ocirt/launcher/share/install.py $(DESTDIR)$(PREFIX)/share

uninstall: ## remove what install made
	rm -rf $(DESTDIR)$(LIBDIR) $(DESTDIR)$(PREFIX)/bin/ocirt
	$(PYTHON) -IB ocirt/launcher/share/install.py --remove $(DESTDIR)$(PREFIX)/share

deb: ## a Debian package of the native launcher in DIST (dist/): no compiler is needed where it is installed
	@$(call needs,$(NEEDS_BUILD))
	@root=$$(mktemp -d) && trap "rm -rf $$root" EXIT && chmod 755 $$root && mkdir -p $(DIST) && \
	$(MAKE) --no-print-directory -s install PREFIX=/usr DESTDIR=$$root NATIVE=yes >/dev/null && \
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)} \
	$(PYTHON) -I ocirt/launcher/deb.py $$root $(DIST)

wheel: .venv/ready ## a wheel in DIST (dist/), which is portable, and starts as slowly as pip's launchers do
	$(VENV)/pip wheel -q --disable-pip-version-check --no-deps --wheel-dir $(DIST) .

stage:
	@$(MAKE) --no-print-directory -s install PREFIX=$(STAGE) DESTDIR=

portable:
	@$(MAKE) --no-print-directory -s install PREFIX=$(PLAIN) DESTDIR= NATIVE=no

conformance: ## the OCI runtime-tools suite on ocirt, runc and crun; rewrites its table in docs/ (root)
	@$(call needs,$(NEEDS_SUITE))
	@$(MAKE) --no-print-directory stage .venv/ready
	$(VENV)/python conformance/run.py --runtime ocirt=$(STAGE)/bin/ocirt --runtime runc --runtime crun

engines: ## podman, containerd, CRI, docker, swarm, buildah on ocirt and on runc; rewrites docs/engines.md (root)
	@$(call needs,$(NEEDS_ENGINES))
	@$(MAKE) --no-print-directory stage
	$(PYTHON) conformance/engines/engines.py --runtime ocirt=$(STAGE)/bin/ocirt --runtime runc --write

fuzz: .venv/ready ## coverage-guided fuzzing of all that reads untrusted bytes, SECONDS=60 for each target; TARGETS=
	$(VENV)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	$(VENV)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

errors: ## what ocirt, runc and crun say of the same failures; rewrites docs/errors.md (root)
	@$(call needs,$(NEEDS_TEST))
	$(PYTHON) conformance/errors/errors.py --write
	$(PYTHON) docs/generate_errors.py

bench: ## time every verb beside runc and crun; rewrites docs/benchmarks.md (root)
	@$(call needs,$(NEEDS_BENCH))
	@$(MAKE) --no-print-directory stage portable
	$(PYTHON) conformance/bench/bench.py --write --runtime ocirt=$(STAGE)/bin/ocirt --runtime runc --runtime crun \
	  --runtime portable=$(PLAIN)/bin/ocirt

bench-guest: ## time the verbs on cgroup v2, in the guest of test-guest: ratios only, for it is emulated (root)
	@$(call needs,$(NEEDS_GUEST))
	tests/guest/vm.sh --share . -- sh -c 'make -s install PYTHON=/usr/bin/python3 && exec python3 conformance/bench/bench.py \
	  --short --rounds 8 --runtime ocirt=/usr/local/bin/ocirt --runtime runc --runtime crun'

profile: stage ## find what a container's life uses of the native launcher's memory, which is laid out by it (root)
	$(PYTHON) -I -X no_debug_ranges conformance/bench/profile.py $(STAGE)/lib/ocirt
	@$(MAKE) --no-print-directory stage

imports: ## what every command imports, and what that costs
	@$(PYTHON) -I -S conformance/bench/imports.py

spec: ## regenerate validator, views, tables and docs/conformance.md from spec/
	$(PYTHON) spec/generate.py
	$(PYTHON) spec/requirements.py

plans: .venv/ready ## rewrite the golden plans, docs/stages.md and its picture, and show the difference
	OCIRT_REWRITE_PLANS=1 $(VENV)/pytest -q tests/plans || true
	$(VENV)/python docs/generate_stages.py
	git --no-pager diff --stat -- tests/plans docs

clean: ## remove what make made in the tree
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info conformance/cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/ready: pyproject.toml
	@[ -x $(VENV)/python ] || { $(call needs,$(NEEDS_VENV)); }
	@[ -x $(VENV)/python ] || $(PYTHON) -m venv .venv
	$(VENV)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
