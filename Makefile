# A thin front of Meson and ninja. CC=clang (or CC=gcc) builds in a folder of its own.
ifeq ($(origin CC),default)
BUILD ?= build
else
BUILD ?= build-$(notdir $(CC))
export CC
endif
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 30

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	scripts/deps build
	meson setup $(BUILD)

deps:
	scripts/deps

demo:
	scripts/deps build demo
	$(MAKE) --no-print-directory all
	scripts/demo $(BUILD)

test:
	scripts/deps build test
	scripts/test

bench:
	scripts/deps build bench
	$(MAKE) --no-print-directory all
	python3 bench/run.py --mullion $(BUILD)/cli/mullion --programs-from $(BUILD)/bench/benchmarks
	python3 bench/storage.py --mullion $(BUILD)/cli/mullion
	rm -rf $(BUILD)/bench/images && mkdir $(BUILD)/bench/images
	$(BUILD)/bench/disk_io $(BUILD)/bench/images
	rm -rf $(BUILD)/bench/images
	python3 bench/disk.py --mullion $(BUILD)/cli/mullion

# Not part of bench: two guests inside an emulated machine, ten minutes or more.
bench-kvm-exits:
	scripts/deps build bench
	$(MAKE) --no-print-directory all
	bench/kvm-exits $(BUILD)/cli/mullion

fuzz:
	scripts/deps build fuzz
	scripts/fuzz $(FUZZ_SECONDS)

install: all
	meson configure $(BUILD) --prefix=$(abspath $(PREFIX)) --bindir=bin --mandir=share/man --datadir=share
	meson install -C $(BUILD)

clean:
	rm -rf build build-*

.PHONY: all deps demo test bench bench-kvm-exits fuzz install clean
