#!/usr/bin/env bash
# Installs what the tests need and is missing, from Debian, where that is possible:
# redis-server, chromium, zbarimg, pdftoppm, node, npm, curl. Says what it could not install; the tests
# that need it then fail under CI=1 and say so loudly elsewhere.
set -u
declare -A package=([redis-server]=redis-server [redis-cli]=redis-tools [chromium]=chromium [zbarimg]=zbar-tools [pdftoppm]=poppler-utils [node]=nodejs [npm]=npm [curl]=curl)
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null && as_root=(sudo -n)
fi
if command -v apt-get >/dev/null; then
  echo "installing: ${missing[*]}"
  # Redis is started by the tests themselves, each on a port of its own.
  export DEBIAN_FRONTEND=noninteractive
  if ! "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    "${as_root[@]}" apt-get update -qq >/dev/null 2>&1
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
  fi
fi
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || echo "not to be had here: $tool (Debian package ${package[$tool]})" >&2
done
exit 0
