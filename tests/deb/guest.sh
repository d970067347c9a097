# SPDX-License-Identifier: MIT
# To be sourced: a system that is booted over an overlay of this one (tests/systemd/boot), in which packages are installed.
# The caller has `build` and `scratch`, and may define prepare_more ROOT.
# shellcheck shell=bash
version=$(sed -n 's/^VERSION := //p' Makefile)
newer=$version.1
packages=$build/deb

guest() { nsenter -t "$(<"$booted_at/leader")" -a -r "$@"; }
ctl() { guest upgradectl "$@"; }
fail() {
	echo "$*"
	ctl status 2>&1
	guest journalctl -q -u upgraded --no-pager 2>&1 | tail -n 30
	exit 1
}
# until_so SECONDS COMMAND...: it succeeds in the end.
until_so() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || return 1
		sleep 0.05
	done
}

# Both versions, of the tree as it is.
build_packages() {
	local wanted
	for wanted in "$version" "$newer"; do
		DEB_BUILD_OPTIONS=noautodbgsym units/make-deb "$wanted" "$packages" || exit 1
	done
}
package() { printf '%s/%s_%s_%s.deb' "$packages" "$1" "$2" "$(dpkg --print-architecture)"; }

# In the root of the system that will be booted: no habits of a container image, and no upgraded but that of the packages.
prepare_root() {
	local root=$1
	rm -f "$root/usr/sbin/policy-rc.d" "$root"/etc/apt/apt.conf.d/docker-* "$root"/etc/dpkg/dpkg.cfg.d/docker*
	rm -rf "$root"/usr/local/{bin/upgrade*,sbin/upgraded,lib/libupgrade*,lib/upgraded} "$root"/etc/upgraded "$root"/var/lib/upgraded
	# A copy: what is installed on this machine meanwhile must not be seen half done in there.
	cp -a "$root/var/lib/dpkg" "$root/var/lib/dpkg.own"
	rm -rf "$root/var/lib/dpkg" "$root"/var/lib/dpkg.own/updates/*
	mv "$root/var/lib/dpkg.own" "$root/var/lib/dpkg"
	# The machine's own criu works nowhere.
	printf '#!/bin/sh\necho not on this kernel >&2\nexit 1\n' >"$root/usr/sbin/criu"
	[[ ! -x $build/criu/bin/criu ]] || cp -rL "$build/criu" "$root/opt/criu"
	mkdir -p "$root/var/tmp/packages"
	cp "$packages"/*_"$version"_*.deb "$packages"/*_"$newer"_*.deb "$root/var/tmp/packages/"
	prepare_more "$root"
}
prepare_more() { :; }

# install_package OPTION|FILE...: as an administrator would, without a network.
install_package() {
	local deb files=()
	for deb; do
		[[ $deb == -* ]] && files+=("$deb") || files+=("/var/tmp/packages/$(basename "$deb")")
	done
	guest env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o Dpkg::Use-Pty=0 install "${files[@]}"
}

boot_guest() {
	printf '#!/bin/bash\nexec %q --prepare "$1"\n' "$PWD/$0" >"$scratch/prepare"
	chmod +x "$scratch/prepare"
	booted_at=$scratch/boot folder=$scratch
	mkdir "$booted_at"
	tests/systemd/boot "$booted_at" "$scratch/prepare" &
	booted=$!
	trap leave_guest EXIT
	until [[ -s $booted_at/leader ]]; do
		kill -0 "$booted" 2>/dev/null || { echo 'no systemd can be booted on this machine'; exit 3; }
		sleep 0.05
	done
}
leave_guest() {
	[[ -z $(cat "$booted_at/leader" 2>/dev/null) ]] || guest systemctl exit 0 2>/dev/null
	[[ -z ${booted:-} ]] || wait "$booted" 2>/dev/null
	rm -rf "$folder"
}

main_pid() { guest systemctl show -P MainPID upgraded; }
pid_of() { ctl -o json status "$1" | grep -o '"pid": *[0-9]*' | head -n 1 | grep -o '[0-9]*'; }
lives() { guest bash -c 'kill -0 "$0"' "$1"; }
ended() { ! lives "$1"; }
