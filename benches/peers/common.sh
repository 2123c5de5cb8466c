# What the scripts that compare us with peers share: pairs in turn, ratios with quartiles, servers that end with them.
# Sourced by bash after tests/packages.sh; the script that sources it defines clean_up.
# shellcheck shell=bash disable=SC2034,SC2317

fewest_pairs=11
pairs=${1:-$fewest_pairs}
case "$pairs" in
    '' | *[!0-9]*)
        echo "usage: $0 [PAIRS], a number of pairs from $fewest_pairs" >&2
        exit 2
        ;;
esac
if [ "$pairs" -lt "$fewest_pairs" ]; then
    echo "at least $fewest_pairs pairs are needed for a median with quartiles" >&2
    exit 2
fi

work=$(mktemp -d)
servers=()
is_bad=0
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stop_servers() {
    local id
    for id in "${servers[@]}"; do
        kill "$id" 2>/dev/null || true
        wait "$id" 2>/dev/null || true
    done
}

unable() {
    echo "could not measure: $1" >&2
    exit 3
}

# serve LOG TEXT COMMAND...: starts a server and waits until its log says TEXT.
serve() {
    local log=$1 text=$2 id deadline=$((SECONDS + 10))
    shift 2
    "$@" >"$log" 2>&1 </dev/null &
    id=$!
    servers+=("$id")
    until grep -q "$text" "$log"; do
        kill -0 "$id" 2>/dev/null || unable "$1 ended: $(cat "$log")"
        [ "$SECONDS" -lt "$deadline" ] || unable "$1 did not start within 10 s: $(cat "$log")"
        sleep 0.05
    done
}

# The p50 of one series in microseconds, from our own CSV on standard input.
our_p50() { our_quantile "$1" p50; }

# our_quantile SERIES QUANTILE: one a line where several series have this name.
our_quantile() {
    awk -F, -v name="$1" -v wanted="$2_ns" '
        { sub(/\r$/, "") }
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        $column["name"] == name && $column[wanted] != "" { print $column[wanted] / 1000; found = 1 }
        END { exit !found }' || unable "no $2 of $1"
}

# Median and quartiles of numbers, one a line.
quartiles() {
    sort -n | awk '
        function at(share,  rank, low) {
            rank = 1 + (NR - 1) * share
            low = int(rank)
            return low == NR ? value[NR] : value[low] + (rank - low) * (value[low + 1] - value[low])
        }
        { value[NR] = $1 }
        END { print at(0.5), at(0.25), at(0.75) }'
}

# row WHAT OURS PEER RATIO LOWER UPPER LIMIT HOLDS
row() {
    printf '%-36s %10s %10s %8s %15s %8s  %s\n' "$1" "$2" "$3" "$4" "$5 - $6" "$7" "$8"
}

# compare WHAT LIMIT OURS PEER [UNIT]: runs two functions in turn and judges the median of the ratios; without a limit
# it is shown and not judged. A limit of >=X is a least, any other a most.
compare() {
    local what=$1 limit=$2 ours=$3 peer=$4 unit=${5:-us} pair a b
    : >"$work/pairs"
    for ((pair = 1; pair <= pairs; pair++)); do
        a=$("$ours") || unable "$ours"
        b=$("$peer") || unable "$peer"
        echo "$a $b" >>"$work/pairs"
    done
    judge_pairs "$what" "$limit" "$unit"
}

# judge_pairs WHAT LIMIT UNIT: judges the pairs in $work/pairs.
judge_pairs() {
    local what=$1 limit=$2 unit=$3 a b ratio lower upper holds
    read -r ratio lower upper < <(awk '{ print $1 / $2 }' "$work/pairs" | quartiles)
    read -r a _ < <(cut -d' ' -f1 "$work/pairs" | quartiles)
    read -r b _ < <(cut -d' ' -f2 "$work/pairs" | quartiles)
    holds=$(verdict "$ratio" "$limit")
    row "$what" "$(printf '%.1f %s' "$a" "$unit")" "$(printf '%.1f %s' "$b" "$unit")" "$(printf '%.2f' "$ratio")" \
        "$(printf '%.2f' "$lower")" "$(printf '%.2f' "$upper")" "$limit" "$holds"
    [ "$holds" != no ] || is_bad=1
}

# Whether a figure is within its limit; a limit of - judges nothing.
verdict() {
    awk -v figure="$1" -v limit="$2" 'BEGIN {
        if (limit == "-") print "not judged"
        # In brackets, for a bare > after print is a file to write to.
        else if (sub(/^>=/, "", limit)) print (figure >= limit + 0 ? "yes" : "no")
        else print (figure <= limit + 0 ? "yes" : "no")
    }'
}

# cost WHAT UNIT LIMIT: judges the median of the numbers on standard input.
cost() {
    local what=$1 unit=$2 limit=$3 median lower upper holds
    read -r median lower upper < <(quartiles)
    holds=$(verdict "$median" "$limit")
    row "$what" "$(printf '%.2f %s' "$median" "$unit")" - - "$(printf '%.2f' "$lower")" "$(printf '%.2f' "$upper")" \
        "$limit $unit" "$holds"
    [ "$holds" != no ] || is_bad=1
}
