#!/usr/bin/env bash
# Every check that a change must pass; exits with 1 if one of them fails. What it needs goes into .venv.
# Development data are used where the environment variable NAPARI_LD_DATA names their folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source .ci/environment.sh

system_packages || exit 1
environment test --editable '.[qt,dicom-seg]' --group dev

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
failed=()

check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" </dev/null || failed+=("$name")
}

demo() {
  .venv/bin/napari-ld demo --headless "$output" && [ -s "$output/screenshot.png" ] && [ -s "$output/landmarks.csv" ]
}

check "ruff" .venv/bin/ruff check .
check "ruff format" .venv/bin/ruff format --check .
check "mypy" .venv/bin/mypy
check "import-linter" .venv/bin/lint-imports
check "demo" demo
export NAPARI_STRICT_QT=1 # napari then fails where a widget is left alive
check "pytest" xvfb-run -a -s "-screen 0 1920x1080x24" .venv/bin/python -m pytest "$@"

if [ ${#failed[@]} -gt 0 ]; then
  say "failed: ${failed[*]}"
  exit 1
fi
say "all checks passed"
