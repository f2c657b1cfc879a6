#!/usr/bin/env bash
# Broadcasts a test pattern with a clock and a tone, until Ctrl-C: live-testpattern.sh
# FOLDER, PORT and HOST_NAME in the environment say where its files go and how viewers reach it (see need.sh).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

build_swarm
broadcast_as testpattern.ts
exec gst-launch-1.0 -e -q mpegtsmux name=mux ! "${sink[@]}" bitrate=150000 \
  videotestsrc is-live=true pattern=smpte horizontal-speed=4 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 \
  ! clockoverlay halignment=center valignment=center font-desc="Sans 36" time-format="%H:%M:%S" \
  ! x264enc speed-preset=veryfast tune=zerolatency bitrate=900 key-int-max=50 ! h264parse config-interval=-1 ! queue ! mux. \
  audiotestsrc is-live=true wave=ticks volume=0.3 ! audio/x-raw,rate=48000,channels=2 \
  ! audioconvert ! avenc_aac bitrate=96000 ! aacparse ! queue ! mux.
