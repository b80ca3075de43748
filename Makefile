# `make up` runs Mailfleet on its test fleet; `make test` proves it. Both install what they need.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RIVALS := $(VENV)/rivals
BESIDE := $(VENV)/beside.log
# The Debian that `make deb` is for.
DEBIAN ?= 13
# The engine and the image builder of the lab, and a mail client to try it with.
PACKAGES := $(shell command -v dockerd >/dev/null || echo docker.io) iptables mmdebstrap \
	debian-archive-keyring iproute2 openssh-client ca-certificates curl \
	swaks libnet-ssleay-perl libio-socket-inet6-perl
VAGRANT := vagrant vagrant-libvirt
# What the tests compare with or talk to: mail clients, PostgreSQL, a CA, a name server, Vagrant.
COUNTERPARTS := isync pebble bind9-dnsutils postgresql faketime knot $(VAGRANT)
# What runs virtual machines.
HYPERVISOR := $(VAGRANT) libvirt-daemon-system libvirt-clients \
	qemu-system-x86 qemu-utils dnsmasq-base
PROVIDER ?= docker

.PHONY: install up down vagrant-up vagrant-destroy vagrant-vm test chaos lint deb bench clean packages counterparts

install: packages $(STAMP)

up: install
	$(BIN)/mailfleet lab up

down: $(STAMP)
	$(BIN)/mailfleet lab down

# The same fleet as Vagrant's machines. Its docker provider wants an engine that runs already.
vagrant-up: install
	@command -v vagrant >/dev/null || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends $(VAGRANT); }
	$(BIN)/mailfleet lab vagrant prepare $(PROVIDER) --state vagrant/.fleet
	cd vagrant && vagrant up --provider=$(PROVIDER)

vagrant-destroy:
	cd vagrant && vagrant destroy --force

# The fleet on boxes that we build, from their making to their end. By hand: it takes long.
vagrant-vm: install
	@$(call debian,$(HYPERVISOR))
	$(BIN)/python vagrant/vm.py

# There is one lab: what needs its hosts runs in one process. That waits more than it reckons, so
# what doesn't need it runs beside it from the beginning, behind it in the queue for processors, and
# is shown at its end: first what needs no machine, then what has a whole fleet of its own. What
# shares the lab's name servers would be hurt with them: it comes last.
test: install counterparts
	@{ nice -n 19 $(BIN)/pytest -n 2 -m "not lab" && \
	nice -n 19 $(BIN)/pytest -m own_fleet; } > $(BESIDE) 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory -j 2 lint up || { kill $$beside; exit 1; }; \
	$(BIN)/pytest -m "lab and not own_fleet and not own_machines" --ignore=tests/chaos; lab=$$?; \
	wait $$beside; other=$$?; cat $(BESIDE); \
	test $$lab = 0 && test $$other = 0
	$(BIN)/pytest tests/chaos
	$(BIN)/pytest -m own_machines

# Of the tests, those that hurt the lab; CHAOS_SEEDS=full kills twenty times at every step.
chaos: counterparts up
	$(BIN)/pytest tests/chaos

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Mailfleet's package: `make deb`, `make deb DEBIAN=12`, `make deb VERSION=0.2.0`.
deb: $(STAMP)
	@$(BIN)/python packaging/build.py --debian $(DEBIAN) $(if $(VERSION),--version $(VERSION))

bench: up $(RIVALS)/.installed
	@command -v wrk >/dev/null || { apt-get update -qq && apt-get install -y -qq wrk; }
	$(BIN)/python -m bench --json .lab/bench.json --markdown .lab/bench.md

# What the benchmarks compare with, and the Python that it needs on the hosts.
$(RIVALS)/.installed: bench/requirements.txt bench/rivals/debs.sh
	$(PYTHON) -m venv --clear $(RIVALS)
	$(RIVALS)/bin/pip install --quiet --requirement bench/requirements.txt
	bench/rivals/debs.sh $(RIVALS)/debs
	@touch $@

packages:
	@$(call debian,$(PACKAGES))

counterparts:
	@$(call debian,$(COUNTERPARTS))

# Install those of the packages that are missing.
debian = missing=$$(for name in $(1); do \
		dpkg-query -W -f '$${db:Status-Abbrev}' $$name 2>/dev/null | grep -q '^ii' || echo $$name; \
	done); \
	if [ -n "$$missing" ]; then \
		echo "installing:" $$missing; \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PYTHON)-venv; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
