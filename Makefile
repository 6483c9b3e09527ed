# make demo    a whole campaign on two cores, no key, no network but the package registries
# make sei     the paper's own system with NEP89 as reference, to its verdict (hours; goes on where it stopped)
# make test    the tests
# make test-slurm  the cluster's tests on two real SLURMs of four nodes on this host (root; Debian, Ubuntu)
# make test-dft  labels by Quantum ESPRESSO, CP2K and GPAW, a campaign too (root; Debian, Ubuntu)
# make test-browser  the report in headless Chromium (root, where Chromium is to be installed)
# make sanitize  what reads files and runs the kernel, again under AddressSanitizer and UBSan (g++)
# make check   formatters, linters, types of files, docs/*.md that are written (what CI runs before the tests)
# make docs    docs/options.md and docs/tree.md anew, before a landing
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifneq ($(words $(CURDIR)),1)
$(error $(CURDIR): pip and shells split this path at its spaces; move the toolkit (campaigns may lie anywhere))
endif

.PHONY: demo sei nep89 systems test test-slurm slurm test-dft dft test-browser check docs sanitize setup clean

demo: setup
	@test -f $(DEMO)/task.yaml || $(BIN)/planner init dry_ice_nitrogen $(DEMO)
	$(BIN)/planner run --campaign $(DEMO)

# NEP89's file (GPL-3, Liang et al. 2025, arXiv:2504.21286) comes from a package that ships it
NEP89 := config/examples/sei/nep89.txt
SEI ?= sei
sei: setup nep89
	@test -f $(SEI)/task.yaml || $(BIN)/planner prepare --answers config/examples/sei/answers.yaml $(SEI)
	$(BIN)/planner run --campaign $(SEI)

# ordinary systems by answers alone, with NEP89; SYSTEMS= takes all of benchmarks/systems (hours)
SYSTEMS ?= rock_salt lithium
systems: setup nep89
	$(BIN)/python -m benchmarks.systems $(SYSTEMS) --nep89 $(NEP89) --work build/systems \
	--results build/systems/results --again

nep89: $(NEP89)
$(NEP89): | setup
	$(BIN)/pip install --quiet --editable '.[nep]'
	@mkdir -p build/nep89
	env -u PIP_CONSTRAINT $(BIN)/pip download --quiet --no-deps --dest build/nep89 neptrainkit==3.1.5
	tar -xzOf build/nep89/neptrainkit-3.1.5.tar.gz neptrainkit-3.1.5/src/NepTrainKit/Config/nep89.txt > $@.tmp
	@echo "75168ece02e840e4a32644f982b78d43cba697f5b64b4c8134ab66c7a8c28be1  $@.tmp" | sha256sum --check --quiet && mv $@.tmp $@

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slurm: setup slurm
	MTPILOT_SLURM=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 tests/slurm

# RUNLEVEL=1: the packages start no service
SLURM := slurm-wlm slurmctld slurmd slurmdbd munge mariadb-server openmpi-bin libpmix-dev quantum-espresso quantum-espresso-data
APT := RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -o=Dpkg::Use-Pty=0
slurm:
	@mkdir -p build; export PATH="$$PATH:/usr/sbin"; (for one in slurmdbd munged mariadbd mpirun pw.x; do command -v $$one >/dev/null || exit 1; done) \
	&& ls /usr/lib/*/libpmix.so >/dev/null 2>&1 \
	|| { $(APT) update && $(APT) install -y --no-install-recommends $(SLURM); } >build/slurm.log 2>&1 \
	|| { echo "make test-slurm: as root, apt-get install $(SLURM) (it failed, see build/slurm.log)" >&2; exit 1; }

test-dft: setup dft
	MTPILOT_DFT=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=10 tests/dft

DFT := quantum-espresso quantum-espresso-data cp2k libxc-dev libopenblas-dev g++
GPAW := gpaw==25.7.0 gpaw-data==1.2.1
dft: setup
	@mkdir -p build; (for one in pw.x cp2k; do command -v $$one >/dev/null || exit 1; done) \
	&& ls /usr/include/xc.h /usr/lib/*/libopenblas.so >/dev/null 2>&1 \
	|| { $(APT) update && $(APT) install -y --no-install-recommends $(DFT); } >build/dft.log 2>&1 \
	|| { echo "make test-dft: as root, apt-get install $(DFT) (it failed, see build/dft.log)" >&2; exit 1; }
	@printf 'mpi = False\nlibraries = ["xc", "openblas"]\n' > build/gpaw_siteconfig.py
	@$(BIN)/python -c 'import gpaw' 2>/dev/null \
	|| GPAW_CONFIG=$(CURDIR)/build/gpaw_siteconfig.py $(BIN)/pip install --no-deps $(GPAW) >build/gpaw.log 2>&1 \
	|| { echo "make test-dft: $(GPAW) was not built, see build/gpaw.log" >&2; exit 1; }

test-browser: setup
	@mkdir -p build; command -v chromium >/dev/null \
	|| { $(APT) update && $(APT) install -y --no-install-recommends chromium; } >build/chromium.log 2>&1 \
	|| { echo "make test-browser: as root, apt-get install chromium (it failed, see build/chromium.log)" >&2; exit 1; }
	MTPILOT_BROWSER=1 $(BIN)/python -m pytest tests/browser

# what `snakemake --lint` may find: everything the jobs run is in one virtual environment
LEFT := Specify a conda environment or container for each rule.:
check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/python docs/options.py --check && $(BIN)/python docs/tree.py --check
	test "$$($(BIN)/snakemake --lint 2>&1 | sed -n 's/^    [*] //p' | sort -u)" = "$(LEFT)"

docs: setup
	$(BIN)/python docs/options.py && $(BIN)/python docs/tree.py

# A copy of the package and its tests around a kernel of its own: none of it touches the build in use.
SANITIZED := build/sanitized
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
TESTS_OF_KERNEL := fuzz extremes engine calculator potential cfg selection train_objective
SANITIZER_OPTIONS := detect_leaks=0:quarantine_size_mb=16:print_stacktrace=1:abort_on_error=1

sanitize: setup
	@rm -rf $(SANITIZED)/mtp $(SANITIZED)/tests
	@mkdir -p $(SANITIZED)/tests
	@cp -R mtp pyproject.toml $(SANITIZED)/ && rm -f $(SANITIZED)/mtp/*.so
	@cp -R tests/__init__.py tests/mtp $(SANITIZED)/tests/
	@$(MAKE) --no-print-directory -j2 $(SANITIZED)/_kernel.so
	@cp $(SANITIZED)/_kernel.so $(SANITIZED)/mtp/
	@cd $(SANITIZED) && LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so.6)" \
	ASAN_OPTIONS=$(SANITIZER_OPTIONS) UBSAN_OPTIONS=$(SANITIZER_OPTIONS) OPENBLAS_NUM_THREADS=1 \
	$(CURDIR)/$(BIN)/pytest --capture=sys $(TESTS_OF_KERNEL:%=tests/mtp/test_%.py)

$(SANITIZED)/_kernel.so: $(patsubst mtp/kernel/%.cpp,$(SANITIZED)/%.o,$(wildcard mtp/kernel/*.cpp))
	g++ -shared -pthread $(SANITIZERS) $^ -o $@

$(SANITIZED)/%.o: mtp/kernel/%.cpp $(wildcard mtp/kernel/*.hpp)
	g++ -std=c++17 -O1 -g1 -fPIC -fvisibility=hidden -pthread -Wno-psabi $(SANITIZERS) \
	$$($(BIN)/python -m pybind11 --includes) -c $< -o $@

setup: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt .ci/install.py $(wildcard mtp/kernel/*)
	@$(PYTHON) .ci/install.py && touch $@

clean:
	rm -rf .venv build demo *.egg-info mtp/*.so
