# What ships: an installed Seawall, and a tarball of one that is unpacked over /usr/local.

PREFIX := /usr/local
DESTDIR :=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# A program that is ready may be named: see below for what a build takes.
DIST_BINARY := target/dist/seawall
DIST_NAME := seawall-$(VERSION)-linux-$(ORT_MACHINE)
TARBALL := target/dist/$(DIST_NAME).tar.gz

# What ships is built twice, with link-time optimisation, which takes a quarter of an hour each time. The first program counts what
# runs under load. By that the compiler inlines and lays aside code in the second, and BOLT at last puts together what runs, in the
# order in which it runs, for which the relocations stay in the file. The first build is made for a named target, since no build
# script is to count, and the second as well, since names of functions are to be the same.
LLVM := /usr/lib/llvm-19/bin
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
DIST := $(abspath target/dist)
# $(call dist_build,RUSTFLAGS,FOLDER)
dist_build = RUSTFLAGS="$(1)" cargo build --profile dist --locked --target $(HOST) --target-dir $(2)
# $(call train,PROGRAM)
train = SEAWALL=$(1) ORT_DYLIB_PATH=$(abspath $(ORT_LIB)) python3 tests/bench/train.py

$(DIST)/profile: $(SOURCES) tests/bench/train.py | $(ORT_LIB)
	@$(MAKE) --no-print-directory load llvm
	rm -rf $(DIST)/counts && mkdir -p $(DIST)
	$(call dist_build,-C profile-generate=$(DIST)/counts,target/counting)
	$(call train,$(abspath target/counting/$(HOST)/dist/seawall))
	$(LLVM)/llvm-profdata merge -o $@ $(DIST)/counts

# The interpreter of oniguruma's expressions jumps to computed places, which BOLT does not follow.
target/dist/seawall: $(DIST)/profile
	$(call dist_build,-C profile-use=$(DIST)/profile -C link-arg=-Xlinker -C link-arg=--emit-relocs,target)
	rm -f $(DIST)/moves
	$(LLVM)/llvm-bolt target/$(HOST)/dist/seawall -o $(DIST)/counting -skip-funcs='match_at.*' \
	    -instrument -instrumentation-file=$(DIST)/moves > $(DIST)/bolt.log
	$(call train,$(DIST)/counting)
	$(LLVM)/llvm-bolt target/$(HOST)/dist/seawall -o $@ -skip-funcs='match_at.*' -data=$(DIST)/moves -reorder-blocks=ext-tsp \
	    -reorder-functions=cdsort -split-functions -split-all-cold -split-eh -icf=1 >> $(DIST)/bolt.log

llvm:
	@test -x $(LLVM)/llvm-bolt && test -x $(LLVM)/llvm-profdata || $(call debian,bolt-19 llvm-19)

# The program finds ONNX Runtime and the embedded guard by their places from its own.
AT := $(DESTDIR)$(PREFIX)
install: $(DIST_BINARY) $(ORT_LIB)
	install -D -m 755 $(DIST_BINARY) $(AT)/bin/seawall
	install -D -m 755 -t $(AT)/lib/seawall $(ORT_LIB) $$(ls $(ORT_DIR)/libonnxruntime_*.so 2>/dev/null)
	install -D -m 644 -t $(AT)/share/seawall/guards/seawall-mini onnx/guards/seawall-mini/*
	install -D -m 644 -t $(AT)/share/seawall/policies policies/*
	install -D -m 644 -t $(AT)/share/doc/seawall README.md CHANGELOG.md LICENSE deploy/systemd/seawall.toml
	install -d $(AT)/lib/systemd/system $(AT)/share/man/man1 $(AT)/share/bash-completion/completions \
	    $(AT)/share/zsh/site-functions $(AT)/share/fish/vendor_completions.d
	sed 's:/usr/local:$(PREFIX):g' deploy/systemd/seawall.service > $(AT)/lib/systemd/system/seawall.service
	$(AT)/bin/seawall man $(AT)/share/man/man1
	$(AT)/bin/seawall completions bash > $(AT)/share/bash-completion/completions/seawall
	$(AT)/bin/seawall completions zsh > $(AT)/share/zsh/site-functions/_seawall
	$(AT)/bin/seawall completions fish > $(AT)/share/fish/vendor_completions.d/seawall.fish
	python3 deploy/sbom.py --runtime $(ORT_PACKAGE_$(ORT)) $(ORT_VERSION) $(ORT_SHA256) > $(AT)/share/doc/seawall/sbom.cdx.json

# The same sources and program give the same bytes.
DIST_STAGE := target/dist/stage
dist:
	rm -rf $(DIST_STAGE)
	$(MAKE) install DESTDIR=$(DIST_STAGE) PREFIX=/usr/local
	tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime=@$$(git log -1 --format=%ct) \
	    -C $(DIST_STAGE)/usr --transform 's:^local:$(DIST_NAME):' -c local | gzip -9n > $(TARBALL)
	rm -rf $(DIST_STAGE)
	cd $(dir $(TARBALL)) && sha256sum $(notdir $(TARBALL)) > SHA256SUMS

# The tarball on a Debian that has nothing else. Needs root, for a chroot.
test-dist:
	@test -f $(TARBALL) || $(MAKE) dist
	@command -v debootstrap >/dev/null || $(call debian,debootstrap)
	tests/deploy/bare.sh $(TARBALL) target/bare
