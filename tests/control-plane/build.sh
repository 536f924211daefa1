#!/bin/sh
# Builds the programs of the tests that need Kubernetes itself: the control plane (main.go), and the oracle that asks
# kube-scheduler's plugins (oracle/). Each goes to target/<name>/<hash of its sources>/<name>, unless it is there already.
# The sources lie beside the binary, so that the tests can tell which build belongs to this checkout.
#
#     build.sh [control-plane|oracle]...    both without arguments
set -eu
cd "$(dirname "$0")"

if command -v sha256sum >/dev/null; then hasher=sha256sum; else hasher="shasum -a 256"; fi

# build <name> <package> <sources>...
build() {
    name=$1
    package=$2
    shift 2
    # $hasher is a list of words.
    # shellcheck disable=SC2086
    hash=$(cat "$@" | $hasher | cut -c 1-16)
    folder=../../target/$name/$hash
    if [ -x "$folder/$name" ]; then
        return
    fi

    # Reading go.mod fails where Go is missing, too old, or cannot fetch the release that go.mod asks for.
    if ! version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes 2>/dev/null); then
        echo "error: the tests need Go >= 1.26 to build parts of Kubernetes:" \
            "install it from https://go.dev/dl/, or run 'make test-unit' and 'make test-embedded', which work without it" >&2
        exit 1
    fi
    major=${version#v}
    minor=${major#*.}
    major=${major%%.*}
    minor=${minor%%.*}

    echo "Building the $name of Kubernetes $version for the tests." \
        "This takes about five minutes on two cores the first time, and seconds after that."
    mkdir -p "$folder"
    # Only a finished binary gets the final name, also when two builds run at once.
    unfinished=$folder/$name.$$
    trap 'rm -f "$unfinished"' EXIT
    trap 'exit 1' HUP INT TERM
    stamp=k8s.io/component-base/version
    CGO_ENABLED=0 go build -trimpath -buildvcs=false \
        -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor" \
        -o "$unfinished" "$package"
    cp "$@" "$folder/"
    mv "$unfinished" "$folder/$name"
}

if [ $# -eq 0 ]; then
    set -- control-plane oracle
fi
for program; do
    case $program in
    control-plane) build control-plane . go.mod go.sum main.go ;;
    oracle) build oracle ./oracle go.mod go.sum oracle/*.go ;;
    *)
        echo "error: build.sh knows control-plane and oracle, not $program" >&2
        exit 2
        ;;
    esac
done
