# Runs one server and takes it down, files included, when standard input closes: that is when the
# process that holds the other end ends, however it ends.
#
#   sh -c THIS supervisor FOLDER STOP_SIGNAL PROGRAM ARGUMENT...
#
# Orders are lines on standard input. Before each `start` the other end clears the folder of `pid`
# and `exited`. The folder tells the outcome: `pid` once the server runs,
# `exited` with its status once it does not.

# The terminal's signals are not for us, and the stop signal goes to our whole process group.
trap '' HUP INT TERM

folder=$1
stop_signal=$2
shift 2
server=

start() {
    {
        "$@" </dev/null >>"$folder/log" 2>&1 &
        echo "$!" >"$folder/pid"
        wait "$!"
        echo "$?" >"$folder/exited"
    } &
    server=$!
}

stop() {
    [ -n "$server" ] || return 0
    # A frozen process cannot obey.
    [ ! -s "$folder/frozen" ] || kill -CONT $(cat "$folder/frozen")
    rm -f "$folder/frozen"
    kill "-$stop_signal" 0
    {
        sleep 5
        kill -KILL "$(cat "$folder/pid")"
    } &
    watchdog=$!
    wait "$server"
    kill -KILL "$watchdog"
    server=
}

while read -r order; do
    case $order in
        start) start "$@" ;;
        stop) stop ;;
    esac
done
stop
rm -rf "$folder"
kill -KILL 0
