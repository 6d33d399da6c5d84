# A Redis of a test's own. Each line of standard input is a command (`start PORT`, `kill`, `pause`, `resume`), and each is
# answered with `done` or `failed`. When the input ends so does the server. What it is started with besides stands in $arguments.
set -u

if ! command -v redis-server >/dev/null; then
    echo "these tests need Redis: \`make redis\` installs Debian's" >&2
    exit 1
fi
pid=

start() {
    [ -z "$pid" ] || return 1
    : >log
    redis-server --bind 127.0.0.1 --port "$1" --save '' --appendonly no $(echo "$arguments" | sed "s/PORT/$1/") </dev/null >>log 2>&1 &
    pid=$!
    # By its own words, for another server may answer at the port.
    until grep -q 'Ready to accept connections' log; do
        if ! kill -0 "$pid" 2>/dev/null; then
            wait "$pid"
            pid=
            tail -n 5 log >&2
            return 1
        fi
        sleep 0.02
    done
}

end() {
    [ -n "$pid" ] || return 0
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    pid=
}

leave() {
    end
    cd /
    rm -rf "$dir"
}

dir=$(mktemp -d) || exit
trap leave EXIT
trap exit HUP INT TERM
cd "$dir" || exit
while read -r command port; do
    case $command in
        start) start "$port" ;;
        kill) end ;;
        pause) kill -STOP "$pid" ;;
        resume) kill -CONT "$pid" ;;
        *) false ;;
    esac </dev/null && echo "done" || echo failed
done
