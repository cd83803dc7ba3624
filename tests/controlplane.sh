#!/usr/bin/env bash
# The programs of the end-to-end tests, built from tests/controlplane, tests/kwok and tests/helm into the folder given as
# the first argument; what is there already, of the same versions, is left alone. A second argument, the name of one of
# the three, builds only that one. KUBEBUILDER_ASSETS, where it names a folder with kube-apiserver, etcd and kubectl,
# takes the place of all this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the folder to build into}

# GO may name another command; empty stands for go.
go=${GO:-go}

complain() {
  printf 'controlplane: %s\n' "$@" >&2
  exit 1
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  missing=()
  for tool in kube-apiserver etcd kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$tool" ] || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] ||
    complain "KUBEBUILDER_ASSETS names $KUBEBUILDER_ASSETS, but there is no ${missing[*]} in it" \
      "point it to a folder with kube-apiserver, etcd and kubectl, or unset it to build them with Go"
  echo "controlplane: kube-apiserver, etcd and kubectl of KUBEBUILDER_ASSETS ($KUBEBUILDER_ASSETS)"
  exit 0
fi

version() { # module, folder of the go.mod that requires it
  sed -nE "s|^[[:space:]]*(require )?$1 (v[^ ]+)( // indirect)?$|\2|p" "$here/$2/go.mod"
}

# Whether all of a module's programs are there, built from just this go.mod, go.sum and this script.
built() { # folder of the module, programs
  local module=$1 tool
  shift
  cat "$here/$module/go.mod" "$here/$module/go.sum" "$here/controlplane.sh" | cmp -s - "$out/$module.built" || return 1
  for tool; do [ -x "$out/$tool" ] || return 1; done
}

begin() { # folder of the module
  local module=$1 wanted have
  wanted=$(sed -nE 's/^go ([0-9]+\.[0-9]+).*/\1/p' "$here/$module/go.mod")
  command -v "$go" >/dev/null 2>&1 ||
    complain "the control plane of the tests is built with Go $wanted or newer, and $go is not there" \
      "install Go (https://go.dev/doc/install), or point KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl"
  have=$("$go" env GOVERSION)
  # An older Go that may fetch toolchains fetches the one wanted.
  if [ "$("$go" env GOTOOLCHAIN)" = local ] && [ "$(printf 'go%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "go$wanted" ]; then
    complain "the control plane of the tests is built with Go $wanted or newer, and this is $have"
  fi
  echo "controlplane: building $module with $have; minutes the first time"
  mkdir -p "$out"
  rm -f "$out/$module.built"
}

build() { # folder of the module, program, package, linker flags
  echo "controlplane: $2"
  # Into place only when whole: an interrupted build leaves nothing that looks ready.
  CGO_ENABLED=0 "$go" -C "$here/$1" build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w $4" -o "$out/.$2.new" "$3"
  mv "$out/.$2.new" "$out/$2"
}

finish() { # folder of the module
  cat "$here/$1/go.mod" "$here/$1/go.sum" "$here/controlplane.sh" >"$out/$1.built"
}

only=${2:-}
wanted() { # folder of the module
  [ "${only:-$1}" = "$1" ]
}

if wanted controlplane && ! built controlplane etcd kube-apiserver kube-scheduler kubectl; then
  begin controlplane
  kubernetes=$(version k8s.io/kubernetes controlplane)
  IFS=. read -r major minor _ <<<"${kubernetes#v}"
  flags="-X k8s.io/component-base/version.gitVersion=$kubernetes \
    -X k8s.io/component-base/version.gitMajor=$major -X k8s.io/component-base/version.gitMinor=$minor"
  build controlplane etcd go.etcd.io/etcd/server/v3 ""
  for tool in kubectl kube-scheduler kube-apiserver; do
    build controlplane "$tool" "k8s.io/kubernetes/cmd/$tool" "$flags"
  done
  finish controlplane
fi
if wanted kwok && ! { built kwok kwok && [ -d "$out/stages" ]; }; then
  begin kwok
  build kwok kwok sigs.k8s.io/kwok/cmd/kwok "-X sigs.k8s.io/kwok/pkg/consts.Version=$(version sigs.k8s.io/kwok kwok)"
  # What plays the kubelet is said in Stage files, which the module ships.
  stages=$("$go" -C "$here/kwok" list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  rm -rf "$out/stages"
  mkdir "$out/stages"
  install -m 644 "$stages"/node/fast/node-*.yaml "$stages"/node/heartbeat/node-*.yaml "$stages"/pod/fast/pod-*.yaml "$out/stages"
  finish kwok
fi
if wanted helm && ! built helm helm; then
  begin helm
  build helm helm helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$(version helm.sh/helm/v4 helm)"
  finish helm
fi
