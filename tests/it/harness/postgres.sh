# A PostgreSQL of a test's own. Each line of standard input is a command (`start PORT`, `create DATABASE`, `stop`, `kill`), and
# each is answered with `done` or `failed`. When the input ends so does the server, and nothing is left of it: however a test
# dies, the system closes its end of the pipe.
set -u

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres)")
if [ ! -x "$bin/postgres" ]; then
    echo "these tests need PostgreSQL: \`make postgres\` installs Debian's" >&2
    exit 1
fi
# PostgreSQL refuses to run as root.
as=
[ "$(id -u)" != 0 ] || as="setpriv --reuid=postgres --regid=postgres --clear-groups"
pid= memory=

start() {
    [ -z "$pid" ] || return 1
    # Everything that makes a write durable stays as PostgreSQL has it.
    $as "$bin/postgres" -D data -p "$1" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400 \
        -c shared_buffers=32MB </dev/null >>log 2>&1 &
    pid=$!
    # By its own file, for another server may answer at the port.
    until [ "$(sed -n '1p;8p' data/postmaster.pid 2>/dev/null | tr -d ' ' | paste -sd ' ')" = "$pid ready" ]; do
        if ! kill -0 "$pid" 2>/dev/null; then
            wait "$pid"
            pid=
            tail -n 5 log >&2
            return 1
        fi
        sleep 0.02
    done
}

create() {
    $as "$bin/createdb" --host=127.0.0.1 --port="$(sed -n 4p data/postmaster.pid)" --username=seawall --no-password "$1"
}

# Ends the server with a signal and waits until its last process is gone: those that serve connections outlive one that is
# killed for a moment, and no other server may start meanwhile.
end() {
    [ -n "$pid" ] || return 0
    memory=$(sed -n 7p data/postmaster.pid | awk '{ print $2 }')
    kill -"$1" "$pid"
    wait "$pid" 2>/dev/null
    pid=
    while awk -v id="$memory" '$2 == id && $7 > 0 { used = 1 } END { exit !used }' /proc/sysvipc/shm 2>/dev/null; do
        sleep 0.02
    done
}

leave() {
    end QUIT
    # What the system keeps of a server that was killed.
    [ ! -e data/postmaster.pid ] || ipcrm --shmem-id "$memory"
    cd /
    rm -rf "$dir"
}

dir=$(mktemp -d) || exit
trap leave EXIT
trap exit HUP INT TERM
cd "$dir" || exit
[ -z "$as" ] || chown postgres: .
$as "$bin/initdb" --pgdata=data --auth=trust --username=seawall --encoding=UTF8 --locale=C.UTF-8 --no-sync >log 2>&1 || {
    cat log >&2
    exit 1
}
while read -r command name; do
    case $command in
        start) start "$name" ;;
        create) create "$name" ;;
        stop) end INT ;;
        kill) end KILL ;;
        *) false ;;
    esac </dev/null && echo "done" || echo failed
done
