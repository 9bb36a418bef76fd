#!/usr/bin/env bash
# Opens the demo: a sample stack on which one click has already been propagated. What it needs goes into .venv.
#
#   ./demo.sh                  the window; without a display, the same headless, into demo-output/
#   ./demo.sh --headless DIR   writes DIR/screenshot.png and DIR/landmarks.csv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source .ci/environment.sh

system_packages || say "going on without them: there may be no window"
environment demo --editable '.[qt]'

if [ $# -eq 0 ] && [ "$(uname)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  say "no display here: the demo writes its picture and its table into demo-output/"
  set -- --headless demo-output
fi
exec .venv/bin/napari-ld demo "$@"
