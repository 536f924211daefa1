#!/bin/sh
# Builds the control plane of the integration tests (see main.go) into
# target/control-plane/<hash of go.mod, go.sum and main.go>/control-plane, unless it is there already.
# The sources lie beside the binary, so that the tests can tell which build belongs to this checkout.
set -eu
cd "$(dirname "$0")"

sources="go.mod go.sum main.go"
if command -v sha256sum >/dev/null; then hasher=sha256sum; else hasher="shasum -a 256"; fi
# $sources and $hasher are lists of words.
# shellcheck disable=SC2086
hash=$(cat $sources | $hasher | cut -c 1-16)
folder=../../target/control-plane/$hash
if [ -x "$folder/control-plane" ]; then
    exit 0
fi

# Reading go.mod fails where Go is missing, too old, or cannot fetch the release that go.mod asks for.
if ! version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes 2>/dev/null); then
    echo "error: the integration tests need Go >= 1.26 to build their Kubernetes control plane:" \
        "install it from https://go.dev/dl/, or run 'make test-unit' and 'make test-embedded', which work without it" >&2
    exit 1
fi
major=${version#v}
minor=${major#*.}
major=${major%%.*}
minor=${minor%%.*}

echo "Building the Kubernetes $version control plane for the tests." \
    "This takes about five minutes on two cores the first time, and seconds after that."
mkdir -p "$folder"
# Only a finished binary gets the final name, also when two builds run at once.
unfinished=$folder/control-plane.$$
trap 'rm -f "$unfinished"' EXIT
trap 'exit 1' HUP INT TERM
stamp=k8s.io/component-base/version
CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor" \
    -o "$unfinished" .
# shellcheck disable=SC2086
cp $sources "$folder/"
mv "$unfinished" "$folder/control-plane"
