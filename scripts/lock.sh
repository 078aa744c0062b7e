#!/usr/bin/env bash
# Compile the pins of requirements/ from pyproject.toml. uv looks where pip is told to look for torch's CPU build;
# where that is nowhere, it asks PyTorch's own index. No host name or path ends up in the files.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  .venv/bin/python -m pip install --quiet uv
  uv=.venv/bin/uv
fi
links=$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)
links=${PIP_FIND_LINKS:-$links}
options=(--no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet)
torch=$(sed -n 's/^ *"torch==\(.*\)",$/\1/p' pyproject.toml | head -n 1)
backend=()
[ -n "$links" ] || backend=(--torch-backend cpu)
UV_FIND_LINKS=$links "$uv" pip compile pyproject.toml --extra cpu --extra dev --python-version 3.11 "${options[@]}" \
  "${backend[@]}" --override requirements/overrides.txt --constraint <(echo "torch==$torch+cpu") -o requirements/cpu.txt
UV_FIND_LINKS='' "$uv" pip compile pyproject.toml --extra gpu --extra dev --python-version 3.11 "${options[@]}" \
  --python-platform x86_64-manylinux_2_28 -o requirements/gpu.txt
if grep -nE '://|@|/' requirements/cpu.txt requirements/gpu.txt; then
  echo "lock: a pin names a host or a path; expected name==version only" >&2
  exit 1
fi
