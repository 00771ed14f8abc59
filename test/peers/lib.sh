# Shared by the scripts in this directory; bash, sourced, never run.

host=127.0.0.1
base=${PEERS_PORT:-21000}       # ports are base+something; see README.md
users=500                       # u0…u499@bench.test, besides big@ and pop@
domain=bench.test
password=secret
bench=${BENCH:-bench}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# use_dir DIR: make DIR the directory of all peers, absolute and searchable by
# the accounts that the daemons run under.
use_dir() {
	[ -n "${1:-}" ] || die "usage: ${0##*/} up|down|targets DIR"
	mkdir -p "$1"
	dir=$(cd "$1" && pwd)
	[ ${#dir} -le 60 ] || die "$dir: too long for the names of Unix sockets below it (60 octets)"
}

# all_users: every login name without its domain.
all_users() {
	echo big
	echo pop
	seq -f 'u%.0f' 0 $((users - 1))
}

# A cpuacct group also counts the processes that have already ended, which
# matters for servers that fork. Where there is none the tree of processes is
# measured instead.
cgroups=/sys/fs/cgroup/cpuacct
group() { echo "postino-$(printf %s "$dir" | cksum | cut -d' ' -f1)-$1"; }

# start NAME COMMAND...: run COMMAND in the CPU group of NAME. COMMAND is a
# daemon that goes to the background by itself.
start() {
	local name=$1 cg
	shift
	cg=$cgroups/$(group "$name")
	mkdir -p "$cg" 2>/dev/null || true
	(
		{ echo $BASHPID >"$cg/cgroup.procs"; } 2>/dev/null || true
		exec "$@"
	) </dev/null >>"$dir/$name/log.start" 2>&1 || {
		tail -n 20 "$dir/$name/log.start" >&2
		die "$name did not start"
	}
}

# started NAME PIDFILE...: remember the ids of the masters, once written.
started() {
	local name=$1 file i
	shift
	: >"$dir/$name/pids"
	for file; do
		for i in $(seq 100); do
			[ -s "$file" ] && break
			sleep 0.1
		done
		[ -s "$file" ] || die "$name: no $file"
		echo $(head -n 1 "$file") >>"$dir/$name/pids"
	done
}

# meter NAME: the key of a target line that says how to measure its CPU.
meter() {
	local cg
	cg=$(group "$1")
	if grep -q . "$cgroups/$cg/cgroup.procs" 2>/dev/null; then
		echo "cg=$cg"
	else
		echo "pid=$(head -n 1 "$dir/$1/pids")"
	fi
}

# tree PID: a process and all of its descendants.
tree() {
	local child
	echo "$1"
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$child"; done
}

# members NAME: the live processes that belong to NAME, by their ids.
members() {
	local pid
	{
		cat "$cgroups/$(group "$1")/cgroup.procs" 2>/dev/null
		while read -r pid; do
			# Ids are used again: only a process that knows this directory is ours.
			grep -qF "$dir/$1" "/proc/$pid/cmdline" 2>/dev/null && tree "$pid"
		done <"$dir/$1/pids"
	} | sort -un
}

# stop NAME: end its processes, politely first.
stop() {
	local name=$1 pids i
	[ -e "$dir/$name/pids" ] || return 0
	pids=$(members "$name")
	if [ -n "$pids" ]; then
		kill -TERM $(cat "$dir/$name/pids") 2>/dev/null || true
		for i in $(seq 50); do
			alive $pids || break
			sleep 0.1
		done
		# The masters are gone; what they left behind follows.
		for i in TERM KILL; do
			pids=$(echo $pids $(members "$name"))
			alive $pids || break
			kill -$i $pids 2>/dev/null || true
			sleep 0.5
		done
	fi
	rm -f "$dir/$name/pids"
	rmdir "$cgroups/$(group "$name")" 2>/dev/null || true
}

# alive PID...: whether any of them still runs.
alive() {
	local p
	for p; do kill -0 "$p" 2>/dev/null && return 0; done
	return 1
}

# listens PORT: wait until somebody answers there.
listens() {
	local i
	for i in $(seq 100); do
		(exec 3<>"/dev/tcp/$host/$1") 2>/dev/null && return 0
		sleep 0.1
	done
	die "nothing listens on port $1"
}
