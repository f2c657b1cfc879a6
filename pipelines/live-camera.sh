#!/usr/bin/env bash
# Broadcasts a camera, until Ctrl-C: live-camera.sh [FILE]
# Without a camera it broadcasts FILE, or else a test pattern. DEVICE (/dev/video0), FOLDER, PORT and HOST_NAME in
# the environment say which camera, and the rest as in need.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

device=${DEVICE:-/dev/video0}
if [[ ! -e $device ]]; then
  if (($#)); then
    say "there is no camera $device: $1 goes out instead"
    exec "$here/pipelines/live-file.sh" "$1"
  fi
  say "there is no camera $device: a test pattern goes out instead"
  exec "$here/pipelines/live-testpattern.sh"
fi
build_swarm
broadcast_as camera.ts
exec gst-launch-1.0 -e -q v4l2src device="$device" ! decodebin ! videoconvert ! videoscale ! videorate \
  ! video/x-raw,format=I420,width=640,height=360,framerate=25/1,pixel-aspect-ratio=1/1 \
  ! x264enc speed-preset=veryfast tune=zerolatency bitrate=1200 key-int-max=50 ! h264parse config-interval=-1 \
  ! queue ! mpegtsmux ! "${sink[@]}" bitrate=170000
