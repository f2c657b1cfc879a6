#!/usr/bin/env bash
# totem.sh PATH_OR_URI PICTURE [SECONDS]
#
# Plays something in Totem on a display of its own and writes the picture of that display as soon as the film
# in it is colourful and moves: colour bars with a clock do, an empty window or a dialog does not. Fails after
# SECONDS (default 45), with the last picture written. GST_PLUGIN_PATH says where our plugin is.
set -euo pipefail

what=$1 picture=$2 seconds=${3:-45}
# The part of the display where Totem, without a window manager, shows the film and nothing of its own.
film=560x200+20+60
# Mean saturation (HSL, 0 to 1) there: colour bars have about 0.85, dialogs and empty windows next to nothing.
colourful=0.4

home=$(mktemp -d)
pids=()
clean_up() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  # Totem may still be writing its last file.
  rm -rf "$home" 2>/dev/null || { sleep 1; rm -rf "$home"; }
}
trap clean_up EXIT
trap 'exit 130' INT TERM

mkdir -m 700 "$home/run"
mkfifo "$home/display"
Xvfb -displayfd 3 -screen 0 1024x768x24 -nolisten tcp 3>"$home/display" >"$home/xvfb.log" 2>&1 &
pids+=($!)
read -r -t 20 display <"$home/display"

export HOME=$home XDG_RUNTIME_DIR=$home/run XDG_CACHE_HOME=$home/cache XDG_CONFIG_HOME=$home/config
export XDG_DATA_HOME=$home/data GSETTINGS_BACKEND=memory NO_AT_BRIDGE=1 LIBGL_ALWAYS_SOFTWARE=1
export GST_REGISTRY=${GST_REGISTRY:-$home/registry.bin} DISPLAY=:$display
unset WAYLAND_DISPLAY DBUS_SESSION_BUS_ADDRESS

# The session bus and everything on it end with its only program.
timeout "$((seconds + 15))" dbus-run-session -- totem "$what" >"$home/totem.log" 2>&1 &
totem=$!
pids+=("$totem")

look() { # FORMAT OPERATION...
  convert "$picture" -crop "$film" +repage "${@:2}" -format "$1" info:
}

is_colourful() {
  look '%[fx:mean]' -colorspace HSL -channel G -separate | awk -v least="$colourful" '{ exit !($1 > least) }'
}

until_second=$((SECONDS + seconds)) first=
while ((SECONDS < until_second)); do
  sleep 0.5
  if ! kill -0 "$totem" 2>/dev/null; then
    echo "totem ended early" >&2
    break
  fi
  import -window root "$picture" 2>/dev/null && is_colourful || continue
  now=$(look '%#')
  if [[ -n $first && $now != "$first" ]]; then
    exit 0
  fi
  first=$now
done
echo "Totem did not show $what within $seconds s; it printed:" >&2
cat "$home/totem.log" >&2
exit 1
