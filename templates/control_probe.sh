# Prints the facts of a host of one's own that a controller or router may live on, a line each: a word, a space, its value.
# It needs POSIX sh and changes nothing.
# sh -s -- CODE ENVIRONMENT GIVEN PROOF: the digest of our code, the key of its environment, an interpreter that may have
# all that the code needs, and Python that fails where it has not.
export LC_ALL=C
code=$1 environment=$2 given=$3 proof=$4
base=${HOME:?}/.local/share/thunderctl/hosted
here=$base
while [ ! -d "$here" ]; do here=$(dirname "$here"); done

echo "base $base"
echo "os $(uname -s)"
echo "arch $(uname -m)"
echo "now $(date +%s)"
echo "disk_free_kib $(df -Pk "$here" | awk 'NR == 2 { print $4 }')"
[ ! -w "$here" ] || echo "writable yes"
[ ! -f "$base/code/$code/.whole" ] || echo "code yes"
made=$base/shared/engines/$environment/bin/python
[ ! -x "$made" ] || echo "made yes"
if [ -x "$given" ] && "$given" -I -c "$proof" 2>/dev/null; then echo "given yes"; fi
case $(systemctl --user is-system-running 2>/dev/null) in running | degraded) echo "units yes" ;; esac
exit 0
