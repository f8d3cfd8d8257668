#!/usr/bin/env bash
# Builds the images of a release for amd64 and arm64, from a base image that is pinned by its digest.
#
#   deploy/images.sh pin              asks the registry for the digest of the base, and writes deploy/base-image.env
#   deploy/images.sh build [OPTION…]  builds; options go to `docker buildx bake`, such as --push, or --print to look only
#
#   REGISTRY=registry.example.org/ml/ VERSION=0.1.0 deploy/images.sh build --push
#
# Needs docker with buildx, and for `build` a builder that has both platforms (docker buildx create --use).
# Commit the pin: a build from the same commit then takes the same base. Renew it for fixes of Python and Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=${BASE:-python:3.11-slim-bookworm}
PIN=${PIN:-deploy/base-image.env}
DIGEST='^[^@[:space:]]+@sha256:[0-9a-f]{64}$'

refuse() {
    printf 'images.sh: %s\n' "$*" >&2
    exit 2
}

case ${1:-} in
pin)
    digest=$(docker buildx imagetools inspect "$BASE" --format '{{.Manifest.Digest}}') || refuse "no digest of $BASE."
    [[ $BASE@$digest =~ $DIGEST ]] || refuse "the registry gave ${digest:-nothing} as the digest of $BASE."
    printf 'PYTHON_IMAGE=%s@%s\n' "$BASE" "$digest" | tee "$PIN"
    ;;
build)
    shift
    [[ -f $PIN ]] || refuse "the base is not pinned: run deploy/images.sh pin, and commit $PIN."
    PYTHON_IMAGE=$(sed -n 's/^PYTHON_IMAGE=//p' "$PIN")
    [[ $PYTHON_IMAGE =~ $DIGEST ]] || refuse "$PIN has no PYTHON_IMAGE with a digest: run deploy/images.sh pin."
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    REVISION=${REVISION:-$(git rev-parse HEAD)}
    export PYTHON_IMAGE SOURCE_DATE_EPOCH REVISION
    exec docker buildx bake --file deploy/docker-bake.json "$@"
    ;;
*) refuse "say pin or build; the first lines of this file explain both." ;;
esac
