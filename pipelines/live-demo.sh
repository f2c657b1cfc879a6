#!/usr/bin/env bash
# A live broadcast on this machine alone: a source, and three viewers in a row of which each knows only the one
# before it; the last one's stream is shown. Without a display a picture of it is left. Ctrl-C ends it and cleans up.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

# How long it is watched without a display.
seconds=12

work=$(mktemp -d "${TMPDIR:-/tmp}/swarm-live.XXXXXX")
pids=()
clean_up() {
  trap '' INT TERM
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: starts it; what it prints goes to NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$name.log" 2>"$name.err" </dev/null &
  pids+=($!)
  tail_of=$name last=$!
}

# until_there FILE: waits until the one that was started last has made it.
until_there() {
  until [[ -s $1 ]]; do
    kill -0 "$last" 2>/dev/null || { tail -n 20 "$tail_of.err" >&2; fail "$tail_of ended"; }
    sleep 0.1
  done
}

taken() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

build_swarm
export GST_REGISTRY=$work/registry.bin XDG_CACHE_HOME=$work/cache
cd "$work"
port=$((20000 + RANDOM % 10000))
while taken "$port" || taken $((port + 1)) || taken $((port + 2)) || taken $((port + 3)); do
  port=$((20000 + RANDOM % 10000))
done

say "source on port $port: a test pattern with a clock through swarmsink"
start source gst-launch-1.0 -q mpegtsmux name=mux \
  ! swarmsink location=demo.ts.tstream bind-address=127.0.0.1 port="$port" bitrate=150000 duration=600000000000 \
  videotestsrc is-live=true pattern=smpte horizontal-speed=4 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 \
  ! clockoverlay halignment=center valignment=center font-desc="Sans 36" time-format="%H:%M:%S" \
  ! x264enc speed-preset=veryfast tune=zerolatency bitrate=900 key-int-max=25 ! h264parse config-interval=-1 ! queue ! mux. \
  audiotestsrc is-live=true wave=ticks volume=0.3 ! audio/x-raw,rate=48000,channels=2 \
  ! audioconvert ! avenc_aac bitrate=96000 ! aacparse ! queue ! mux.
until_there demo.ts.tstream

mkfifo stream
for viewer in 1 2 3; do
  out=viewer$viewer.ts
  ((viewer < 3)) || out=stream
  say "viewer $viewer on port $((port + viewer)): swarm get, which knows nobody but port $((port + viewer - 1))"
  start "viewer$viewer" "$swarm" --quiet get demo.ts.tstream -o "$out" --dir "cache$viewer" --json --buffer 2s \
    --no-trackers --bind 127.0.0.1 --port $((port + viewer)) --peer "127.0.0.1:$((port + viewer - 1))"
  # The next one begins where this one has something to give.
  ((viewer == 3)) || until_there "$out"
done

if [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]]; then
  say "viewer 3's stream in a window, beside this machine's clock; Ctrl-C ends it"
  player=(autovideosink) speaker=(autoaudiosink) limit=()
else
  say "there is no display: viewer 3's stream is decoded for $seconds seconds"
  player=(tee name=pictures ! queue ! fakesink sync=true pictures. ! queue ! videorate drop-only=true
    ! video/x-raw,framerate=1/2 ! videoconvert ! pngenc ! multifilesink location=picture.png)
  speaker=(fakesink sync=true) limit=(timeout "$seconds")
fi
"${limit[@]}" gst-launch-1.0 -q filesrc location=stream ! decodebin name=film \
  film. ! queue ! videoconvert ! "${player[@]}" film. ! queue ! audioconvert ! audioresample ! "${speaker[@]}" \
  >player.log 2>&1 </dev/null &
player=$!
pids+=("$player")
status=0
wait "$player" || status=$?
# 124: the time was over.
((status == 0 || status == 124)) || { tail -n 20 player.log >&2; fail "the player ended with $status"; }

for viewer in 1 2 3; do
  behind=$(sed -n 's/.*"delay_ms":\(-\?[0-9]\+\).*/\1/p' "viewer$viewer.log" | tail -n 1)
  say "viewer $viewer had the stream ${behind:-?} ms after it was captured"
done
if [[ -s picture.png ]]; then
  picture=$(mktemp --suffix=.png "${TMPDIR:-/tmp}/swarm-live-XXXXXX")
  mv picture.png "$picture"
  say "a picture of viewer 3's stream: $picture"
fi
