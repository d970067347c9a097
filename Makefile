# SPDX-License-Identifier: MIT
# One makefile for everything; nothing is listed by hand: a source in a room's folder belongs to that room.
#
# Everything made lies in $B. Objects are per variant ($B/obj/VARIANT), because the same source is wanted hardened
# (normal), for the library (pic), under sanitizers (asan) and under libFuzzer (fuzz). A variant's `flags` file holds the
# command line it was built with, so that another CC or CFLAGS rebuilds what it must and nothing else.

VERSION := 0.1.0
# Of the interface, which is frozen: tests/abi.
API_VERSION := $(shell sed -n 's/^\#define UPG_VERSION "\(.*\)"/\1/p' shim/upgrade.h)
B := build

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
SHAREDIR ?= $(PREFIX)/share/upgraded
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
FUZZ_SECONDS ?=
SECONDS ?= 60
SEED ?=
ROLLS ?= 100
CONNECTIONS ?= 5000

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

Q := $(if $(V),,@)
say = @printf '  %-7s %s\n' '$(1)' '$(2)'

# ---- compilers and flags ----

ifeq ($(origin CC),default)
CC := gcc
endif
IS_CLANG := $(findstring clang,$(notdir $(CC)))
PKG_CONFIG ?= pkg-config

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wswitch-enum -Wvla -Wformat=2 \
	-Wstrict-prototypes -Wmissing-prototypes -Wnull-dereference -Wcast-qual
WARNINGS_GCC := -Wlogical-op -Wduplicated-cond -Wjump-misses-init
HARDENING := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
# Control-flow enforcement is x86's; elsewhere the option is an error.
HARDENING += $(if $(filter x86_64 i%86,$(shell uname -m)),-fcf-protection)
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

comma := ,
PACKAGES := libprotobuf-c libnl-3.0 libnl-idiag-3.0 libsystemd inih jansson libisal libxxhash libelf libcurl
# Recursive on purpose: expanded when a recipe runs, by when units/setup has brought what is asked for. System headers
# (-isystem) are not ours to warn about.
PACKAGE_CFLAGS = $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(PACKAGES)))
PACKAGE_LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES))
SHIM_LIBS := -lprotobuf-c -lisal -lxxhash -lpthread

# Generated headers count as a system's: protobuf-c's initialisers would warn in every file that uses one.
# shim is where <upgrade.h> is, as applications and what is generated for them know it.
INCLUDES := -I. -isystem $B/gen -isystem shim
STANDARD := -std=gnu17 -D_GNU_SOURCE
CFLAGS ?= -g
LDFLAGS ?=
LINK := -Wl,--as-needed -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack

CC_normal = $(CC)
CFLAGS_normal := -O2 -fPIE $(HARDENING)
LDFLAGS_normal := -pie
CC_pic = $(CC)
CFLAGS_pic := -O2 -fPIC -fvisibility=hidden $(HARDENING)
CC_asan = $(CC)
CFLAGS_asan := -O1 -fPIE $(SANITIZERS)
LDFLAGS_asan := -pie $(SANITIZERS)
CC_fuzz = clang
CFLAGS_fuzz := -O1 $(SANITIZERS) -fsanitize=fuzzer-no-link
LDFLAGS_fuzz := $(SANITIZERS) -fsanitize=fuzzer

VARIANTS := normal pic asan fuzz
is_clang = $(findstring clang,$(notdir $(CC_$(1))))
compile = $(CC_$(1)) $(STANDARD) $(INCLUDES) $(PACKAGE_CFLAGS) $(CPPFLAGS) $(CFLAGS_$(1)) $(CFLAGS) -pthread
warn = $(WARNINGS) $(if $(call is_clang,$(1)),,$(WARNINGS_GCC)) $(if $(WERROR),-Werror)
link = $(CC_$(1)) $(LDFLAGS_$(1)) $(LINK) $(LDFLAGS) -pthread

# ---- what there is ----

ROOMS := base statefmt wire shim supervisor cli
RPC_PROTO = $(firstword $(wildcard /usr/include/criu/rpc.proto $B/criu/usr/include/criu/rpc.proto) criu/rpc.proto)
PROTOS := $(wildcard statefmt/*.proto statefmt/gen/*.proto wire/*.proto supervisor/*/*.proto shim/examples/*/*.proto tests/*/*.proto)
# protoc's own description of types: a state file carries its schema in these terms.
DESCRIPTOR_PROTO = $(firstword $(wildcard /usr/include/google/protobuf/descriptor.proto \
	/usr/local/include/google/protobuf/descriptor.proto) no-descriptor.proto)
GEN_H := $(PROTOS:%.proto=$B/gen/%.pb-c.h) $B/gen/supervisor/criu/rpc.pb-c.h $B/gen/google/protobuf/descriptor.pb-c.h \
	$B/gen/upgrade/options.pb-c.h $B/gen/cli/completion_scripts.h

# Schemas that say what they follow: for these protoc-gen-upgrade writes migrations.
SUCCESSORS := $(if $(PROTOS),$(shell grep -l '(upgrade\.type)' $(PROTOS)))
UPGRADE_H := $(SUCCESSORS:%.proto=$B/gen/%.upgrade.h)

# sources,DIR        every source of a folder
# room_sources,ROOM  every source of a room, those in its inner folders included
# protos,DIR         the generated code that belongs to it, as names below $B/obj/VARIANT
# main_of,FILES      those that are programs: they never go into a room's archive
# mainless,FILES     the others
# objects,VARIANT,FILES
sources = $(wildcard $(1)/*.c)
# A room's inner folders are part of it, except those that are programs, or an application's.
INNER := $(filter-out shim/examples shim/ports shim/upgrade statefmt/gen,$(patsubst %/,%,$(wildcard $(ROOMS:%=%/*/))))
room_sources = $(foreach folder,$(1) $(filter $(1)/%,$(INNER)),$(call sources,$(folder)))
protos = $(patsubst %.proto,gen/%.pb-c.o,$(wildcard $(1)/*.proto $(patsubst %,%/*.proto,$(filter $(1)/%,$(INNER))))) $(if $(filter supervisor,$(1)),gen/supervisor/criu/rpc.pb-c.o) \
	$(if $(filter statefmt,$(1)),gen/google/protobuf/descriptor.pb-c.o gen/upgrade/options.pb-c.o)
main_of = $(if $(1),$(shell grep -lE '^int main\b' $(1) /dev/null))
mainless = $(filter-out $(call main_of,$(1)),$(1))
objects = $(patsubst %.c,$B/obj/$(1)/%.o,$(2))
archives = $(foreach room,$(2),$B/obj/$(1)/$(room).a)

MAINS := $(call main_of,$(foreach room,$(ROOMS),$(call room_sources,$(room))))
SUPERVISOR_MAIN := $(filter supervisor/%,$(MAINS))
CLI_MAIN := $(filter cli/%,$(MAINS))
# What each room stands on, itself included; the arrows that tests/lint checks.
STACK_base := base
STACK_statefmt := base statefmt
STACK_wire := base wire
STACK_shim := base statefmt wire shim
STACK_supervisor := base statefmt wire supervisor
STACK_cli := base statefmt wire cli
STACK_cached := $(STACK_shim)
STACK_generator := $(STACK_shim)
STACK_loadmodel := base
STACK_wild := base wire
# The folders of unit tests: the rooms, the example service, what the generator writes, the model behind the load program, and what
# invents messages. Each is one program.
TEST_ROOMS := $(foreach room,$(ROOMS) cached generator loadmodel wild,$(if $(wildcard tests/$(room)/test_*.c),$(room)))

# ---- programs, per variant that has them ----

PROGRAMS_normal := $(if $(SUPERVISOR_MAIN),$B/upgraded) $(if $(CLI_MAIN),$B/upgradectl)
PROGRAMS_asan := $(if $(SUPERVISOR_MAIN),$B/asan/upgraded) $(if $(CLI_MAIN),$B/asan/upgradectl)

# What compares schemas is for the tools: applications do not carry it.
TOOLS_ONLY := $(wildcard statefmt/annotation.c statefmt/succession*.c statefmt/compat*.c) gen/upgrade/options.pb-c.o
SHIM_OBJECTS = $(foreach room,$(STACK_shim),$(call objects,$(1),$(filter-out $(TOOLS_ONLY),$(call room_sources,$(room)))) \
	$(addprefix $B/obj/$(1)/,$(filter-out $(TOOLS_ONLY),$(call protos,$(room)))))
LIBRARY := $(if $(call room_sources,shim),$B/libupgrade.a $B/libupgrade.so.1 $B/libupgrade.so)
LIBRARY_ASAN := $(if $(call room_sources,shim),$B/asan/libupgrade.a)

# The example service, once per version and once per way of being broken.
CACHED := shim/examples/cached
CACHED_SOUND := v1 v2 v3
CACHED_BROKEN := v1-stuck v3-exit-at-start v3-crash-loading v3-never-ready v3-refuse v3-misload v3-crash-after v3-hang-after \
	v3-exit-after v3-lossy
HAVE_CACHED := $(if $(call sources,$(CACHED)),$(if $(LIBRARY),yes))
EXAMPLES_normal := $(if $(HAVE_CACHED),$(patsubst %,$B/examples/cached-%,$(CACHED_SOUND) $(CACHED_BROKEN)))
# The example with threads that block, and a version that crashes when it is told to.
CHATD := shim/examples/chatd
CHATD_SOUND := v1 v2
CHATD_BROKEN := v2-crash
HAVE_CHATD := $(if $(call sources,$(CHATD)),$(if $(LIBRARY),yes))
EXAMPLES_normal += $(if $(HAVE_CHATD),$(patsubst %,$B/examples/chatd-%,$(CHATD_SOUND) $(CHATD_BROKEN)))
# The example of docs/PORTING.md: the service is one source for two versions, and is built once for each event loop; and in C++.
ECHO := shim/examples/echo
ECHO_KINDS := epoll libevent libuv sd-event
ECHO_VERSIONS := $(if $(call sources,$(ECHO)),$(if $(LIBRARY),v1 v2))
# echo_program,KIND,VERSION
echo_program = $B/examples/echo$(if $(filter epoll,$(1)),,-$(1))-$(2)
EXAMPLES_normal += $(foreach kind,$(ECHO_KINDS) cxx,$(foreach version,$(ECHO_VERSIONS),$(call echo_program,$(kind),$(version))))
# The smallest example: one source, two versions.
COUNTER := shim/examples/counter
COUNTER_VERSIONS := $(if $(LIBRARY),$(if $(wildcard $(COUNTER)/counter.c),1 2))
EXAMPLES_normal += $(COUNTER_VERSIONS:%=$B/examples/counter-v%)
EXAMPLES_asan := $(if $(HAVE_CACHED),$(patsubst %,$B/asan/examples/cached-%,$(CACHED_SOUND))) \
	$(if $(HAVE_CHATD),$(patsubst %,$B/asan/examples/chatd-%,$(CHATD_SOUND)))

UNIT_TESTS := $(TEST_ROOMS:%=$B/asan/tests/%)
REPLAYS := $(if $(wildcard tests/fuzz/replay.c),$(patsubst tests/fuzz/%.c,$B/asan/tests/%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$B/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# SUITE=wire is fuzz_wire; SUITE=hostile is the scene of that group in which services and clients say anything.
FUZZED_PARSERS := $(if $(SUITE),$(filter %/fuzz_$(SUITE),$(FUZZERS)),$(FUZZERS))
FUZZED_WILD := $(filter hostile,$(or $(SUITE),hostile))
FUZZED := $(FUZZED_PARSERS) $(FUZZED_WILD)
BENCHES := $(patsubst tests/bench/%.c,$B/tests/%,$(wildcard tests/bench/bench_*.c))
LOAD := $(if $(call sources,tests/load),$B/tests/upg-load)
# Applications that the integration tests start, linked as users link theirs.
ACTORS := $(patsubst tests/integration/apps/%.c,$B/tests/%,$(wildcard tests/integration/apps/*.c))
# Services that speak the protocol by themselves, without the library.
HOSTILE := $(patsubst tests/hostile/apps/%.c,$B/tests/%,$(wildcard tests/hostile/apps/*.c))
# Programs that would be upgraded's next version, and fail when they take over.
SUCCESSORS_BROKEN := $(patsubst tests/integration/successors/%.c,$B/tests/%,$(wildcard tests/integration/successors/*.c))
# The kill matrix, and what kills upgraded at one of its system calls.
TORTURE := $(if $(call sources,tests/torture),$B/tests/upg-torture $B/tests/upg-strike)
# The n-th call fails, for all n: the program that goes through them, and the library that makes them fail.
FAULTS := $(if $(call sources,tests/faults/preload),$B/tests/upg-faults $B/tests/upg-faults.so)
# Groups of tests with real processes: each its own program, all on one stage.
TEST_GROUPS := $(foreach group,integration ways-back hostile faults,$(if $(wildcard tests/$(group)/test_*.c),$(group)))
# Programs of others, with our few lines in them: fetched, built and tested only where asked for, by SUITE=ports.
PORTS := $(patsubst shim/ports/%/adopt,%,$(wildcard shim/ports/*/adopt))
TEST_GROUPS += $(if $(filter ports,$(SUITE)),ports)
# Rolls back to back.
SOAK := $(if $(call sources,tests/soak),$B/tests/upg-soak $B/tests/upg-heap.so)
OLDER := $B/tests/upg-older
INTEGRATION := $(if $(TEST_GROUPS),$(TEST_GROUPS:%=$B/tests/%) $(ACTORS) $(OLDER) $(HOSTILE) $(SUCCESSORS_BROKEN) $(TORTURE) $(FAULTS) $(SOAK))
DEMO := $(if $(call sources,tests/demo),$B/tests/demo)
JAIL := $B/tests/jail
# Prints the supervisor's table for the model of a roll.
MACHINE := $(if $(wildcard tests/model/machine.c),$B/tests/machine)

GENERATOR := $B/protoc-gen-upgrade
INSTALLED := $(PROGRAMS_normal) $(GENERATOR) $(LIBRARY) $B/upgrade.pc
EVERYTHING := $(INSTALLED) $(EXAMPLES_normal)
RUNNABLE := $(EVERYTHING) $(PROGRAMS_asan) $(JAIL) $(LOAD)

# ---- targets for people ----

# One build at a time in a checkout: `make test` and `make demo` may well run side by side. The lock is let go before
# anything runs. Programs that run are exec'd, so that make's child is the jail, which dies when make does.
locked = $(Q)mkdir -p $B && flock $B/.lock $(MAKE) $(1)

.PHONY: all test demo asan analyze lint fuzz verify bench torture faults soak install deb clean help setup
all: ## the programs, the library and the examples, in build/
	+$(call locked,everything)

test: ## install what is needed, build, run every test under sanitizers; SUITE=name runs one group, SUITE=ports the ports
	$(Q)units/setup $(filter ports,$(SUITE))
	+$(call locked,tests)
	$(Q)$(if $(filter-out systemd,$(SUITE)),:,tests/systemd/newer-root $B/systemd-newer || :) # in the jail is no network
	$(Q)$(if $(filter ports,$(SUITE)),for port in $(PORTS); do for version in v1 v2; do \
		shim/ports/build $$port $$version || exit; done; done)
	$(Q)exec $(JAIL) -- tests/run-tests $(SUITE)

demo: ## install what is needed, build, and show rolls and ways back on the example service
	$(Q)units/setup
	+$(call locked,demonstration)
	$(Q)exec $(JAIL) -- env UPG_BIN="$$PWD/$B" UPG_EXAMPLES="$$PWD/$B/examples" UPG_TESTS="$$PWD/$B/tests" \
		PATH="$$PWD/$B/criu/bin:$$PATH" $B/tests/demo

asan: ## everything once more under AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan/
	+$(call locked,sanitized)

analyze: ## gcc's static analyzer and clang-tidy over every source
	$(Q)units/setup dev
	+$(call locked,analysis)

lint: ## include arrows, format, names, references, claims, and no warning from gcc or clang
	$(Q)units/setup dev
	$(Q)tests/lint
	$(Q)tests/test-lint
	+$(Q)$(MAKE) B=$B/lint-gcc CC=gcc WERROR=1 objects
	+$(Q)$(MAKE) B=$B/lint-clang CC=clang WERROR=1 objects

fuzz: ## libFuzzer on every parser, FUZZ_SECONDS (60) each, and the daemon among wild services (600); SUITE=name runs one
	$(Q)units/setup dev
	+$(call locked,fuzzers)
	$(Q)exec $(JAIL) -- tests/run-fuzz "$(FUZZ_SECONDS)" $(FUZZED)

verify: ## the model of a roll, in full (docs/MODEL.md); `make test` has what takes a minute
	$(Q)units/setup
	+$(call locked,$(MACHINE))
	$(Q)MODEL_FULL=1 tests/model/check

bench: ## the benchmarks, one after the other; ROWS=name runs one group
	$(Q)units/setup
	+$(call locked,benches)
	$(Q)exec $(JAIL) -- tests/run-benches $(if $(ROWS),$(ROWS:%=$B/tests/bench_%),$(BENCHES))

torture: ## kill everyone in every state of a roll, at random, SECONDS (60) long; SEED=n repeats a run
	$(Q)units/setup
	+$(call locked,torturers)
	$(Q)exec $(JAIL) -- tests/run-torture "$(SECONDS)" "$(SEED)"

soak: ## rolls back to back, forward and back, ROLLS (100) of them under CONNECTIONS (5000); does anything grow?
	$(Q)units/setup
	+$(call locked,soakers)
	$(Q)exec $(JAIL) -- tests/run-soak "$(ROLLS)" "$(CONNECTIONS)"

faults: ## have the n-th call of each process fail, for all n of a roll and its ways back; SECONDS=n for so long only
	$(Q)units/setup
	+$(call locked,faulty)
	$(Q)exec $(JAIL) -- tests/run-faults $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS))

install: ## into PREFIX (/usr/local) below DESTDIR
	+$(call locked,installed)
	install -d '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)'
	$(if $(SUPERVISOR_MAIN),install -m 755 $B/upgraded '$(DESTDIR)$(SBINDIR)')
	$(if $(CLI_MAIN),install -m 755 $B/upgradectl '$(DESTDIR)$(BINDIR)')
	install -m 755 $(GENERATOR) '$(DESTDIR)$(BINDIR)'
	install -m 644 shim/upgrade.h '$(DESTDIR)$(INCLUDEDIR)'
	install -D -m 644 -t '$(DESTDIR)$(INCLUDEDIR)/upgrade' $(wildcard shim/upgrade/*.h) shim/upgrade/options.proto
	install -m 644 $B/libupgrade.a '$(DESTDIR)$(LIBDIR)'
	install -m 755 $B/libupgrade.so.1 '$(DESTDIR)$(LIBDIR)'
	ln -sfn libupgrade.so.1 '$(DESTDIR)$(LIBDIR)/libupgrade.so'
	install -m 644 $B/upgrade.pc '$(DESTDIR)$(LIBDIR)/pkgconfig'
	$(foreach page,$(wildcard $(ROOMS:%=%/*.[1-8])),install -D -m 644 $(page) \
		'$(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(notdir $(page))' &&) true
	$(foreach schema,$(wildcard cli/*.schema.json),install -D -m 644 $(schema) '$(DESTDIR)$(SHAREDIR)/$(notdir $(schema))' &&) true
	$(foreach unit,$(wildcard units/*.service units/*.socket),install -D -m 644 $(unit) \
		'$(DESTDIR)$(UNITDIR)/$(notdir $(unit))' && \
		sed -i 's|/usr/local/sbin/|$(SBINDIR)/|; s|/usr/local/bin/|$(BINDIR)/|' \
		'$(DESTDIR)$(UNITDIR)/$(notdir $(unit))' &&) true
	install -D -m 755 units/get-criu '$(DESTDIR)$(PREFIX)/lib/upgraded/get-criu'
	install -D -m 644 units/completion/upgradectl.bash '$(DESTDIR)$(BASHDIR)/upgradectl'
	install -D -m 644 units/completion/_upgradectl.zsh '$(DESTDIR)$(ZSHDIR)/_upgradectl'
	install -D -m 644 units/completion/upgradectl.fish '$(DESTDIR)$(FISHDIR)/upgradectl.fish'

deb: ## the Debian packages, in build/deb
	$(Q)units/setup
	$(Q)units/make-deb '$(VERSION)' $B/deb

setup: ## only install what building and testing need
	$(Q)units/setup

clean: ## remove build/, except the CRIU that setup brought
	$(Q)rm -f compile_commands.json
	$(Q)[ ! -d $B ] || find $B -mindepth 1 -maxdepth 1 ! -name 'criu*' -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z_.]+:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# ---- targets for the targets above; they expect to be alone ----

.PHONY: everything installed tests demonstration sanitized fuzzers benches torturers faulty soakers objects analysis
everything: $(EVERYTHING)
installed: $(INSTALLED)
# SUITE=name builds what that group needs and no more.
ALL_TESTS := $(RUNNABLE) $(MACHINE) $(UNIT_TESTS) $(REPLAYS) $(INTEGRATION) $(EXAMPLES_asan)
UNIT_SUITE := $(filter $(TEST_ROOMS),$(SUITE))
# With the unit tests of upgradectl comes a terminal, at which real services are rolled.
SUITE_NEEDS = $(if $(filter cli,$(SUITE)),$(RUNNABLE)) $(or $(UNIT_SUITE:%=$B/asan/tests/%),$(if $(filter fuzz,$(SUITE)),$(REPLAYS)),$(if $(filter model,$(SUITE)),$(MACHINE)),$(ALL_TESTS))
tests: $(JAIL) $(if $(filter lint hook,$(SUITE)),,$(SUITE_NEEDS))
demonstration: $(RUNNABLE) $(DEMO)
sanitized: $(PROGRAMS_asan) $(LIBRARY_ASAN) $(EXAMPLES_asan) $(UNIT_TESTS) $(REPLAYS)
fuzzers: $(FUZZED_PARSERS) $(if $(FUZZED_WILD),$(ALL_TESTS)) $(JAIL)
benches: $(BENCHES) $(JAIL) $(LOAD) $(EVERYTHING)
torturers: $(TORTURE) $(JAIL) $(LOAD) $(PROGRAMS_normal) $(EXAMPLES_normal)
soakers: $(SOAK) $(JAIL) $(LOAD) $(PROGRAMS_normal) $(EXAMPLES_normal)
faulty: $(FAULTS) $(JAIL) $(LOAD) $(PROGRAMS_normal) $(EXAMPLES_normal)

# ---- generated code ----

# protobuf-c's own output is not ours to keep free of warnings. But its initialisers are macros, and clang warns where one is
# used that it casts const away; by way of an integer it does not.
GEN_FLAGS := -w
generate = protoc-c --proto_path=$(1) --c_out=$B/gen $(2) && \
	sed -i 's/(char \*)protobuf_c_empty_string/(char *)(uintptr_t)protobuf_c_empty_string/g' $(@:.c=.h)

$B/gen/%.pb-c.c $B/gen/%.pb-c.h: %.proto
	$(call say,PROTOC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(call generate,. --proto_path=shim,$<)

$B/gen/supervisor/criu/rpc.proto: $(RPC_PROTO)
	$(Q)mkdir -p $(@D)
	$(Q)cp $< $@

$B/gen/%.pb-c.c $B/gen/%.pb-c.h: $B/gen/%.proto
	$(call say,PROTOC,$<)
	$(Q)$(call generate,$B/gen,$<)

$B/gen/google/protobuf/descriptor.proto: $(DESCRIPTOR_PROTO)
	$(Q)mkdir -p $(@D)
	$(Q)cp $< $@

# Applications get no C of the vocabulary; the tools do.
$B/gen/upgrade/options.proto: shim/upgrade/options.proto
	$(Q)mkdir -p $(@D)
	$(Q)sed '/protobuf-c.proto\|(pb_c_file)/d' $< >$@

$B/gen/%.upgrade.c $B/gen/%.upgrade.h: %.proto $B/protoc-gen-upgrade shim/upgrade/options.proto $(SUCCESSORS)
	$(call say,UPGRADE,$<)
	$(Q)mkdir -p $(@D)
	$(Q)protoc --proto_path=. --proto_path=shim --plugin=$B/protoc-gen-upgrade --upgrade_out=$B/gen $<

# What upgradectl prints: script_bash, script_zsh, script_fish.
COMPLETIONS := $(wildcard units/completion/*upgradectl.*)
$B/gen/cli/completion_scripts.h: $(COMPLETIONS)
	@mkdir -p $(@D)
	$(Q){ $(foreach file,$(COMPLETIONS),echo 'static const char script_$(patsubst .%,%,$(suffix $(file)))[] =' && \
		sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/	"&\\n"/; $$s/$$/;/' $(file) &&) true; } >$@

# Not by the path it is wanted by: the first pattern rule above would take it for the source.
no-descriptor.proto:
	@echo 'descriptor.proto is not installed: run units/setup' >&2; exit 1

criu/rpc.proto:
	@echo 'CRIU'\''s rpc.proto is not installed: run units/setup' >&2; exit 1

# ---- objects and archives ----

.PHONY: FORCE
define variant_rules
$B/obj/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$$(call compile,$(1)) $$(call warn,$(1)) $$(call link,$(1))' | cmp -s - $$@ || \
		echo '$$(call compile,$(1)) $$(call warn,$(1)) $$(call link,$(1))' >$$@

$B/obj/$(1)/%.o: %.c $B/obj/$(1)/flags | $(GEN_H)
	$$(call say,CC,$(1) $$<)
	@mkdir -p $$(@D)
	$(Q)$$(call compile,$(1)) $$(call warn,$(1)) -MD -MP -c -o $$@ $$<

# Our own generator's output is held to what we hold ourselves to.
$B/obj/$(1)/gen/%.upgrade.o: $B/gen/%.upgrade.c $B/obj/$(1)/flags | $(GEN_H) $(UPGRADE_H)
	$$(call say,CC,$(1) $$<)
	@mkdir -p $$(@D)
	$(Q)$$(call compile,$(1)) $$(call warn,$(1)) -MD -MP -c -o $$@ $$<

$B/obj/$(1)/gen/%.o: $B/gen/%.c $B/obj/$(1)/flags | $(GEN_H)
	$$(call say,CC,$(1) $$<)
	@mkdir -p $$(@D)
	$(Q)$$(call compile,$(1)) $(GEN_FLAGS) -MD -MP -c -o $$@ $$<

$(foreach room,$(ROOMS),$(call room_rules,$(1),$(room)))
endef

# The programs say which version they are; the supervisor does in files that it leaves behind, too.
SUPERVISOR_DEFINES := -DUPGRADED_VERSION='"$(VERSION)"'
VERSIONED = $(foreach v,$(VARIANTS),$(call objects,$(v),$(MAINS) $(call sources,supervisor/logbook) $(call sources,supervisor/control)))
$(VERSIONED): private CPPFLAGS += $(SUPERVISOR_DEFINES)
$(VERSIONED): $B/version
$B/version: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@

# list,TARGET,FILES      a file with the names of what TARGET is made of, so that a source that went away is noticed
define list
$(1).list: FORCE
	@mkdir -p $$(@D)
	@echo '$(strip $(2))' | cmp -s - $$@ || echo '$(strip $(2))' >$$@
endef

# An empty room is an empty archive, so that the rest builds before its first source is there. Members are appended (q), not
# replaced by name: two folders may have a file of one name.
define room_rules
$B/obj/$(1)/$(2).a: $(call room_objects,$(1),$(2)) $B/obj/$(1)/$(2).a.list
	@rm -f $$@
	$(Q)ar qcs $$@ $$(filter %.o,$$^)

$(call list,$B/obj/$(1)/$(2).a,$(call room_objects,$(1),$(2)))

endef
room_objects = $(call objects,$(1),$(filter-out $(MAINS),$(call room_sources,$(2)))) $(addprefix $B/obj/$(1)/,$(call protos,$(2)))
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$(v))))

# program,TARGET,VARIANT,OBJECTS,ROOMS,LIBRARIES
define program
$(1): $(3) $(call archives,$(2),$(4)) $B/obj/$(2)/$(notdir $(1)).list
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(call link,$(2)) -o $$@ $(3) -Wl,--start-group $(call archives,$(2),$(4)) -Wl,--end-group $(5)

$(call list,$B/obj/$(2)/$(notdir $(1)),$(3))
endef
rule = $(eval $(call program,$(1),$(2),$(3),$(4),$(5)))
folder_objects = $(call objects,$(1),$(call sources,$(2))) $(addprefix $B/obj/$(1)/,$(call protos,$(2)))

# ---- programs ----

$(call rule,$B/upgraded,normal,$(call objects,normal,$(SUPERVISOR_MAIN)),$(STACK_supervisor),$$(PACKAGE_LIBS))
$(call rule,$B/upgradectl,normal,$(call objects,normal,$(CLI_MAIN)),$(STACK_cli),$$(PACKAGE_LIBS))
$(call rule,$B/protoc-gen-upgrade,normal,$(call folder_objects,normal,statefmt/gen),base statefmt,$$(PACKAGE_LIBS))
$(call rule,$B/asan/upgraded,asan,$(call objects,asan,$(SUPERVISOR_MAIN)),$(STACK_supervisor),$$(PACKAGE_LIBS))
$(call rule,$B/asan/upgradectl,asan,$(call objects,asan,$(CLI_MAIN)),$(STACK_cli),$$(PACKAGE_LIBS))

# ---- the library ----

# The rooms behind the public header are merged into one object and their names made local, so that an application's own
# fd_close() or loop_new() never meets ours.
$B/libupgrade.a: $(call SHIM_OBJECTS,pic)
	$(call say,AR,$@)
	$(Q)$(CC) -r -nostdlib -o $B/obj/pic/libupgrade.o $^
	$(Q)objcopy --localize-hidden $B/obj/pic/libupgrade.o
	$(Q)rm -f $@ && ar rcs $@ $B/obj/pic/libupgrade.o

$B/libupgrade.so.1: $(call SHIM_OBJECTS,pic) shim/libupgrade.map
	$(call say,LINK,$@)
	$(Q)$(call link,pic) -shared -Wl,-soname,libupgrade.so.1 -Wl,--version-script=shim/libupgrade.map -Wl,-z,defs \
		-o $@ $(filter %.o,$^) $(SHIM_LIBS)

$B/libupgrade.so: $B/libupgrade.so.1
	$(Q)ln -sfn libupgrade.so.1 $@

# Sanitized objects keep their names: what instruments them does not survive the merge with every compiler.
$B/asan/libupgrade.a: $(call SHIM_OBJECTS,asan)
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$B/upgrade.pc: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: upgrade' \
		'Description: replace a running service without dropping a connection or losing state' 'Version: $(API_VERSION)' \
		'Requires: libprotobuf-c' 'Requires.private: libisal libxxhash' 'Libs: -L$${libdir} -lupgrade' \
		'Libs.private: -lpthread' 'Cflags: -I$${includedir}' >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# ---- the examples ----

upper = $(shell printf '%s' '$(1)' | tr 'a-z-' 'A-Z_')
# version_defines,EXAMPLE,NAME       NAME is v3, or v3-and-what-is-broken
version_defines = -D$(call upper,$(1))_VERSION=$(patsubst v%,%,$(firstword $(subst -, ,$(2)))) -D$(call upper,$(1))_NAME='"$(2)"' \
	$(if $(findstring -,$(2)),-D$(call upper,$(1))_BREAK_$(call upper,$(shell printf '%s' '$(2)' | cut -d- -f2-))=1)

# The migrations that a version has; the first has none, and carries its schema only.
CACHED_STEPS_v1 := gen/$(CACHED)/cached_v1.upgrade.o
CACHED_STEPS_v2 := gen/$(CACHED)/cached_v2.upgrade.o
CACHED_STEPS_v3 := $(CACHED_STEPS_v2) gen/$(CACHED)/cached_v3.upgrade.o
CHATD_STEPS_v1 := gen/$(CHATD)/chatd_v1.upgrade.o
CHATD_STEPS_v2 := gen/$(CHATD)/chatd_v2.upgrade.o
ECHO_STEPS_v1 := gen/$(ECHO)/echo_v1.upgrade.o
ECHO_STEPS_v2 := gen/$(ECHO)/echo_v2.upgrade.o
example_steps = $($(call upper,$(1))_STEPS_$(firstword $(subst -, ,$(2))))
example_objects = $(patsubst shim/examples/$(2)/%.c,$B/obj/$(1)/examples/$(2)-$(3)/%.o,$(call sources,shim/examples/$(2)))

# example,VARIANT,EXAMPLE,NAME,DIRECTORY
define example
$B/obj/$(1)/examples/$(2)-$(3)/%.o: shim/examples/$(2)/%.c $B/obj/$(1)/flags Makefile | $(GEN_H) $(UPGRADE_H)
	$$(call say,CC,$(1) $$< ($(3)))
	@mkdir -p $$(@D)
	$(Q)$$(call compile,$(1)) $$(call warn,$(1)) $(call version_defines,$(2),$(3)) -MD -MP -c -o $$@ $$<

$(4)/examples/$(2)-$(3): $(call example_objects,$(1),$(2),$(3)) \
		$(addprefix $B/obj/$(1)/,$(call protos,shim/examples/$(2)) $(call example_steps,$(2),$(3))) $(4)/libupgrade.a
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(call link,$(1)) -o $$@ $$^ $(SHIM_LIBS)
endef
ifneq ($(HAVE_CACHED),)
$(foreach name,$(CACHED_SOUND) $(CACHED_BROKEN),$(eval $(call example,normal,cached,$(name),$B)))
$(foreach name,$(CACHED_SOUND),$(eval $(call example,asan,cached,$(name),$B/asan)))
endif
ifneq ($(HAVE_CHATD),)
$(foreach name,$(CHATD_SOUND) $(CHATD_BROKEN),$(eval $(call example,normal,chatd,$(name),$B)))
$(foreach name,$(CHATD_SOUND),$(eval $(call example,asan,chatd,$(name),$B/asan)))
endif

# It includes what is installed, <upgrade.h>, and its own "counter.pb-c.h": it builds outside this tree as it stands.
define counter
$B/obj/normal/examples/counter-v$(1).o: $(COUNTER)/counter.c $B/obj/normal/flags Makefile | $(GEN_H)
	$$(call say,CC,normal $$< (v$(1)))
	@mkdir -p $$(@D)
	$(Q)$$(call compile,normal) $$(call warn,normal) -Ishim -isystem $B/gen/$(COUNTER) -DCOUNTER_VERSION=$(1) -MD -MP -c -o $$@ $$<

$B/examples/counter-v$(1): $B/obj/normal/examples/counter-v$(1).o $B/obj/normal/gen/$(COUNTER)/counter.pb-c.o $B/libupgrade.a
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(call link,normal) -o $$@ $$^ $(SHIM_LIBS)
endef
$(foreach version,$(COUNTER_VERSIONS),$(eval $(call counter,$(version))))

ECHO_PACKAGES_libevent := libevent libevent_pthreads
ECHO_PACKAGES_libuv := libuv
ECHO_PACKAGES_sd-event := libsystemd
echo_packages = $(if $(ECHO_PACKAGES_$(1)),$(shell pkg-config $(2) $(ECHO_PACKAGES_$(1))))
# The compiler's sister.
CXX := $(patsubst cc,c++,$(patsubst gcc,g++,$(patsubst clang,clang++,$(CC))))

# echo_objects,VERSION
define echo_objects
$B/obj/normal/examples/echo-$(1)/%.o: $(ECHO)/%.c $B/obj/normal/flags Makefile | $(GEN_H) $(UPGRADE_H)
	$$(call say,CC,normal $$< ($(1)))
	@mkdir -p $$(@D)
	$(Q)$$(call compile,normal) $$(call warn,normal) -Ishim $$(call echo_packages,$$*,--cflags) $(call version_defines,echo,$(1)) \
		-MD -MP -c -o $$@ $$<

$B/obj/normal/examples/echo-$(1)/%.o: $(ECHO)/%.cc $B/obj/normal/flags Makefile | $(GEN_H) $(UPGRADE_H)
	$$(call say,CXX,$$< ($(1)))
	@mkdir -p $$(@D)
	$(Q)$(CXX) -std=c++17 -D_GNU_SOURCE $(INCLUDES) $(PACKAGE_CFLAGS) $(CPPFLAGS) -O2 -g -Wall -Wextra -Wshadow \
		$(if $(WERROR),-Werror) $(call version_defines,echo,$(1)) -MD -MP -c -o $$@ $$<
endef
# echo,KIND,VERSION
define echo
$(call echo_program,$(1),$(2)): $(patsubst %,$B/obj/normal/examples/echo-$(2)/%.o,$(if $(filter cxx,$(1)),,echo) $(1)) \
		$(addprefix $B/obj/normal/,$(call protos,$(ECHO)) $(ECHO_STEPS_$(2))) $B/libupgrade.a
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$(if $(filter cxx,$(1)),$(CXX) $(LDFLAGS_normal) $(LDFLAGS) -pthread,$$(call link,normal)) -o $$@ $$^ $(SHIM_LIBS) \
		$$(call echo_packages,$(1),--libs)
endef
$(foreach version,$(ECHO_VERSIONS),$(eval $(call echo_objects,$(version))))
$(foreach version,$(ECHO_VERSIONS),$(foreach kind,$(ECHO_KINDS) cxx,$(eval $(call echo,$(kind),$(version)))))

# ---- tests ----

CRITERION := -lcriterion
# What is tested besides the rooms' archives.
SUBJECT_cached = $(patsubst $(CACHED)/%.c,$B/obj/asan/examples/cached-v3/%.o,$(call mainless,$(call sources,$(CACHED)))) \
	$(addprefix $B/obj/asan/,$(call protos,$(CACHED)) $(CACHED_STEPS_v3))
SUBJECT_generator = $(patsubst %.proto,$B/obj/asan/gen/%.upgrade.o,$(filter tests/generator/%,$(SUCCESSORS)))
$(call objects,asan,$(call sources,tests/generator)) $(call objects,normal,$(call sources,tests/generator)): | $(UPGRADE_H) $(GENERATOR)
SUBJECT_loadmodel = $(call objects,asan,$(call mainless,$(call sources,tests/load)))
$B/obj/asan/tests/cached/%.o $B/obj/normal/tests/cached/%.o: private CPPFLAGS += $(call version_defines,cached,v3)
$(foreach room,$(TEST_ROOMS),$(call rule,$B/asan/tests/$(room),asan,\
	$(call folder_objects,asan,tests/$(room)) $(call objects,asan,tests/runner.c) $(SUBJECT_$(room)),$(STACK_$(room)),$(CRITERION) $$(PACKAGE_LIBS) -lm))

RIG := $(call folder_objects,normal,tests/rig)
# Chance, invented messages and odd descriptors, for the programs of tests/hostile and their tests.
WILD := $(call objects,normal,$(filter-out tests/wild/test_%.c,$(call sources,tests/wild)))
STAGE := $(call objects,normal,$(filter-out tests/integration/test_%.c,$(call sources,tests/integration)))
$(foreach group,$(TEST_GROUPS),$(call rule,$B/tests/$(group),normal,\
	$(sort $(call folder_objects,normal,tests/$(group)) $(STAGE)) $(RIG) $(if $(filter hostile,$(group)),$(WILD)) \
	$(if $(filter integration,$(group)),$(addprefix $B/obj/normal/,$(call protos,supervisor/logbook))),base statefmt wire,$(CRITERION) $$(PACKAGE_LIBS) -lm))
$(ACTORS): $B/tests/%: $B/obj/normal/tests/integration/apps/%.o $(addprefix $B/obj/normal/,$(call protos,$(CACHED))) $B/libupgrade.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call link,normal) -o $@ $^ $(SHIM_LIBS)

# An actor whose library is of another time.
$(call rule,$(OLDER),normal,$B/obj/normal/tests/integration/apps/upg-actor.o $(call objects,normal,tests/systemd/older.c) \
	$(addprefix $B/obj/normal/,$(call protos,$(CACHED))),base statefmt wire shim,$$(PACKAGE_LIBS) -Wl$$(comma)--wrap=wire_send)

$(foreach name,$(HOSTILE:$B/tests/%=%),$(call rule,$B/tests/$(name),normal,\
	$(call objects,normal,tests/hostile/apps/$(name).c) $(WILD),base wire,$$(PACKAGE_LIBS)))
$(foreach name,$(SUCCESSORS_BROKEN:$B/tests/%=%),$(call rule,$B/tests/$(name),normal,\
	$(call objects,normal,$(SUPERVISOR_MAIN) tests/integration/successors/$(name).c),$(STACK_supervisor),$$(PACKAGE_LIBS) -Wl$$(comma)--wrap=recover_begin))
# It knows the states of a roll by the machine's own table.
$(call rule,$B/tests/upg-torture,normal,$(call folder_objects,normal,tests/torture) $(RIG) $(call objects,normal,tests/wild/dice.c),$(STACK_supervisor),$$(PACKAGE_LIBS) -lm)
# What it judges with is torture's.
TORTURED := $(call objects,normal,$(filter-out tests/torture/main.c tests/torture/sweep.c,$(call sources,tests/torture)))
$(call rule,$B/tests/upg-faults,normal,$(call objects,normal,tests/faults/steer.c $(call sources,tests/faults/sweep)) \
	$(TORTURED) $(RIG),$(STACK_supervisor),$$(PACKAGE_LIBS) -lm)
$B/tests/upg-faults.so: $(call objects,pic,$(call sources,tests/faults/preload))
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call link,pic) -shared -Wl,-z,defs -o $@ $^ -ldl
$(call rule,$B/tests/upg-strike,normal,$(call objects,normal,tests/torture/apps/upg-strike.c),,)
$(call rule,$B/tests/upg-soak,normal,$(call folder_objects,normal,tests/soak) $(RIG),base statefmt wire,$$(PACKAGE_LIBS) -lm)
$B/tests/upg-heap.so: $B/obj/pic/tests/soak/apps/upg-heap.o
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call link,pic) -shared -o $@ $<
$(call rule,$B/tests/demo,normal,$(call folder_objects,normal,tests/demo) $(RIG),base statefmt wire,$$(PACKAGE_LIBS) -lm)
$(call rule,$B/tests/upg-load,normal,$(call folder_objects,normal,tests/load),base statefmt wire,$$(PACKAGE_LIBS) -lm)
$(call rule,$(JAIL),normal,$(call folder_objects,normal,tests/jail),,)
$(call rule,$B/tests/machine,normal,$(call folder_objects,normal,tests/model),$(STACK_supervisor),$$(PACKAGE_LIBS))

# Beside fuzz_x.c and replay.c (what feeds it files), a folder's other sources belong to each of its programs.
FUZZ_SHARED := $(filter-out tests/fuzz/fuzz_%.c tests/fuzz/replay.c,$(call sources,tests/fuzz))
BENCH_SHARED := $(filter-out tests/bench/bench_%.c,$(call sources,tests/bench))
$(foreach name,$(REPLAYS:$B/asan/tests/%=%),$(call rule,$B/asan/tests/$(name),asan,\
	$(call objects,asan,tests/fuzz/$(name).c tests/fuzz/replay.c $(FUZZ_SHARED)) \
	$(addprefix $B/obj/asan/,$(call protos,tests/fuzz)),$(ROOMS),$$(PACKAGE_LIBS)))
$(foreach name,$(FUZZERS:$B/fuzz/%=%),$(call rule,$B/fuzz/$(name),fuzz,\
	$(call objects,fuzz,tests/fuzz/$(name).c $(FUZZ_SHARED)) \
	$(addprefix $B/obj/fuzz/,$(call protos,tests/fuzz)),$(ROOMS),$$(PACKAGE_LIBS)))
$(foreach name,$(BENCHES:$B/tests/%=%),$(call rule,$B/tests/$(name),normal,\
	$(call objects,normal,tests/bench/$(name).c $(BENCH_SHARED)) $(RIG) \
	$(addprefix $B/obj/normal/,$(call protos,tests/bench)),$(ROOMS),$$(PACKAGE_LIBS) -lm))

# ---- checks ----

# Those of examples are compiled with a version.
EXAMPLE_DIRS := $(CACHED) $(CHATD) $(ECHO)
OUR_SOURCES := $(wildcard $(ROOMS:%=%/*.c) $(INNER:%=%/*.c) statefmt/gen/*.c $(EXAMPLE_DIRS:%=%/*.c) tests/*.c tests/*/*.c tests/*/apps/*.c \
	tests/*/successors/*.c tests/faults/*/*.c)
objects: $(call objects,normal,$(filter-out $(EXAMPLE_DIRS:%=%/%),$(OUR_SOURCES))) \
	$(foreach name,$(if $(HAVE_CACHED),$(CACHED_SOUND) $(CACHED_BROKEN)),$(call example_objects,normal,cached,$(name))) \
	$(foreach name,$(if $(HAVE_CHATD),$(CHATD_SOUND) $(CHATD_BROKEN)),$(call example_objects,normal,chatd,$(name))) \
	$(foreach name,$(ECHO_VERSIONS),$(call example_objects,normal,echo,$(name)) $B/obj/normal/examples/echo-$(name)/cxx.o) \
	$(COUNTER_VERSIONS:%=$B/obj/normal/examples/counter-v%.o) $(SUCCESSORS:%.proto=$B/obj/normal/gen/%.upgrade.o)

# One file per run: clang-tidy's analyzer loses findings, and sometimes its footing, over many.
# gcc 12's leaks, NULLs and uninitialised values are nearly all of its own making in code that passes structs out by
# pointer; clang-tidy's analyzer looks for the same three.
GCC_ANALYZER := -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-null-dereference -Wno-analyzer-use-of-uninitialized-value
analysis: $(OUR_SOURCES:%.c=$B/analysis/%.done)
TIDY_DEFINES := $(call version_defines,cached,v3) $(call version_defines,chatd,v2) $(call version_defines,echo,v2) -Ishim \
	$(SUPERVISOR_DEFINES)
$B/analysis/%.done: %.c $(wildcard */*.h */*/*.h shim/examples/*/*.h) | $(GEN_H)
	$(call say,ANALYZE,$<)
	@mkdir -p $(@D)
	$(Q)gcc $(STANDARD) $(INCLUDES) $(PACKAGE_CFLAGS) $(TIDY_DEFINES) -O2 $(GCC_ANALYZER) -Werror -c -o /dev/null $<
	$(Q)clang-tidy --quiet $< -- $(STANDARD) $(INCLUDES) $(PACKAGE_CFLAGS) $(TIDY_DEFINES)
	@touch $@

json = $(subst ','\'',$(subst ",\",$(1)))
compile_commands.json: FORCE ## for editors and language servers
	@{ separator='['; for source in $(OUR_SOURCES); do \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$$separator" "$$PWD" "$$source" \
			'$(call json,$(call compile,normal) $(call warn,normal) $(TIDY_DEFINES))' "$$source"; \
		separator=,; done; printf '\n]\n'; } >$@

-include $(shell find $B/obj -name '*.d' 2>/dev/null)
