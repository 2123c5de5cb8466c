# Which programs the tests and the peer benchmarks call, and how they come onto a Debian machine. Sourced by bash.
# shellcheck shell=bash

# Servers, tools of the administrator and plugins of container networks lie outside of the path of ordinary users.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/cni"

# Each line: a program that is called by name, and the package that brings it.
package_of() {
    case "$1" in
        awk) echo mawk ;;
        bpftool) echo bpftool ;;
        bpftrace) echo bpftrace ;;
        busybox) echo busybox-static ;;
        clang) echo clang ;;
        cmp) echo diffutils ;;
        containerd | ctr) echo containerd ;;
        docker | dockerd) echo docker.io ;;
        etcd) echo etcd-server ;;
        etcdctl) echo etcd-client ;;
        chromium) echo chromium ;;
        curl) echo curl ;;
        faketime) echo faketime ;;
        fping) echo fping ;;
        gcc) echo gcc ;;
        host-local) echo containernetworking-plugins ;;
        ip | tc) echo iproute2 ;;
        jq) echo jq ;;
        ldd) echo libc-bin ;;
        llvm-strip) echo llvm ;;
        make) echo make ;;
        mount | umount) echo mount ;;
        nginx) echo nginx-light ;;
        nsenter) echo util-linux ;;
        openssl) echo openssl ;;
        ping) echo iputils-ping ;;
        podman) echo podman ;;
        pip3) echo python3-pip ;;
        prometheus-node-exporter) echo prometheus-node-exporter ;;
        promtool) echo prometheus ;;
        python3) echo python3 ;;
        redis-benchmark) echo redis-tools ;;
        redis-server) echo redis-server ;;
        qemu-system-aarch64) echo qemu-system-arm ;;
        qemu-system-x86_64) echo qemu-system-x86 ;;
        setpriv) echo util-linux ;;
        shellcheck) echo shellcheck ;;
        sockperf) echo sockperf ;;
        strip) echo binutils ;;
        tar) echo tar ;;
        timeout) echo coreutils ;;
        taskset) echo util-linux ;;
        wrk) echo wrk ;;
        *)
            echo "tests/packages.sh knows no package for the program $1" >&2
            return 1
            ;;
    esac
}

# The emulator that a guest of this machine's architecture runs in; nothing where no guest is known.
guest_emulator() {
    case $(uname -m) in
        x86_64 | aarch64) echo "qemu-system-$(uname -m)" ;;
    esac
}

# Makes sure that the programs named are there: installs their packages as root, else says what to run and exits 3.
require_programs() {
    local program package packages=()
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            package=$(package_of "$program") || exit 3
            case " ${packages[*]} " in
                *" $package "*) ;;
                *) packages+=("$package") ;;
            esac
        fi
    done
    if [ ${#packages[@]} -eq 0 ]; then
        echo "all there: $*"
        return
    fi
    local line="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "missing programs, and this is no Debian machine; install what holds them there: ${packages[*]}" >&2
        exit 3
    fi
    if [ "$(id -u)" -ne 0 ]; then
        printf 'missing programs; run this line, then start again:\n    sudo sh -c "%s"\n' "$line" >&2
        exit 3
    fi
    echo "installing ${packages[*]}"
    install_packages "${packages[@]}" || {
        printf 'the packages could not be installed; try it by hand and read what it says:\n    %s\n' "$line" >&2
        exit 3
    }
    hash -r
}

# Installs packages without starting the services in them: the tests start their own, on ports of their own.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\n# Made for the time of one installation by tests/packages.sh: start nothing.\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" </dev/null
)
