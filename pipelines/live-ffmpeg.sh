#!/usr/bin/env bash
# Broadcasts whatever ffmpeg can read, until Ctrl-C: live-ffmpeg.sh [FFMPEG'S OPTIONS AND INPUT...]
# For example: live-ffmpeg.sh -re -i film.mkv; live-ffmpeg.sh -i rtsp://192.0.2.9/stream1
# Without any it is ffmpeg's own test picture. FOLDER, PORT and HOST_NAME as in need.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

(($#)) || set -- -re -f lavfi -i testsrc2=size=640x360:rate=25 -re -f lavfi -i sine=frequency=440:beep_factor=4
build_swarm
need_packages ffmpeg
broadcast_as ffmpeg.ts
heed_ctrl_c
ffmpeg -v error -nostdin "$@" -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -b:v 900k -g 50 \
  -c:a aac -b:a 96k -f mpegts - \
  | "${live[@]}" --source - || pipe_ended "${PIPESTATUS[@]}"
