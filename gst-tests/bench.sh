#!/usr/bin/env bash
# How fast, and at what cost: fetches one random file in order with swarmsrc, with libtorrent (by deadlines, and
# in sequential mode) and, in no order, with aria2, each from the same `swarm seed` on this machine. Prints a
# table; promises nothing. Installs what is missing. Needs room for twice the file in a folder of its own in
# TMPDIR, and a few minutes at most.
#
#   gst-tests/bench.sh [MIB [RUNS]]       1024 MiB and 3 runs unless said otherwise
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

mebibytes=${1:-1024} runs=${2:-3}
[[ $mebibytes =~ ^[1-9][0-9]{0,4}$ && $runs =~ ^[1-9][0-9]?$ ]] || fail "usage: gst-tests/bench.sh [MIB [RUNS]]"

need_packages "${play_packages[@]}" python3-libtorrent aria2
need_rust
say "building the plugin and the command (release)"
cd "$here"
cargo build --quiet --locked --release
export GST_PLUGIN_PATH=${CARGO_TARGET_DIR:-$here/target}/release

work=$(mktemp -d "${TMPDIR:-/tmp}/swarm-bench.XXXXXX")
pid=
clean_up() {
  trap '' INT TERM
  if [[ -n $pid ]]; then
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export GST_REGISTRY=$work/registry.bin XDG_CACHE_HOME=$work/cache

# Debian's own Python: it is the one that has libtorrent. In the background, so that Ctrl-C is noticed meanwhile.
/usr/bin/python3 gst-tests/support/bench.py all "$GST_PLUGIN_PATH/swarm" "$work" "$mebibytes" "$runs" &
pid=$!
wait "$pid"
pid=
