#!/usr/bin/env bash
# Broadcasts a DV camcorder that hangs on this machine's FireWire from another machine, until Ctrl-C:
# live-dv.sh USER@HOST
# The line of 2008 was dvgrab | ffmpeg | ssh, and it still is: the picture is encoded here and signed there, by the
# `swarm` that is installed there. HOST's name is what viewers are told. NAME and PORT are taken from the environment.
# dvgrab tells the camcorder to play. One that is not set to play (VCR) but to film may record over its tape: take
# the tape out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=pipelines/need.sh
source "$here/pipelines/need.sh"

(($# == 1)) || fail "say from where to broadcast: live-dv.sh USER@HOST"
for tool in dvgrab ffmpeg ssh; do
  command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install dvgrab ffmpeg openssh-client"
done
compgen -G "/dev/fw*" >/dev/null || fail "there is no FireWire port here (/dev/fw*)"
ssh -o BatchMode=yes "$1" command -v swarm >/dev/null || fail "$1 cannot be reached by key, or has no swarm in its PATH"

name=${NAME:-dv.ts} port=${PORT:-8764} host=${1#*@}
say "viewers open http://$host:$port/$name.tstream - Ctrl-C ends it"
heed_ctrl_c
dvgrab --format raw - \
  | ffmpeg -v error -f dv -i - -vf yadif -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -b:v 1200k -g 50 \
    -c:a aac -b:a 96k -f mpegts - \
  | ssh -o BatchMode=yes "$1" swarm live --name "${name@Q}" --source - --port "$port" --announce-address "$host" \
  || pipe_ended "${PIPESTATUS[@]}"
