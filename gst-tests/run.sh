#!/usr/bin/env bash
# Installs what is missing and runs all tests: about ten minutes on two cores from an empty target/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"
cd "$here"

need_packages "${play_packages[@]}" python3-libtorrent transmission-cli transmission-daemon aria2 \
  totem xvfb dbus imagemagick iproute2 util-linux
need_rust rustfmt clippy

say "formatting"
cargo fmt --check
say "clippy"
cargo clippy --quiet --locked --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --no-deps --document-private-items
say "tests: every room, then the whole, with overflow and debug checks"
cargo test --locked
