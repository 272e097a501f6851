# The commands of the project: `make help` lists them. What they do lives in boot/setup.sh (toolchain, QEMU, firmware) and in
# the host program `boot`; here they are only put in order.

.DEFAULT_GOAL := help
.PHONY: help run trace explorer screenshots scrub quiz test busy stress matrix mutants planted coverage miri fuzz sanitize semver soak soak-kernel states concurrency programs adopters bench setup link-toolchain build doc clippy fmt clean
.PHONY: lab lab-shell handout grade test-labs
# The steps of a target are in order, and cargo runs in parallel by itself: `make -j` must change neither.
.NOTPARALLEL:
unexport MAKEFLAGS MFLAGS

# What a user may set. The values reach the host program through the environment, as BIFOLIO_ and the name, never as text in a
# command, and unexpanded: quotes, semicolons and dollar signs in CMD= are the kernel's business and not make's or the shell's.
# The host program checks them, and says what is wrong; what is empty is not set.
variables := MEM SMP FIRMWARE APIC PARALLEL CMD APPEND EXPLORE DISPLAY_WINDOW GDB GDB_PORT QEMU_ARGS TIMEOUT
variables += MINUTES MACHINE WORKLOAD ALLOCATOR QUICK BUSY JOB ROUNDS UPDATE LESSON ANSWER TASK N FILE DIR
define hand-over
export BIFOLIO_$(1) := $$(value $(1))
unexport $(1)
endef
$(foreach variable,$(variables),$(if $(value $(variable)),$(eval $(call hand-over,$(variable)))))
# What `make soak` does; SEED= is heeded by `make quiz`, `make lab`, `make grade` and the tests too.
OPERATIONS ?= 100000000
SEED ?= 1
export OPERATIONS SEED
# How many states of each machine `make states` goes on from.
export STATES
# What `make mutants` does: so many of all mutants, and of which files.
export SAMPLE FILES
# What `make fuzz` does: of which target, and how many executions in all.
export TARGET EXECUTIONS
# What `make semver` compares with.
export BASE

with-toolchain := @boot/setup.sh
host-program := $(with-toolchain) cargo run -q -p boot --
kernel-target := --target x86_64-unknown-none
explorers-code := rustc -q -p explorer --lib --crate-type cdylib --target wasm32-unknown-unknown --profile page

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  %s %-15s", $$1, $$2; $$1 = $$2 = ""; print }'
	@echo
	@echo 'The machine of `make run` and `make trace` is changed by'
	@echo '  MEM=512M            memory, 20M (UEFI: 44M) to 4T'
	@echo '  SMP=1               CPUs, 1 to 64'
	@echo '  FIRMWARE=bios       or uefi'
	@echo '  APIC=x2apic         or xapic: how CPUs reach their local APICs; else as QEMU has them'
	@echo '  PARALLEL=1          CPUs run at the same time, and instructions are not counted'
	@echo '  CMD="alloc 3; ..."  run these shell commands, power off, and fail if one of them failed'
	@echo '  APPEND="name=1 ..." boot parameters, as on Linux: init_on_alloc, init_on_free, slab_debug,'
	@echo '                      kfence.sample_interval'
	@echo '  EXPLORE=1           show its memory in a browser while it runs, at an address that is printed'
	@echo '  DISPLAY_WINDOW=1    show the screen of the machine'
	@echo '  GDB=1               wait for gdb before the first instruction, at a free port or at GDB_PORT=1234'
	@echo '  TIMEOUT=60          end the run after that many seconds'
	@echo '  QEMU_ARGS="-d int"  further arguments for QEMU; for tests and benchmarks too'
	@echo '  QEMU=/opt/qemu/...  another QEMU than qemu-system-x86_64; for everything'
	@echo '  CHROMIUM=/opt/...   another Chromium than the one on PATH; for the pictures and tests of the explorer'
	@echo '(`make stress` heeds MEM, SMP, FIRMWARE, APIC and PARALLEL of these. Tests have machines of their own; for another one:'
	@echo ' `cargo test -p booted --target x86_64-unknown-none -- --smp 3 --gdb`, and `-- --help` for what else there is.)'
	@echo 'What `make quiz` asks is changed by'
	@echo '  LESSON=3            to which lesson of docs/lessons, 0 to 9'
	@echo '  SEED=7              which question'
	@echo '  ANSWER=1            and answers it'
	@echo '  TASK=1              in place of a question a task, and judges what CMD="..." does'
	@echo 'What `make lab` and `make grade` do is changed by'
	@echo '  N=2                 which lab'
	@echo '  FILE=my.rs          another file than tests/labs/pieces/lab2.rs (make lab, and make lab-shell)'
	@echo '  DIR=handed-in       the folder to grade (make grade), or to write to (make handout)'
	@echo '  SEED=7              other operations'
	@echo 'What `make test` does is changed by'
	@echo '  QUICK=1             what is worth its time after each change: format, lints, tests of bifolio, one machine'
	@echo '  BUSY=4              beside so many processes that keep the host busy'
	@echo '  JOB="lints; heap"   only jobs whose names contain one of these (`make busy` heeds it too)'
	@echo 'What `make soak` does is changed by'
	@echo '  OPERATIONS=1000000  that many operations'
	@echo '  SEED=2              other ones'
	@echo 'What `make states` does is changed by'
	@echo '  STATES=100000       goes on from so many states of each machine, at most'
	@echo 'What `make soak-kernel` does is changed by'
	@echo '  MINUTES=60          for so long, and to the end of the boot that is under way then'
	@echo 'What `make matrix` does is changed by'
	@echo '  MACHINE=7           that one of its machines alone, with what it says'
	@echo 'What `make mutants` does is changed by'
	@echo '  SAMPLE=60           so many mutants, chosen at random'
	@echo '  FILES="buddy.rs"    those of these files of kernel/mm/src alone'
	@echo 'What `make fuzz` does is changed by'
	@echo '  TARGET=maps         that one of its targets alone'
	@echo '  EXECUTIONS=1000000  until so many inputs of each were tried in all'
	@echo 'What `make bench` and `make programs` measure is changed by'
	@echo '  QUICK=1             a fast look: fewer operations, one round'
	@echo '  ROUNDS=9            how often each time is taken'
	@echo '  WORKLOAD=pair,bulk  only workloads whose names contain one of these'
	@echo '  ALLOCATOR=bitmap    only allocators whose names contain one of these'
	@echo '  UPDATE=1            put tables and plots into docs/performance.md'

run: ## everything from a bare machine to the kernel's shell on this terminal
	$(with-toolchain) boot/build.sh
	$(if $(filter 1,$(BIFOLIO_EXPLORE)),$(with-toolchain) cargo $(explorers-code))
	$(host-program) run

trace: ## what `run` does, and a trace of it: target/kernel.trace, and target/trace.html, a page that shows it
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo $(explorers-code)
	$(host-program) run --trace target/kernel.trace
	$(host-program) explorer --trace target/kernel.trace --out target/trace.html

explorer: ## the allocator in a browser: target/explorer.html, one file that is opened from disk
	$(with-toolchain) cargo $(explorers-code)
	$(host-program) explorer --out target/explorer.html

screenshots: ## the pictures of the explorer in README and docs, taken anew in Chromium
	$(with-toolchain) --browser cargo $(explorers-code)
	$(host-program) pictures docs/explorer

scrub: ## how long the explorer's page takes for a picture while a million operations on 4 GiB are scrubbed; fails if that is too long
	$(with-toolchain) --browser cargo $(explorers-code)
	$(host-program) scrub

quiz: ## a question to a lesson of docs/lessons, LESSON=3 SEED=7, and its answer, ANSWER=1; or TASK=1, judged
	$(with-toolchain) cargo run -q -p quiz

lab: ## a lab of docs/labs: builds the learner's file, tries it on the host and in a kernel, and says what it is worth; N=2
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo $(explorers-code)
	$(with-toolchain) cargo run -q -p lab -- try

lab-shell: ## the kernel's shell, with page frames from the learner's file of a lab: N=2
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo run -q -p lab -- shell

test-labs: ## every solution of the labs and every planted mistake, booted on all machines of `make test`; takes ten minutes
	$(with-toolchain) cargo test -p lab --test booted -- --include-ignored --nocapture

handout: ## the tree that a class is given for the labs, without solutions, in target/handout or DIR=...
	$(with-toolchain) cargo run -q -p lab -- handout

grade: ## everything that was handed in for a lab, in a folder: N=2 DIR=...; the table is target/grades.csv
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo run -q -p lab -- grade

test: ## everything from a bare machine to all tests green; ends with `N passed, N failed`; QUICK=1 for a part
	$(with-toolchain) $(if $(filter 1,$(BIFOLIO_QUICK)),,--browser) boot/build.sh
	$(host-program) suite

busy: ## all that boots machines three times, at once and beside 16 busy processes, of which no test may take notice: hours
	$(with-toolchain) boot/build.sh
	$(host-program) suite --booted 3 --busy 16

stress: ## ten boots, in each of which 16 CPUs work allocator and heap at once while timers interrupt them
	$(with-toolchain) boot/build.sh
	$(host-program) stress

matrix: ## machines of every kind, so few that any two choices meet on one: each boots, works under stress and is validated
	$(with-toolchain) boot/build.sh
	$(host-program) matrix

mutants: ## the crate with one mistake at a time, which its tests must find (cargo-mutants); SAMPLE=60 for a look
	$(with-toolchain) sh boot/mutants.sh

planted: ## seventy-five mistakes in the crate and the kernel, one in force at a time, and what catches each; UPDATE=1 for docs/assurance.md
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo run -q -p planted

coverage: ## which lines, regions and branches of the crate its tests run, and whether the list of those they do not is true
	$(with-toolchain) cargo run -q -p coverage

miri: ## tests of the crate with each step taken by hand, which finds what is no valid use of memory (Miri); target/miri
	$(with-toolchain) sh boot/miri.sh

fuzz: ## inputs that coverage guides (libFuzzer), ten million of each target, in a campaign that goes on where it was stopped; TARGET=maps
	$(with-toolchain) cargo run -q -p fuzz

sanitize: ## the tests of the crate with AddressSanitizer, where it comes with the compiler
	$(with-toolchain) sh boot/sanitize.sh

semver: ## what changed of the crate for those who use it since BASE=v0.1.0, or the last tag (cargo-semver-checks)
	$(with-toolchain) sh boot/semver.sh

soak: ## random operations on page frames and on the heap, each checked: a hundred million each, in some minutes
	$(with-toolchain) cargo run --release -p model

states: ## every state of small machines, and every operation in each, all invariants checked: over ten million of them, in minutes
	$(with-toolchain) cargo run -q -p model --bin states

soak-kernel: ## four CPUs at everything at once in a kernel, for MINUTES=60: nothing is lost, nothing grows
	$(with-toolchain) boot/build.sh
	$(host-program) soak

concurrency: ## loom, shuttle and ThreadSanitizer on what CPUs do to each other, each with mistakes planted for it to find
	$(with-toolchain) cargo run -q -p concurrency

programs: ## real programs with the heap preloaded as their malloc: compared with what they do without, and measured
	$(with-toolchain) cargo run -q --release -p programs -- $(if $(filter 1,$(BIFOLIO_QUICK)),--quick) \
		$${BIFOLIO_ROUNDS:+"--rounds=$$BIFOLIO_ROUNDS"} $${BIFOLIO_WORKLOAD:+"--only=$$BIFOLIO_WORKLOAD"}

adopters: ## kernels of somebody else's, on x86_64, riscv64 and aarch64, with their memory from the crate: booted and checked
	$(with-toolchain) --adopters cargo test -p boot --test adopters -- --include-ignored

bench: ## the allocator and its peers on the same operations, as tables and in target/bench
	$(with-toolchain) boot/build.sh
	$(with-toolchain) cargo build --release -p bench-kernel $(kernel-target)
	$(with-toolchain) cargo build -p programs
	$(with-toolchain) cargo run --profile measured -p bench $$(command -v c++ >/dev/null && echo --features snmalloc) -- \
		$${BIFOLIO_WORKLOAD:+"--workload=$$BIFOLIO_WORKLOAD"} $${BIFOLIO_ALLOCATOR:+"--allocator=$$BIFOLIO_ALLOCATOR"} \
		$${BIFOLIO_ROUNDS:+"--rounds=$$BIFOLIO_ROUNDS"} $(if $(filter 1,$(BIFOLIO_QUICK)),--quick) \
		$(if $(filter 1,$(BIFOLIO_UPDATE)),--update docs/performance.md)

setup: ## get what is missing, for this checkout alone: the Rust toolchain, QEMU, UEFI firmware
	@boot/setup.sh

link-toolchain: ## let a rustup without network use Debian's compiler for plain cargo commands
	@boot/setup.sh --link-toolchain

build: ## the kernel and the host program, without running them
	$(with-toolchain) boot/build.sh

doc: ## the documentation of all crates, in target/doc and, for what boots, target/x86_64-unknown-none/doc
	$(with-toolchain) cargo doc --no-deps
	$(with-toolchain) cargo doc --no-deps -p kernel -p stress -p framework $(kernel-target)

clippy: ## lint everything, warnings are errors
	$(host-program) lints

fmt: ## format everything
	$(with-toolchain) cargo fmt --all

clean: ## remove everything that was built; with TOOLS=1 also what was fetched to build with
	@for built in target/* target/.[!.]*; do \
		if [ "$$built" != target/tools ] || [ '$(TOOLS)' = 1 ]; then rm -rf "$$built"; fi; \
	done
