#!/usr/bin/env sh
# The four commands, on material that the world draws. About five minutes on two cores; no download.
set -eu
out=${1:-outputs/quickstart}
export CCVD_HOME="$out/home"

ccvd world subject --out "$out/photos" --index 3
ccvd world motion --out "$out/clips" --name circling

ccvd learn-subject --images "$out/photos" --class-noun rocket --name V1 --preview "$out/V1.mp4"
ccvd learn-motion --videos "$out/clips" --class-noun circling --name V2 --preview "$out/V2.mp4"
ccvd generate "a <V1> rocket performing <V2> on the beach" --out "$out/clip.mp4" --seed 1
ccvd list concepts
