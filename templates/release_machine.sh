# Ends a lease on a host of one's own: its processes, what engines left in /tmp and /dev/shm, its folder. Run it by
# `sh -s -- ROOT LEASE GRACE_S`; it may be run again at any point. Code 17: the folder is another lease's.
root=$1 lease=$2 left=$(($3 * 10))
[ ${#lease} -eq 36 ] || exit 1
folder=$root/machine leaving=$root/.$lease.gone

pids() { grep -ls "THUNDER_LEASE_ID=$lease" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
leaders() {  # one a session: its leader, or all of it where the leader has gone
  all=" $(pids | tr '\n' ' ')"
  for pid in $all; do
    read -r stat <"/proc/$pid/stat" || continue
    set -- ${stat##*) }
    case $all in *" $4 "*) [ "$4" = "$pid" ] || continue ;; esac
    echo "$pid"
  done
} 2>/dev/null
temporaries() { grep -hos '/tmp/thunder-[a-z0-9_]\{8\}' "$folder"/run/*.pid.json | sort -u; }
segments() { grep -hos 'vllm_dist_[A-Za-z0-9_]\{8,\}' "$folder"/run/*.pid.json | sort -u; }

[ -d "$folder" ] && ! grep -qs "$lease" "$folder/machine.json" && exit 17

# A unit would start its agent again.
unit=thunder-agent-$lease.service units=/etc/systemd/system
if [ -e "$units/$unit" ]; then
  [ "$(id -u)" -eq 0 ] && sudo= || sudo='sudo -n'
  $sudo systemctl disable --quiet --now "$unit" || exit 1
  $sudo rm -f "$units/$unit" && $sudo systemctl daemon-reload || exit 1
fi

names=$(segments) asked=' '
while [ -n "$(pids)" ] && [ "$left" -gt 0 ]; do
  for pid in $(leaders); do
    case $asked in *" $pid "*) ;; *) kill -TERM "$pid" 2>/dev/null; asked="$asked$pid " ;; esac
  done
  sleep 0.1
  left=$((left - 1))
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=$(pids)
  [ -n "$left" ] || break
  kill -KILL $left 2>/dev/null
  sleep 0.2
done
[ -z "$(pids)" ] || { echo "processes $(pids | tr '\n' ' ')still run after SIGKILL" >&2; exit 1; }

for name in $names $(segments); do
  for segment in /dev/shm/*"$name"*; do [ -f "$segment" ] && [ -O "$segment" ] && rm -f "$segment"; done
done
for temporary in $(temporaries); do
  [ -d "$temporary" ] && [ ! -h "$temporary" ] && [ -O "$temporary" ] && rm -rf "$temporary"
done

# The record goes last, and the folder at once with it: nobody takes half of it for a free host.
rm -rf "$leaving" || exit 1
if [ -d "$folder" ]; then
  find "$folder" -mindepth 1 -maxdepth 1 ! -name machine.json -exec rm -rf {} + || exit 1
  mv "$folder" "$leaving" && rm -rf "$leaving" || exit 1
fi
