#!/usr/bin/env bash
# Builds the deb and the rpm of this tree, for the architectures named, or all: examples/deploy/package.sh amd64. They are in out/packages.
# BINARY=path puts a binary for Linux in that is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

[ $# -gt 0 ] || set -- amd64 arm64 arm7
rm -rf out/package out/packages
mkdir -p out/package/man out/package/completion out/packages

native=${BINARY:-out/package/native}
[ -n "${BINARY:-}" ] || go build -trimpath -buildvcs=auto -o "$native" ./cmd/xrtcbridge
"$native" man out/package/man
gzip -9n out/package/man/*
"$native" completion bash >out/package/completion/xrtcbridge.bash
"$native" completion zsh >out/package/completion/_xrtcbridge
"$native" completion fish >out/package/completion/xrtcbridge.fish

VERSION=$("$native" version | cut -d' ' -f2)
case $VERSION in v[0-9]*) ;; *) VERSION=0.0.0 ;; esac # built without its repository
DATE=$(git log -1 --format=%cI 2>/dev/null || date -u +%FT%TZ)
for arch; do
	case $arch in arm7) target=(GOARCH=arm GOARM=7) ;; *) target=(GOARCH="$arch") ;; esac
	if [ -n "${BINARY:-}" ]; then
		cp "$BINARY" out/package/xrtcbridge
	else
		env GOOS=linux CGO_ENABLED=0 "${target[@]}" go build -trimpath -buildvcs=auto -o out/package/xrtcbridge ./cmd/xrtcbridge
	fi
	sed "s/@ARCH@/$arch/; s/@VERSION@/$VERSION/; s/@DATE@/$DATE/" examples/deploy/nfpm.yaml >out/package/nfpm.yaml
	for packager in deb rpm; do
		go run "$nfpm" package -f out/package/nfpm.yaml -p "$packager" -t out/packages
	done
done
