# Run by unshare in user, network, process and mount namespaces of its own: makes every file read-only but an empty folder in
# memory, gives up every right, and runs the Python program on standard input under limits. 125: it could not be isolated.
set -u
processor_s=$1 memory_bytes=$2 file_bytes=$3
mount -t tmpfs -o size=32m,mode=700 tmpfs /tmp && mkdir /tmp/root /tmp/work && mount --rbind / /tmp/root || exit 125
# The tree is listed before it changes; what lies below /tmp itself is not in it any more.
points=$(while read -r _ _ _ _ point _; do
    case $point in /tmp/root | /tmp/root/*) echo "$point" ;; esac
done </proc/self/mountinfo)
echo "$points" | while read -r point; do
    mount -o remount,bind,ro "$(printf %b "$point")" || exit 125
done || exit 125
mount --bind /tmp/work /tmp/root/tmp || exit 125
cd /tmp/root || exit 125
exec chroot /tmp/root sh -c 'cd /tmp && exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \
    prlimit --cpu="$0" --as="$1" --data="$1" --fsize="$2" --core=0 --nproc=64 --nofile=64 python3 -I -B -' \
    "$processor_s" "$memory_bytes" "$file_bytes"
