#!/bin/sh
# usage: bare.sh TARBALL DIR   unpacks the tarball on a Debian of nothing but its smallest set of packages, made in DIR, which must
# not be there yet and is removed again, and has the program prove its guard and guard a sample LLM there.
set -eu
tarball=$(realpath "$1")
mkdir "$2"
dir=$(realpath "$2")
trap 'rm -rf "$dir"' EXIT

(cd "$(dirname "$tarball")" && sha256sum --check --quiet SHA256SUMS)
debootstrap --variant=minbase bookworm "$dir" > /dev/null
tar -xzf "$tarball" --strip-components=1 -C "$dir/usr/local"

# The program finds what came with it by /proc/self/exe; the mount goes with its namespace, before the folder does.
bare() {
    unshare --mount sh -euc 'mount -t proc proc "$0/proc"; exec chroot "$0" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root "$@"' \
        "$dir" "$@"
}
bare seawall --version
bare seawall guard verify
bare seawall demo
bare seawall serve --check --upstream http://127.0.0.1:1 --policies /usr/local/share/seawall/policies/strict.toml
echo "it runs on a bare Debian"
