# The last part of every container's script: runs `main`, which the part above defines, and leaves the termination report.
#
# All that main and its children print goes through one pipe to tee, so that the report's byte count and POSIX cksum are
# of exactly what the container printed. A second pair is of the same without carriage returns: containerd leaves out the one
# before a newline. The exit code is main's own: a pipe never turns a failure into a success.
# Written for busybox sh, dash and bash.

report() { # NAME VALUE: one field of the report, a word
    printf ',"%s":"%s"' "$1" "$(printf %s "$2" | tr -cd 'A-Za-z0-9:._-')" >>"$reports/fields"
}

fail() { # CODE MESSAGE: end main, telling people and the portal why
    printf 'ci-portal: %s\n' "$2"
    report error "$1"
    exit 1
}

reports=$(mktemp -d /tmp/report.XXXXXX) || exit 70
mkfifo "$reports/out" "$reports/sum" "$reports/bare" "$reports/end" || exit 70
: >"$reports/fields"
exec </dev/null 2>/dev/null # what this shell itself might say ("Killed") is not output of the build

trap '' TERM # these see everything to its end, also when the pod is being stopped
cksum <"$reports/sum" >"$reports/cksum" &
sum=$!
tr -d '\r' <"$reports/bare" | cksum >"$reports/bare_cksum" &
bare=$!
tail -c 16000 <"$reports/end" >"$reports/tail" &
end=$!
tee "$reports/sum" "$reports/bare" "$reports/end" <"$reports/out" &
printer=$!
trap 'trap "" TERM; report error stopped; kill -TERM 0' TERM
(main) >"$reports/out" 2>&1 &
builder=$!

while :; do # wait returns early when the trap runs
    wait "$builder"
    code=$?
    kill -0 "$builder" || break
done
# Whatever main left running must not hold the pipe open for ever.
(sleep "${CI_PORTAL_GRACE:-5}" && kill -KILL "$printer") >/dev/null &
guard=$!
wait "$printer"
kill "$guard"
wait "$sum"
wait "$bare"
wait "$end"

{
    printf '{"exit":%s' "$code"
    read -r crc bytes _ <"$reports/cksum" && printf ',"bytes":%s,"cksum":%s' "$bytes" "$crc"
    read -r crc bytes _ <"$reports/bare_cksum" && printf ',"bare_bytes":%s,"bare_cksum":%s' "$bytes" "$crc"
    cat "$reports/fields"
    # Long lines lose their middle, so that the few kilobytes a report may have reach back to the Dockerfile's line.
    [ "$code" = 0 ] || printf ',"tail":"%s"' "$(LC_ALL=C sed 's/^\(.\{150\}\).*\(.\{200\}\)$/\1 ... \2/' "$reports/tail" |
        tail -c 2100 | base64 | tr -d '\n')"
    printf '}'
} >"$reports/message"
cat "$reports/message" >"${CI_PORTAL_REPORT:-/dev/termination-log}"
rm -rf "$reports"
exit "$code"
