#!/bin/sh
# The service is begun as its settings say. `echo` stands in for the program.
set -eu
. ./settings.env
wanted="demo-service --address 127.0.0.1:8080 --version v1 --latency-ms $LATENCY_MS --error-ratio $ERROR_RATIO"
got=$(SHOP_PROGRAM=echo sh bin/shop 127.0.0.1:8080 v1)
if [ "$got" != "$wanted" ]; then
    echo "error: bin/shop begins \`$got\` instead of \`$wanted\`" >&2
    exit 1
fi
echo "1 test passed"
