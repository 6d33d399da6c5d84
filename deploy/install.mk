# What ships: an installed Seawall, and a tarball of one that is unpacked over /usr/local.

PREFIX := /usr/local
DESTDIR :=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# A program that is ready may be named: with link-time optimisation a build takes a quarter of an hour.
DIST_BINARY := target/dist/bolt/seawall
DIST_NAME := seawall-$(VERSION)-linux-$(ORT_MACHINE)
TARBALL := target/dist/$(DIST_NAME).tar.gz

# Where code stands is laid out anew after linking, for which the relocations stay in the file.
target/dist/seawall: $(SOURCES)
	cargo rustc --profile dist --locked --bin seawall -- -C link-arg=-Wl,--emit-relocs
	@touch $@

# What runs for a call stands together then, in the order in which it runs: the processor waits less for code.
# By its own place, where it finds its parts.
BOLT := /usr/lib/llvm-19/bin/llvm-bolt
target/dist/bolt/seawall: target/dist/seawall tests/bench/train.py | $(ORT_LIB)
	@$(MAKE) --no-print-directory load bolt
	rm -rf $(@D) && mkdir -p $(@D)
	$(BOLT) $< -instrument -instrumentation-file=$(abspath $(@D))/counts -o $(@D)/counting > $(@D)/log
	SEAWALL=$(abspath $(@D))/counting ORT_DYLIB_PATH=$(abspath $(ORT_LIB)) python3 tests/bench/train.py
	$(BOLT) $< -data=$(@D)/counts -o $@ -reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions -split-all-cold \
	    -split-eh -icf=1 >> $(@D)/log

bolt:
	@command -v $(BOLT) >/dev/null || $(call debian,bolt-19)

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
