#!/usr/bin/env bash
# Broadcasts a file again and again, until Ctrl-C: live-file.sh FILE
# What MPEG-TS cannot carry is encoded; all else goes out as it is. FOLDER, PORT and HOST_NAME as in need.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

(($# == 1)) || fail "say which file: live-file.sh FILE"
[[ -r $1 ]] || fail "$1 cannot be read"
build_swarm
need_packages ffmpeg

# kept TYPE CODEC...: whether the file's first stream of this type is one of these, and can go out as it is.
kept() {
  local found
  found=$(ffprobe -v error -select_streams "$1:0" -show_entries stream=codec_name -of csv=p=0 "$file" | head -n 1)
  shift
  [[ " $* " == *" ${found%,} "* ]]
}

file=$1
# Encoded as players everywhere take it, with a key frame every two seconds or so, where viewers can begin.
video=(libx264 -preset veryfast -pix_fmt yuv420p -g 50)
kept v h264 hevc mpeg2video && video=(copy)
audio=(aac)
kept a aac mp3 mp2 ac3 && audio=(copy)
name=$(basename "$file")
broadcast_as "${name%.*}.ts"
heed_ctrl_c
# ffmpeg keeps the time (-re), so that the element need not. That the element ends first at Ctrl-C is no news.
ffmpeg -v error -nostdin -re -stream_loop -1 -i "$file" -map 0:v:0? -map 0:a:0? -c:v "${video[@]}" -c:a "${audio[@]}" \
  -f mpegts - 2> >(trap '' INT && exec sed -u '/Broken pipe\|Last message repeated/d' >&2) \
  | gst-launch-1.0 -e -q fdsrc ! "${sink[@]}" sync=false || pipe_ended "${PIPESTATUS[@]}"
