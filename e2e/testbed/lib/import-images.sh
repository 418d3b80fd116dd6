#!/usr/bin/env bash
# Runs on a node: imports those image archives that its containerd lacks.
#   import-images.sh ARCHIVES MARKS
# ARCHIVES holds NAME.tar and NAME.tar.digest; MARKS, on the node's disk,
# remembers which image NAME was when imported.
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
    mark=$marks/$(basename "$archive").digest
    cmp -s "$archive.digest" "$mark" && continue
    ctr --namespace k8s.io images import "$archive" >/dev/null 9>&-
    cp "$archive.digest" "$mark"
done
