#!/bin/sh
# sh docs/satellite.sh SCENE.tif FOLDER: the commands of docs/satellite.md, one after another.
# What each prints is kept as FOLDER/NAME.txt; runs, codes and pictures lie in FOLDER, too.
set -eu
scene=$(realpath "$1")
mkdir -p "$2"
cd "$2"
export AECLI_RUNS_DIR=runs

# said NAME COMMAND...: run a command, and keep it with what it prints
said() {
    name=$1
    shift
    echo "\$ $*" | sed "s|$scene|scene.tif|g" >"$name.txt"
    "$@" >>"$name.txt" 2>&1 || { tail -n 5 "$name.txt"; exit 1; }
    tail -n 1 "$name.txt"
}

said look aecli data look "$scene" --set data.tile=512 --set data.stride=64 --set data.nodata=0 \
    --set 'data.test=[1280,0,761,1860]'
said train aecli train --config tiles --dataset "$scene" --set data.nodata=0 \
    --set 'data.test=[1280,0,761,1860]'
said encode aecli encode latest "$scene" -o codes.npy --scores
said search aecli search latest "$scene[1300,900]" --in codes.npy -k 3 -o window.png
said decode aecli decode latest codes.npy -o decoded
said bits aecli encode latest "$scene" -o small.npy --bits 6
said small aecli train --dataset "$scene" --codec conv --code-dim 256 --recipe muon-256 --epochs 5 \
    --set codec.width=32 --set data.tile=128 --set data.stride=32 --set data.nodata=0 \
    --set 'data.test=[1280,0,761,1860]' --set data.val=0 --set train.mirror=true
said sample aecli sample --run latest --samples 500
said to-vae aecli to-vae latest --epochs 5 --samples 500 --set train.optimizer.block_rows=256
said again aecli sample --run latest --samples 500
