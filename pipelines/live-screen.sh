#!/usr/bin/env bash
# Broadcasts an X11 screen, until Ctrl-C: live-screen.sh (FOLDER, PORT and HOST_NAME as in need.sh)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

[[ -n ${DISPLAY:-} ]] || fail "there is no X11 display (DISPLAY is not set); to try it: xvfb-run -a $0"
build_swarm
broadcast_as screen.ts
exec gst-launch-1.0 -e -q ximagesrc use-damage=false ! video/x-raw,framerate=15/1 ! videoconvert ! videoscale \
  ! "video/x-raw,format=I420,width=(int)[2,1280,2],height=(int)[2,720,2],pixel-aspect-ratio=1/1" \
  ! x264enc speed-preset=veryfast tune=zerolatency bitrate=1500 key-int-max=30 ! h264parse config-interval=-1 \
  ! queue ! mpegtsmux ! "${sink[@]}" bitrate=210000
