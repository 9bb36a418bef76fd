# Sourced by demo.sh and test.sh, which have set `-euo pipefail` and stand in the repository root.
#
#   system_packages            installs what Qt, OpenGL and Xvfb need; fails, listing the packages, where it may not
#   environment NAME ARGS...   makes .venv and runs `pip install ARGS...` in it, once per change of pyproject.toml

say() { printf '%s\n' "napari-ld: $*" >&2; }

PACKAGES=(
  xvfb xauth libgl1 libgl1-mesa-dri libegl1 libopengl0 libglib2.0-0 libdbus-1-3 libfontconfig1
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
  libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1
)

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }

system_packages() {
  command -v dpkg-query >/dev/null || return 0 # not a Debian: the libraries have other names there
  local missing=() package as_root=()
  for package in "${PACKAGES[@]}"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      say "these system packages are missing; ask an administrator to run"
      say "    apt-get install ${missing[*]}"
      return 1
    fi
  fi
  say "installing system packages: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null; then
    say "apt-get could not install: ${missing[*]} (see the lines above)"
    return 1
  fi
}

environment() {
  local name=$1 python=${PYTHON:-python3} stamp
  shift
  if ! command -v "$python" >/dev/null ||
    ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "Python 3.11 or newer is needed; set PYTHON to one, for example PYTHON=python3.11 $0"
    return 1
  fi
  stamp="$PWD $("$python" --version) $* $(cksum <pyproject.toml)"
  [ "$(cat ".venv/installed-$name" 2>/dev/null)" != "$stamp" ] || return 0

  say "installing into .venv (the first time this downloads a lot: torch alone may be some gigabytes)"
  # A folder that was moved or copied carries paths that lead elsewhere: venv mends them.
  if ! "$python" -m venv .venv; then
    say "cannot make .venv: install the package python3-venv (apt-get install python3-venv), or see the lines above"
    return 1
  fi
  local pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
  "${pip[@]}" install --upgrade 'pip>=25.1'
  # The torch of the package index brings CUDA along, some gigabytes: a CPU build that lies at hand is taken first.
  if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    "${pip[@]}" install --no-index --no-deps torch >/dev/null 2>&1 || true
  fi
  "${pip[@]}" install "$@"
  printf '%s\n' "$stamp" >".venv/installed-$name"
}
