#!/bin/sh
# Every script parses, and every setting is a known one.
set -eu
for script in bin/* scripts/*.sh; do
    sh -n "$script"
done
if grep -nEv '^(#.*|LATENCY_MS=[0-9]+|ERROR_RATIO=(0|1|0\.[0-9]+))$' settings.env; then
    echo "error: settings.env: the lines above are no settings" >&2
    exit 1
fi
echo "lint: nothing to say"
