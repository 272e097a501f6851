# The commands of the project: `make help` lists them. What they do lives in boot/setup.sh (toolchain, QEMU, firmware),
# boot/check-machine.sh (the variables below) and the host program `boot`; here they are only put in order.

.DEFAULT_GOAL := help
.PHONY: help run test stress soak concurrency programs bench setup link-toolchain build doc clippy fmt clean check-machine
# The steps of a target are in order, and cargo runs in parallel by itself: `make -j` must change neither.
.NOTPARALLEL:
unexport MAKEFLAGS MFLAGS

# The machine. The values reach the recipes through the environment, never as text in a command, and unexpanded: quotes,
# semicolons and dollar signs in CMD= are the kernel's business and not make's or the shell's.
MEM ?= 512M
SMP ?= 1
FIRMWARE ?= bios
APIC ?= auto
export BIFOLIO_MEM := $(value MEM)
export BIFOLIO_SMP := $(value SMP)
export BIFOLIO_FIRMWARE := $(value FIRMWARE)
export BIFOLIO_APIC := $(value APIC)
export BIFOLIO_PARALLEL := $(value PARALLEL)
export BIFOLIO_CMD := $(value CMD)
export BIFOLIO_WINDOW := $(value DISPLAY_WINDOW)
export BIFOLIO_GDB := $(value GDB)
export BIFOLIO_TIMEOUT := $(value TIMEOUT)
# What `make bench` measures.
export BIFOLIO_WORKLOAD := $(value WORKLOAD)
export BIFOLIO_ALLOCATOR := $(value ALLOCATOR)
export BIFOLIO_QUICK := $(value QUICK)
export BIFOLIO_ROUNDS := $(value ROUNDS)
export BIFOLIO_UPDATE := $(value UPDATE)
unexport WORKLOAD ALLOCATOR QUICK ROUNDS UPDATE
# What `make soak` does; SEED= is heeded by the tests too.
OPERATIONS ?= 100000000
SEED ?= 1
export OPERATIONS SEED
unexport MEM SMP FIRMWARE APIC PARALLEL CMD DISPLAY_WINDOW GDB TIMEOUT

with-toolchain := @boot/setup.sh
kernel-target := --target x86_64-unknown-none

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  %s %-15s", $$1, $$2; $$1 = $$2 = ""; print }'
	@echo
	@echo 'The machine of `make run` is changed by'
	@echo '  MEM=512M            memory, 24M (UEFI: 48M) to 4T'
	@echo '  SMP=1               CPUs, 1 to 64'
	@echo '  FIRMWARE=bios       or uefi'
	@echo '  APIC=x2apic         or xapic: how CPUs reach their local APICs (else as QEMU has it)'
	@echo '  PARALLEL=1          CPUs run at the same time, and instructions are not counted'
	@echo '  CMD="alloc 3; ..."  run these shell commands, power off, and fail if one of them failed'
	@echo '  DISPLAY_WINDOW=1    show the screen of the machine'
	@echo '  GDB=1               wait for gdb before the first instruction'
	@echo '  TIMEOUT=60          end the run after that many seconds (120 with CMD, else none)'
	@echo '(`make stress` heeds MEM, FIRMWARE and PARALLEL of these.)'
	@echo 'What `make soak` does is changed by'
	@echo '  OPERATIONS=1000000  that many operations'
	@echo '  SEED=2              other ones'
	@echo 'What `make bench` and `make programs` measure is changed by'
	@echo '  QUICK=1             a fast look: fewer operations, one round'
	@echo '  ROUNDS=5            how often each time is taken'
	@echo '  WORKLOAD=pair,bulk  only workloads whose names contain one of these'
	@echo '  ALLOCATOR=bitmap    only allocators whose names contain one of these'
	@echo '  UPDATE=1            put tables and plots into docs/performance.md'

run: check-machine ## everything from a bare machine to the kernel's shell on this terminal
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo run -q -p boot -- run \
		--mem "$$BIFOLIO_MEM" --smp "$$BIFOLIO_SMP" --firmware "$$BIFOLIO_FIRMWARE" \
		$${BIFOLIO_CMD:+"--cmd=$$BIFOLIO_CMD"} $${BIFOLIO_TIMEOUT:+--timeout "$$BIFOLIO_TIMEOUT"} \
		$(if $(filter 1,$(BIFOLIO_WINDOW)),--window) $(if $(filter 1,$(BIFOLIO_GDB)),--gdb)

test: ## everything from a bare machine to all tests green; ends with `N passed, N failed`
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo run -q -p boot -- suite

stress: check-machine ## ten boots, in each of which 16 CPUs work allocator and heap at once while timers interrupt them
	$(with-toolchain) boot/build.sh
	@for seed in 1 2 3 4 5 6 7 8 9 10; do \
		boot/setup.sh cargo run -q -p boot -- run --mem "$$BIFOLIO_MEM" --smp 16 --firmware "$$BIFOLIO_FIRMWARE" \
			"--cmd=stress 5 16 $$seed; validate; lockdep" || exit; \
	done

soak: ## random operations on page frames and on the heap, each checked: a hundred million each, in some minutes
	$(with-toolchain) cargo run --release -p model

concurrency: ## loom, shuttle and ThreadSanitizer on what CPUs do to each other, each with mistakes planted for it to find
	$(with-toolchain) cargo run -q -p concurrency

programs: ## real programs with the heap preloaded as their malloc: compared with what they do without, and measured
	$(with-toolchain) cargo run -q --release -p programs -- $(if $(filter 1,$(BIFOLIO_QUICK)),--quick) \
		$${BIFOLIO_ROUNDS:+"--rounds=$$BIFOLIO_ROUNDS"} $${BIFOLIO_WORKLOAD:+"--only=$$BIFOLIO_WORKLOAD"}

bench: ## the allocator and its peers on the same operations, as tables and in target/bench
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo build --release -p bench-kernel $(kernel-target)
	$(with-toolchain) cargo build -p programs
	$(with-toolchain) cargo run --profile measured -p bench $$(command -v c++ >/dev/null && echo --features snmalloc) -- \
		$${BIFOLIO_WORKLOAD:+"--workload=$$BIFOLIO_WORKLOAD"} $${BIFOLIO_ALLOCATOR:+"--allocator=$$BIFOLIO_ALLOCATOR"} \
		$${BIFOLIO_ROUNDS:+"--rounds=$$BIFOLIO_ROUNDS"} $(if $(filter 1,$(BIFOLIO_QUICK)),--quick) \
		$(if $(filter 1,$(BIFOLIO_UPDATE)),--update docs/performance.md)

setup: ## install what is missing: the Rust toolchain, QEMU, UEFI firmware
	@boot/setup.sh

link-toolchain: ## let a rustup without network use Debian's compiler for plain cargo commands
	@boot/setup.sh --link-toolchain

build: ## the kernel and the host program, without running them
	$(with-toolchain) boot/build.sh

doc: ## the documentation of all crates, in target/doc and, for what boots, target/x86_64-unknown-none/doc
	$(with-toolchain) cargo doc --no-deps
	$(with-toolchain) cargo doc --no-deps -p kernel -p framework $(kernel-target)

clippy: ## lint everything, warnings are errors
	$(with-toolchain) cargo clippy --all-targets -- -D warnings
	$(with-toolchain) cargo clippy -p malloc --profile preloaded -- -D warnings
	$(with-toolchain) cargo clippy -p bench -p workloads -p recorder -p concurrency --all-targets -- -D warnings
	$(with-toolchain) cargo clippy -p kernel -p framework -p booted -p specimens -p bench-kernel $(kernel-target) \
		--bins --lib --tests -- -D warnings

fmt: ## format everything
	$(with-toolchain) cargo fmt --all

clean: ## remove everything that was built
	rm -rf target

check-machine:
	@boot/check-machine.sh
