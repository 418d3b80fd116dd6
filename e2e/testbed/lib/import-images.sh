#!/usr/bin/env bash
# Runs on a node: imports those image archives that its containerd lacks.
#   import-images.sh ARCHIVES MARKS
# ARCHIVES holds NAME.tar and NAME.tar.sha256; MARKS, on the node's disk,
# remembers which content of NAME was imported.
set -euo pipefail
archives=$1 marks=$2
mkdir -p "$marks"
exec 9>"$marks/.lock"
flock 9
for _ in {1..150}; do
    ctr version >/dev/null 2>&1 9>&- && break
    sleep 0.2
done
for archive in "$archives"/*.tar; do
    [[ -f $archive ]] || continue
    mark=$marks/$(basename "$archive").sha256
    cmp -s "$archive.sha256" "$mark" && continue
    ctr --namespace k8s.io images import "$archive" >/dev/null 9>&-
    cp "$archive.sha256" "$mark"
done
