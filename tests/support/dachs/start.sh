#!/usr/bin/env bash
# Start DaCHS as a second, independent TAP service with the embedded archive's rows.
#
#   tests/support/dachs/start.sh GAIA_CSV WORK_FOLDER
#
# Prints the TAP URL when the service answers with these rows; again called, it returns at once. On a failure it prints the
# end of WORK_FOLDER/dachs-setup.log and exits 1. Needs root and Debian 12. DACHS_PORT and DACHS_PGPORT choose other ports.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: $0 GAIA_CSV WORK_FOLDER" >&2; exit 2; }
[ "$EUID" -eq 0 ] || { echo "$0 installs and starts Debian packages: run it as root" >&2; exit 1; }
csv=$(realpath -e "$1")
work=$2
here=$(cd "$(dirname "$0")" && pwd)
export DACHS_PORT=${DACHS_PORT:-8480} DACHS_PGPORT=${DACHS_PGPORT:-5433}
mkdir -p "$work"
log=$work/dachs-setup.log

if timeout -k 10 "${DACHS_LIMIT:-900}" bash "$here/setup.sh" "$csv" </dev/null >"$log" 2>&1; then
  echo "http://127.0.0.1:$DACHS_PORT/tap"
else
  status=$?
  {
    [ $status -ne 124 ] || echo "DaCHS was not ready in ${DACHS_LIMIT:-900} s"
    echo "DaCHS did not start; the end of $log:"
    tail -n 30 "$log"
  } >&2
  exit 1
fi
