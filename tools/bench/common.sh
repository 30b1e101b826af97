# For scripts here that start a broker and load it; sourced from the root of the repository. SLUICE and LOAD may name
# other programs than those that are built.

. tools/need
need jq jq

rounds=${ROUNDS:-7}
seconds=${SECONDS_EACH:-5}
dist=${CARGO_TARGET_DIR:-target}/dist
if [ -z "${SLUICE:-}" ]; then
    cargo build --locked --quiet --profile dist -p sluicemq --bin sluice
    cargo build --locked --quiet --profile dist -p sluice-load
fi
sluice=${SLUICE:-$dist/sluice}
load=${LOAD:-$dist/sluice-load}
folder=$(mktemp -d)
broker=
trap 'stop; rm -rf "$folder"' EXIT

stop() {
    if [ -n "$broker" ]; then
        kill "$broker" 2>/dev/null || true
        wait "$broker" 2>/dev/null || true
        broker=
    fi
}

# Starts $1 under the configuration on standard input, on the first processor; sets $port.
start() {
    local program=$1
    { cat; printf '[[listener]]\naddress = "127.0.0.1:0"\n'; } >"$folder/sluice.toml"
    : >"$folder/ready"
    taskset -c 0 "$program" --config "$folder/sluice.toml" >"$folder/ready" 2>"$folder/log" &
    broker=$!
    for _ in $(seq 600); do
        if grep -q '"sluice":"ready"' "$folder/ready"; then break; fi
        sleep 0.1
    done
    port=$(jq -r 'select(.sluice == "ready").listeners[0].address' "$folder/ready" | sed 's/.*://')
}

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
