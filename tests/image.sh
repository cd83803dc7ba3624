#!/usr/bin/env bash
# usage: tests/image.sh BINARY   builds the last stage of deploy/Dockerfile around BINARY with buildah, and runs the image.
# Its first stage, which compiles, needs a base image from a registry; BINARY stands for what it makes. A binary that is not
# linked statically brings its shared libraries along.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:?usage: tests/image.sh BINARY}")

if ! command -v buildah >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "make image LEFT OUT: buildah is not here, or this is not root"
  exit 0
fi
# Buildah mounts what a container sees; not every sandbox lets root do that.
if ! unshare --mount true 2>/dev/null; then
  echo "make image LEFT OUT: nothing may be mounted here"
  exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
build() { STORAGE_DRIVER=vfs timeout 120 buildah --root "$scratch/root" --runroot "$scratch/run" "$@"; }

mkdir "$scratch/context"
install -m 755 "$binary" "$scratch/context/cpufit"
sed -n '/^FROM scratch$/,$p' deploy/Dockerfile | sed 's|--from=build /out/cpufit|cpufit|' >"$scratch/context/Dockerfile"
grep -q '^COPY cpufit /cpufit$' "$scratch/context/Dockerfile" || { echo "deploy/Dockerfile has no last stage FROM scratch"; exit 1; }
# Path by path, what the loader would look for: nothing for a static binary.
{ ldd "$binary" 2>/dev/null || true; } | grep -oE '/[^ ]+' | sort -u | while read -r library; do
  mkdir -p "$scratch/context/libraries$(dirname "$library")"
  cp -L "$library" "$scratch/context/libraries$library"
done
if [ -d "$scratch/context/libraries" ]; then
  sed -i 's|^COPY cpufit /cpufit$|COPY libraries /\n&|' "$scratch/context/Dockerfile"
fi

build bud --isolation chroot --quiet -t cpufit:test "$scratch/context" >/dev/null
config=$(build inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{index .OCIv1.Config.Labels "org.opencontainers.image.licenses"}}' cpufit:test)
[ "$config" = '65532:65532 [/cpufit] Apache-2.0' ] || { echo "the image is configured otherwise: $config"; exit 1; }

container=$(build from cpufit:test)
run() { build run --isolation chroot "$container" -- /cpufit "$@"; }
version=$(run version --client)
expected=$("$binary" version --client)
[ "$version" = "$expected" ] || { echo "in the image: $version; here: $expected"; exit 1; }
run manifests | grep -q '^kind: Deployment$' || { echo "the image prints no manifests"; exit 1; }
run audit --snapshot - -o json <demo/cluster.yaml | grep -q '"guests": [1-9]' || { echo "the image judges nothing"; exit 1; }
echo "the image runs as $config: version, manifests, audit"
