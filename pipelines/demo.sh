#!/usr/bin/env bash
# A film out of a swarm, on this machine alone: makes one, shares it with `swarm seed` a little faster than it
# plays, and watches it with swarmsrc while it downloads. Without a display it decodes the film and leaves a
# picture of it. Ctrl-C ends it and cleans up.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

seconds=25
width=640 height=360 frame_rate=25 kilobits=1500
# The seed gives this many percent of the film's bitrate.
percent=150

work=$(mktemp -d "${TMPDIR:-/tmp}/swarm-demo.XXXXXX")
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

# run NAME COMMAND...: runs it so that Ctrl-C is noticed meanwhile; shows its output only if it fails.
run() {
  local name=$1 pid status=0
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pid=$!
  pids+=("$pid")
  wait "$pid" || status=$?
  # It is gone, and its id may soon be somebody else's.
  unset 'pids[-1]'
  ((status == 0)) || { tail -n 20 "$work/$name.log" >&2; fail "$name failed ($1 ended with $status)"; }
}

taken() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

build_swarm
# A registry and a cache of our own: nothing of this machine's settings is read or changed.
export GST_REGISTRY=$work/registry.bin XDG_CACHE_HOME=$work/cache
cd "$work"

say "making a film: $seconds s of H.264 and AAC in MP4"
run film gst-launch-1.0 -q \
  videotestsrc num-buffers=$((seconds * frame_rate)) pattern=smpte horizontal-speed=4 \
  ! "video/x-raw,format=I420,width=$width,height=$height,framerate=$frame_rate/1" \
  ! timeoverlay halignment=center valignment=center font-desc="Sans 36" \
  ! x264enc speed-preset=veryfast tune=zerolatency bitrate=$kilobits key-int-max=$frame_rate ! h264parse ! queue ! mux. \
  audiotestsrc num-buffers=$((seconds * 50)) samplesperbuffer=960 wave=ticks volume=0.3 \
  ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! avenc_aac ! aacparse ! queue ! mux. \
  mp4mux name=mux ! filesink location=film.mp4
bytes=$(stat -c %s film.mp4)
rate=$((bytes * percent / 100 / seconds))

port=$((20000 + RANDOM % 10000))
while taken "$port"; do port=$((20000 + RANDOM % 10000)); done
say "making its torrent: 0:$seconds long, with a picture from the film as thumbnail"
run torrent "$swarm" create film.mp4 --duration "0:$seconds" --tracker "http://127.0.0.1:$port/announce" \
  -o film.torrent

say "sharing it: seed and tracker on 127.0.0.1, at most $((rate / 1000)) kB/s (the film needs $((bytes / seconds / 1000)))"
"$swarm" --quiet seed film.torrent --bind 127.0.0.1 --max-upload-rate "$rate" --tracker "127.0.0.1:$port" \
  >seed.log 2>&1 </dev/null &
seed=$!
pids+=("$seed")
until taken "$port"; do
  kill -0 "$seed" 2>/dev/null || { cat seed.log >&2; fail "swarm seed ended"; }
  sleep 0.1
done

source=(swarmsrc location=film.torrent bind-address=127.0.0.1)
sound=(film. ! queue ! audioconvert ! audioresample)
if [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]]; then
  say "playing it in a window while it downloads: gst-launch-1.0 ${source[*]} ! decodebin ! ... ! autovideosink"
  run player gst-launch-1.0 -q "${source[@]}" ! decodebin name=film \
    film. ! queue ! videoconvert ! autovideosink "${sound[@]}" ! autoaudiosink
  say "the film is over"
else
  say "there is no display: decoding it in real time while it downloads"
  # One picture every five seconds: the last one stays.
  run player gst-launch-1.0 -q "${source[@]}" ! decodebin name=film \
    film. ! queue ! videoconvert ! tee name=pictures ! queue ! fakesink sync=true \
    pictures. ! queue ! videorate drop-only=true ! video/x-raw,framerate=1/5 ! videoconvert ! pngenc \
    ! multifilesink location=picture.png "${sound[@]}" ! fakesink sync=true
  picture=$(mktemp --suffix=.png "${TMPDIR:-/tmp}/swarm-demo-XXXXXX")
  mv picture.png "$picture"
  say "the film is over; a picture of it: $picture"
fi
