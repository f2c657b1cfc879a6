# shellcheck shell=bash
# need.sh, to be sourced: brings a Debian machine to where this project builds and runs. Everything that is
# there already is left alone.

# Asked for help, a script shows the comment at its top, and does nothing.
case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

# The oldest Rust that the project builds with (rust-version in Cargo.toml).
oldest_rust=1.92
# What is installed beside an older one. No toolchain that is there already is ever changed.
tested_rust=1.95.0

# What is needed to build, to make films and to play them.
play_packages=(
  build-essential pkg-config ca-certificates
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-base-apps gstreamer1.0-plugins-good
  gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-x gstreamer1.0-gl
)

# say TEXT: one line on what happens.
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

# fail TEXT: ends with an error.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root, and there is no sudo: run as root: $*"
  fi
}

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
  local package log missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "install these first (this is not Debian): ${missing[*]}"
  say "installing ${missing[*]}"
  log=$(mktemp)
  if ! { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
    --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install ${missing[*]}"
  fi
  rm -f "$log"
}

# rust_is_new: whether there is a Rust that is new enough.
rust_is_new() {
  local version
  version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
  [[ -n $version && $(printf '%s\n' "$oldest_rust" "$version" | sort -V | head -n 1) == "$oldest_rust" ]]
}

# need_rust [COMPONENT...]: Debian 12's own Rust is too old, so Rust's own installer is used, for this user only.
need_rust() {
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  if ! rust_is_new; then
    install_rust
    export RUSTUP_TOOLCHAIN=$tested_rust
    rust_is_new || fail "there is no Rust $oldest_rust or newer"
  fi
  local component
  for component in "$@"; do
    cargo "${component#rust}" --version >/dev/null 2>&1 \
      || fail "cargo ${component#rust} is missing: rustup component add $component"
  done
}

install_rust() {
  say "installing Rust $tested_rust for this user, beside what is there (rustup.rs)"
  local with=(--profile minimal --component rustfmt --component clippy)
  if command -v rustup >/dev/null; then
    rustup -q toolchain install "$tested_rust" --no-self-update "${with[@]}" && return
  else
    need_packages curl ca-certificates
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
      | sh -s -- -q -y --no-modify-path --default-toolchain "$tested_rust" "${with[@]}" && return
  fi
  fail "Rust could not be installed: install $oldest_rust or newer, see https://rustup.rs"
}

# build_swarm: builds the plugin and the command; then $swarm is the command, and GStreamer knows the elements.
build_swarm() {
  need_packages "${play_packages[@]}"
  need_rust
  say "building the plugin and the command (release): the first time it takes some minutes"
  (cd "$here" && cargo build --quiet --locked --release)
  local target=${CARGO_TARGET_DIR:-$here/target}/release
  # A registry of our own: that of this machine's other programs stays as it is.
  export GST_PLUGIN_PATH=$target GST_REGISTRY=$target/gst-registry.bin
  swarm=$target/swarm
}

# broadcast_as NAME [HOST]: makes $sink (the element) and $live (the command) for a broadcast in the folder $FOLDER
# on the port $PORT, found by viewers as HOST or $HOST_NAME.
broadcast_as() {
  local name=$1 host=${2:-${HOST_NAME:-}} folder=${FOLDER:-.} port=${PORT:-8764}
  mkdir -p "$folder"
  sink=(swarmsink "location=$folder/$name.tstream" "port=$port" ${host:+"announce-address=$host"})
  live=("$swarm" live --name "$name" --destdir "$folder" --port "$port" ${host:+--announce-address "$host"})
  say "viewers open $folder/$name.tstream, also at http://${host:-ADDRESS-OF-THIS-MACHINE}:$port/$name.tstream - Ctrl-C ends it"
}

# heed_ctrl_c: makes pipe_ended know of Ctrl-C. The commands of a pipe end by it themselves.
heed_ctrl_c() {
  interrupted=0
  trap 'interrupted=1' INT
}

# pipe_ended STATUS...: ends with the status of the first command in a pipe that failed. After Ctrl-C, by which ffmpeg
# and ssh end with 255, only the last one counts.
pipe_ended() {
  local status
  ((interrupted)) && shift $(($# - 1))
  for status in "$@"; do
    ((interrupted && status == 255)) && exit 130
    ((status == 0)) || exit "$status"
  done
}
