#!/bin/sh
# Installs this version of the Archipel edge gateway, or brings an installed one to it. May be run again and again: what is
# right is left alone, settings and data are kept. A version that does not become healthy is taken back by itself.
#
#   ./install.sh                install or upgrade, start, wait until it is healthy
#   ./install.sh --no-start     install only
#   ./install.sh --rollback     go back to the version before
#   ./install.sh --root DIR     into an image whose root is DIR; nothing is started
#   ./install.sh --wait SECONDS for the gateway to become healthy (90)
#
# Needs root, and nothing but what a bare Debian has. SYSTEMCTL names another program in place of systemctl.
set -eu

name=archipel-edge-gateway
root=
start=yes
rollback=no
wait_seconds=90

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --root) root=${2:?--root wants a folder}; shift 2 ;;
    --wait) wait_seconds=${2:?--wait wants a number of seconds}; shift 2 ;;
    --no-start) start=no; shift ;;
    --rollback) rollback=yes; shift ;;
    --help | -h) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "$1 is no option; --help shows them." ;;
  esac
done

[ "$(id -u)" -eq 0 ] || fail "Installing needs root: sudo ./install.sh"
root=${root%/}
[ -z "$root" ] || [ -d "$root" ] || fail "There is no folder $root."
systemctl=${SYSTEMCTL:-systemctl}
if [ -z "${SYSTEMCTL:-}" ]; then
  # Into an image, or where systemd does not run (a container): only the files.
  if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then start=no; fi
fi

package=$(cd "$(dirname "$0")" && pwd -P)
versions=$root/opt/archipel/edge-gateway
settings=$root/etc/archipel/edge-gateway.toml
unit=$root/etc/systemd/system/$name.service

# The name of the version that a link points to; empty: there is none.
version_at() { [ -L "$versions/$1" ] && readlink "$versions/$1" || true; }

# A link is replaced in one step: there is no moment without a version.
point() {
  ln -sfn "$2" "$versions/.$1.new"
  mv -T "$versions/.$1.new" "$versions/$1"
}

gateway() { ARCHIPEL_EDGE_SETTINGS=$settings "$versions/current/bin/$name" "$@"; }

# Makes a version the one that runs. Its unit file goes with it.
activate() {
  point current "$1"
  mkdir -p "$(dirname "$unit")"
  cp "$versions/$1/$name.service" "$unit.new"
  chmod 0644 "$unit.new"
  mv "$unit.new" "$unit"
  [ "$start" = yes ] || return 0
  "$systemctl" daemon-reload
  "$systemctl" restart "$name"
}

# 0: well; 2: it runs and accepts nothing; 1: it does not answer.
health() {
  code=0
  gateway --health >/dev/null 2>&1 || code=$?
  echo "$code"
}

# Waits until the gateway is well: or, where it accepted nothing before (a full disk), until it answers at all.
becomes_healthy() {
  left=$wait_seconds
  while :; do
    now=$(health)
    if [ "$now" = 0 ] || { [ "$now" = 2 ] && [ "$before" = 2 ]; }; then return 0; fi
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 1
  done
}

# From a version to another, and back if the other does not become healthy.
change() {
  from=$1
  to=$2
  activate "$to"
  [ "$start" = yes ] || return 0
  say "waiting for version $to to become healthy"
  if becomes_healthy; then
    say "version $to is up: $(gateway --health)"
    return 0
  fi
  if [ -z "$from" ] || [ "$from" = "$to" ]; then
    fail "Version $to is installed and does not become healthy; 'journalctl -u $name' says why."
  fi
  say "version $to does not become healthy; going back to $from" >&2
  activate "$from"
  if becomes_healthy; then fail "Version $from runs again. What was wrong with $to: 'journalctl -u $name'."; fi
  fail "Version $from does not become healthy either; 'journalctl -u $name' says why."
}

current=$(version_at current)
previous=$(version_at previous)
before=0
if [ -n "$current" ] && [ "$start" = yes ]; then before=$(health); fi

if [ "$rollback" = yes ]; then
  [ -n "$previous" ] && [ -d "$versions/$previous" ] || fail "There is no version before ${current:-this one} to go back to."
  [ -n "$current" ] || fail "No version is installed."
  say "going back from $current to $previous"
  change "$current" "$previous"
  point previous "$current"
  exit 0
fi

version=$(cat "$package/VERSION")
(cd "$package" && sha256sum --check --quiet SHA256SUMS) || fail "This package is damaged; fetch it again."
"$package/bin/node" --version >/dev/null 2>&1 ||
  fail "The program of this package ($(cat "$package/ARCHITECTURE")) does not run on this machine ($(uname -m))."

# Settings that this version would refuse are found before anything is changed.
if [ -e "$settings" ]; then
  ARCHIPEL_EDGE_SETTINGS=$settings "$package/bin/$name" --check-settings >/dev/null || fail "Nothing was changed."
fi

uid_of() { awk -F: -v name=archipel '$1 == name { print $3 ":" $4 }' "$root/etc/passwd" 2>/dev/null || true; }
if [ -z "$(uid_of)" ]; then
  [ -z "$root" ] || [ -e "$root/etc/passwd" ] || fail "$root has no etc/passwd: it is no root of a system."
  if [ -z "$root" ]; then prefix=; else prefix="--prefix $root"; fi
  # shellcheck disable=SC2086 # two words or none
  useradd $prefix --system --user-group --home-dir /var/lib/archipel --no-create-home --shell /usr/sbin/nologin archipel
fi
owner=$(uid_of)

mkdir -p "$versions" "$root/etc/archipel" "$root/usr/local/bin" "$root/var/lib/archipel/edge-gateway"
copied=no
if ! cmp -s "$package/SHA256SUMS" "$versions/$version/SHA256SUMS"; then
  say "copying version $version"
  copied=yes
  rm -rf "$versions/.$version.new"
  cp -R "$package" "$versions/.$version.new"
  chown -R 0:0 "$versions/.$version.new"
  chmod -R u=rwX,go=rX "$versions/.$version.new"
  # Another build of the same version: it gives way in one step.
  if [ -e "$versions/$version" ]; then mv "$versions/$version" "$versions/.$version.old"; fi
  mv "$versions/.$version.new" "$versions/$version"
  rm -rf "$versions/.$version.old"
fi
if [ ! -e "$settings" ]; then
  say "settings: $settings (every field is explained there)"
  cp "$package/edge-gateway.toml" "$settings"
  if [ -d "$package/viewer" ]; then
    sed -i 's|^#viewerFolder = .*|viewerFolder = "/opt/archipel/edge-gateway/current/viewer"|' "$settings"
  fi
fi
chown "0:${owner#*:}" "$settings"
chmod 0640 "$settings"
ln -sfn "/opt/archipel/edge-gateway/current/bin/$name" "$root/usr/local/bin/$name"

# The data folder of the settings: made, owned by the gateway, writable for its unit.
data=$(ARCHIPEL_EDGE_SETTINGS=$settings "$package/bin/$name" --data-folder)
mkdir -p "$root$data"
chown "$owner" "$root$data"
chmod 0750 "$root$data"
drop_in=$root/etc/systemd/system/$name.service.d/data-folder.conf
if [ "$data" = /var/lib/archipel/edge-gateway ]; then
  rm -f "$drop_in"
else
  mkdir -p "$(dirname "$drop_in")"
  printf '[Unit]\nRequiresMountsFor="%s"\n\n[Service]\nReadWritePaths="%s"\n' "$data" "$data" >"$drop_in"
fi

if [ "$current" = "$version" ] && [ $copied = no ] && { [ "$start" = no ] || [ "$before" = 0 ]; }; then
  say "version $version is installed already"
  exit 0
fi
if [ "$start" = yes ]; then "$systemctl" enable "$name" >/dev/null 2>&1 || true; fi
change "$current" "$version"
if [ -n "$current" ] && [ "$current" != "$version" ]; then point previous "$current"; fi
# The present version and the one before stay.
for folder in "$versions"/*; do
  [ -d "$folder" ] && [ ! -L "$folder" ] || continue
  case $(basename "$folder") in "$(version_at current)" | "$(version_at previous)") ;; *) rm -rf "$folder" ;; esac
done
if [ "$start" = yes ]; then
  say "installed; the status page is on the HTTP port of the settings, under /status"
else
  say "installed version $version; nothing was started (systemctl enable --now $name)"
fi
