#!/usr/bin/env bash
# The steps behind start.sh, each of which finds out whether it is needed: packages, database server, configuration, rows,
# service. Works without systemd. Its output is a log. PostgreSQL and DaCHS inherit no descriptor of the caller: one who
# reads to the end of a pipe would wait for them.
set -euo pipefail

for fd in "/proc/$$/fd/"*; do
  fd=${fd##*/}
  # 255 is where bash reads this script
  [ "$fd" -le 2 ] || [ "$fd" -eq 255 ] || eval "exec $fd>&-"
done

csv=$1
here=$(cd "$(dirname "$0")" && pwd)
url=http://127.0.0.1:$DACHS_PORT
rc=/etc/gavo.rc
authority=x-gavip.test
inputs=/var/gavo/inputs/gaiadr3
pgversion=15
cluster="$pgversion dachs"
# the caller's database and Python are not ours; the clients that Debian's packages call find our cluster by PGPORT
unset "${!PG@}" "${!PYTHON@}" "${!GAVO@}"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PGPORT=$DACHS_PGPORT
begun=$SECONDS

say() { echo "== $1 ($((SECONDS - begun)) s)"; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

apt_get() { apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }

install_packages() {
  local package missing=()
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  # a bare machine has no lists of packages, an old one lists versions that are gone
  apt_get install --no-install-recommends "${missing[@]}" ||
    { apt_get update && apt_get install --no-install-recommends "${missing[@]}"; }
}

as_postgres() { (cd / && su postgres -c "$1"); }

# What the post-install script of DaCHS does first, and the spherical types, which it would fail to create: Debian's
# PostgreSQL 15.20 has the rule of 17 that a commutator belongs to one operator, which pgSphere before 1.4 breaks with its
# obsolete @(bigint, smoc) and @(spoint, smoc) (postgrespro/pgsphere#85). So it gets a version without these two.
create_database() {
  as_postgres "psql -qAtc \"SELECT datname FROM pg_database\"" | grep -qx gavo ||
    as_postgres "createdb --encoding=UTF-8 --template template0 gavo"
  as_postgres "psql -qc 'CREATE EXTENSION IF NOT EXISTS pg_sphere' gavo" && return
  local folder version fixed
  folder=/usr/share/postgresql/$pgversion/extension
  version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$folder/pg_sphere.control")
  fixed=${version}gavip
  perl -0pe 's/^CREATE OPERATOR @ \(\s+LEFTARG\s*=\s*\w+,\s+RIGHTARG\s*=\s*smoc,.*?\);\n//gms' \
    "$folder/pg_sphere--$version.sql" >"$folder/pg_sphere--$fixed.sql"
  as_postgres "psql -qc \"CREATE EXTENSION pg_sphere VERSION '$fixed'\" gavo"
}

# a query, because DaCHS says that it is available when its database is not
answers() {
  [[ $(curl -sf --noproxy '*' -m 10 "$url/tap/sync" -d LANG=ADQL -d FORMAT=csv \
    -d QUERY='SELECT TOP 1 source_id FROM gaiadr3.gaia_source') == source_id* ]]
}

# as Debian's init script starts it
dachs_server() { env -i LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin timeout 60 dachs --disable-spew serve "$1"; }

if [ -e $rc ] && ! grep -q "$authority" $rc; then
  echo "This machine has a DaCHS of its own ($rc), which the tests must not change."
  exit 1
fi
sum=$(cat "$csv" "$here/q.rd" | sha256sum)
if [ "$(cat $inputs/imported 2>/dev/null)" = "$sum" ] && answers; then
  say "already running"
  exit 0
fi

install_packages curl postgresql-$pgversion postgresql-$pgversion-q3c postgresql-$pgversion-pgsphere

say "database server"
pg_lsclusters -h | grep -q "^$pgversion *dachs " || pg_createcluster $cluster -p "$PGPORT"
PGPORT=$(pg_lsclusters -h | awk '$2 == "dachs" {print $3}') # it may be older than the wish for this port
pg_lsclusters -h | grep -q "^$pgversion *dachs .* online" || pg_ctlcluster $cluster start

# The post-install script of DaCHS creates the database and its roles, so the server must run by now and the profile
# name our port. It runs as dachsroot, who cannot change a folder of root: the group must be right beforehand.
getent group gavo >/dev/null || addgroup gavo
install -d -m 2775 -g gavo /var/gavo /var/gavo/etc
printf 'database = gavo\nhost = localhost\nport = %s\n' "$PGPORT" >/var/gavo/etc/dsn
cat >$rc <<RC
[web]
bindAddress: 127.0.0.1
serverPort: $DACHS_PORT
serverURL: $url
[ivoa]
authority: $authority
RC
if ! installed gavodachs2-server; then
  create_database
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    # the package would start a server before there are rows
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  install_packages gavodachs2-server
fi

if [ "$(cat $inputs/imported 2>/dev/null)" != "$sum" ]; then
  say "import"
  dachs_server stop || true # it would go on with the old table's description
  install -d -o dachsroot -g gavo $inputs $inputs/data
  install -o dachsroot -g gavo -m 644 "$csv" $inputs/data/gaia.csv
  install -o dachsroot -g gavo -m 644 "$here/q.rd" $inputs/q.rd
  rm -f $inputs/imported
  (cd / && su dachsroot -c "dachs imp gaiadr3/q")
  echo "$sum" >$inputs/imported
fi

say "service"
if ! answers; then
  dachs_server stop || true # one that hangs, or listens at another port
  dachs_server start
fi
for _ in $(seq 300); do
  if answers; then
    say "ready"
    exit 0
  fi
  sleep 0.2
done
tail -n 20 /var/gavo/logs/server.stderr || true
exit 1
