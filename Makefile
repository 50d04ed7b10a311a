# make build | demo | test | bench | install | uninstall | asan | clean | help
#
# Every target sets itself up: on a bare Debian 12 machine, as root, it installs the packages it misses (.ci/need) and
# says so; the Python side lives in .venv. Stamps in .make/ keep a second run quick.

PREFIX     ?= /opt/vswitch
SYSCONFDIR ?= /etc
BINDIR     ?= /usr/local/bin
UNITDIR    ?= /usr/local/lib/systemd/system
SYSUSERS   ?= /usr/local/lib/sysusers.d
COMPLETION ?= /usr/local/share/bash-completion/completions
DESTDIR    ?=
TARGET     := $(DESTDIR)$(PREFIX)

# nftables brings libnftables, by which the daemon keeps the host's stack off a netdev port.
BUILD_PACKAGES   := gcc libc6-dev nftables
DEMO_PACKAGES    := iproute2 iputils-ping iperf3
TEST_PACKAGES    := $(DEMO_PACKAGES) bridge-utils busybox-static conntrack cpio ethtool iptables isc-dhcp-client \
                    libcap2-bin nginx-light prometheus qemu-system-x86 strace systemd tcpdump wrk xz-utils zstd
BENCH_PACKAGES   := $(DEMO_PACKAGES) ethtool iptables openvswitch-switch valgrind vde2
INSTALL_PACKAGES := $(BUILD_PACKAGES) iproute2 python3 python3-dev python3-venv

PIP    := .venv/bin/python -m pip --quiet --disable-pip-version-check
NATIVE := $(shell find vswitch/_fastpath -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
PURE   := $(shell find vswitch -name '*.py')

# The first Python that is new enough and brings headers and venv: the one in PATH, else Debian's.
define PYTHON_FITS
import os, sys, sysconfig, ensurepip, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info < (3, 11) or not os.path.exists(header))
endef
export PYTHON_FITS
find_python = for python in $${PYTHON:-python3} /usr/bin/python3; do \
	$$python -c "$$PYTHON_FITS" 2>/dev/null && command -v $$python && exit; done; exit 1

.PHONY: build demo test bench install install-program install-files uninstall asan clean help
.DELETE_ON_ERROR:

help:
	@echo 'make build      .venv with vswitchd and vswitchctl'
	@echo 'make demo       three guests on one switch, in a minute'
	@echo 'make test       every test; as root, with real devices (PYTEST_ARGS=... to choose)'
	@echo 'make bench      the switch beside the kernel bridge, Open vSwitch, VDE and bare relays'
	@echo 'make install    onto this machine: $(PREFIX), $(BINDIR), $(UNITDIR), $(SYSCONFDIR)/vswitch'
	@echo 'make uninstall  off again; $(SYSCONFDIR)/vswitch stays'
	@echo 'make asan       the fast path with sanitizers, in build/asan/lib'
	@echo 'make clean      remove what was built'

build: .make/build
	@echo '.venv/bin/vswitchd and .venv/bin/vswitchctl are ready'

demo: .make/build
	@.ci/need $(DEMO_PACKAGES)
	.venv/bin/python bench/demo.py

test: .make/build .make/test .make/asan
	@.ci/need $(TEST_PACKAGES)
	.venv/bin/pytest $(PYTEST_ARGS)

bench: .make/build .make/bench
	@.ci/need $(BENCH_PACKAGES)
	.venv/bin/python -m bench $(BENCH_ARGS)

asan: .make/asan

.venv/pyvenv.cfg:
	@.ci/need $(BUILD_PACKAGES)
	@( $(find_python) ) >/dev/null || .ci/need python3 python3-dev python3-venv
	@python=$$( $(find_python) ) || { echo 'Python 3.11 or later, with headers and venv, is needed' >&2; exit 1; }; \
	echo "making .venv with $$python"; $$python -m venv .venv

# The build's own requirements go into .venv too, so that a rebuild needs no network.
.make/venv: .venv/pyvenv.cfg pyproject.toml
	@.ci/need $(BUILD_PACKAGES)
	@mkdir -p .make
	@echo 'installing the Python packages into .venv'
	@.venv/bin/python -c 'import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' >.make/requires.txt
	@$(PIP) install --upgrade -r .make/requires.txt wheel
	@VSWITCH_PURE=1 $(PIP) install --no-build-isolation --editable .
	@touch $@

.make/build: .make/venv setup.py $(NATIVE)
	@echo 'compiling the fast path'
	@VSWITCH_PROBE=1 .venv/bin/python setup.py --quiet build_ext --inplace
	@touch $@

.make/test .make/bench: .make/venv
	@VSWITCH_PURE=1 $(PIP) install --no-build-isolation --editable '.[$(@F)]'
	@touch $@

.make/asan: .make/build $(NATIVE) $(PURE)
	@echo 'compiling the fast path with sanitizers'
	@VSWITCH_PROBE=1 VSWITCH_SANITIZE=address,undefined .venv/bin/python setup.py --quiet build --build-lib build/asan/lib
	@touch $@

install: install-program install-files
ifeq ($(DESTDIR),)
	systemd-sysusers $(SYSUSERS)/vswitch.conf
	test ! -d /run/systemd/system || systemctl daemon-reload
	@echo 'edit $(SYSCONFDIR)/vswitch/vswitch.toml, then: systemctl enable --now vswitch'
endif

# Debian's own Python, for the service may not look into anybody's home; and a build from nothing, so that what is
# installed carries neither test doors nor what was deleted since.
install-program:
	@.ci/need $(INSTALL_PACKAGES)
	rm -rf build/release
	$${PYTHON:-/usr/bin/python3} -m venv --clear $(TARGET)
	$(TARGET)/bin/python -m pip --quiet --disable-pip-version-check install --no-compile .
	$(TARGET)/bin/python -m compileall -q -s '$(DESTDIR)' $(TARGET)/lib
	install -d $(DESTDIR)$(COMPLETION)
	_VSWITCHCTL_COMPLETE=bash_source $(TARGET)/bin/vswitchctl >$(DESTDIR)$(COMPLETION)/vswitchctl
ifneq ($(DESTDIR),)
	grep -rlIF '$(DESTDIR)' $(TARGET)/bin $(TARGET)/pyvenv.cfg | xargs -r sed -i 's|$(DESTDIR)||g'
endif

install-files:
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(UNITDIR) $(SYSUSERS) $(SYSCONFDIR)/vswitch)
	ln -sf $(PREFIX)/bin/vswitchd $(PREFIX)/bin/vswitchctl $(DESTDIR)$(BINDIR)
	sed 's|/opt/vswitch|$(PREFIX)|; s|/etc/vswitch|$(SYSCONFDIR)/vswitch|' systemd/vswitch.service \
		>$(DESTDIR)$(UNITDIR)/vswitch.service
	install -m 644 systemd/vswitch.sysusers $(DESTDIR)$(SYSUSERS)/vswitch.conf
	install -D -m 644 -t $(TARGET)/share/vswitch conf/vswitch.toml systemd/vswitch-netns.conf
	test -e $(DESTDIR)$(SYSCONFDIR)/vswitch/vswitch.toml || \
		install -m 644 conf/vswitch.toml $(DESTDIR)$(SYSCONFDIR)/vswitch/vswitch.toml

uninstall:
	-test -n '$(DESTDIR)' -o ! -d /run/systemd/system || systemctl disable --now vswitch
	rm -rf $(TARGET)
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/vswitchd $(BINDIR)/vswitchctl $(UNITDIR)/vswitch.service \
		$(SYSUSERS)/vswitch.conf $(COMPLETION)/vswitchctl)

clean:
	rm -rf .make .venv build dist *.egg-info .pytest_cache .hypothesis
	find vswitch/_fastpath \( -name '*.c' -o -name '*.so' \) -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
