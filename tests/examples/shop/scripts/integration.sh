#!/bin/sh
# Asks a running service whether it answers as this version: integration.sh URL VERSION.
set -eu
answer=$(curl --silent --show-error --fail --max-time 10 --include "$1")
version=$(printf '%s\n' "$answer" | tr -d '\r' | sed -n 's/^[Xx]-[Vv]ersion: //p')
if [ "$version" != "$2" ]; then
    echo "error: $1 is version '$version' instead of '$2'" >&2
    exit 1
fi
echo "$1 answers as $version"
