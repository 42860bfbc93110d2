#!/bin/sh
# Puts this release where instances begin it: pack.sh DIRECTORY VERSION. A release that is there is
# whole and never changed, so that it may be asked for twice.
set -eu
if [ -d "$1/$2" ]; then
    echo "$1/$2 is there already"
    exit 0
fi
mkdir -p "$1"
new=$(mktemp -d "$1/.new.XXXXXX")
cp -R bin settings.env "$new"
chmod 755 "$new"
mv "$new" "$1/$2"
echo "packed $1/$2"
