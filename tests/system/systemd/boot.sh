#!/bin/bash
# Boots systemd as PID 1 of its own namespaces, on a throw-away copy (overlay) of this machine's root.
# Started by conftest.py; arguments: a work folder, then SOURCE TARGET pairs to mount read-only.
# Nothing outside changes but a cgroup, which is removed at the end. It is no security boundary: root in here is root.
set -eu

# --- first, in a mount namespace alone: an own group of a cgroup hierarchy of version 2, and the other namespaces
if [ "$1" != inside ]; then
    work=$1
    top=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
    if [ -z "$top" ]; then
        top=$work/cgroup
        mkdir "$top"
        mount -t cgroup2 cgroup2 "$top"
    fi
    remove() { find "$1" -depth -type d -exec rmdir {} \; 2>/dev/null; }
    for old in "$top"/mdfeedd-box-*; do # of a test that was killed; one that is in use cannot be removed
        [ ! -d "$old" ] || remove "$old" || true
    done
    group=$top/$(basename "$work")
    mkdir "$group"
    echo $$ > "$group/cgroup.procs"
    setpriv --pdeathsig KILL unshare --mount --propagation private --cgroup --uts --ipc --net --pid --fork \
        --kill-child=KILL /bin/bash "$0" inside "$@" || true
    echo $$ > "$top/cgroup.procs"
    for _ in 1 2 3 4 5 6 7 8 9 10; do # a process that is just dying keeps its group for a moment
        remove "$group" && [ ! -d "$group" ] && break
        sleep 0.1
    done
    exit 0
fi
work=$2
shift 2

# --- the root: what is written goes to memory, and away with it
mkdir -p "$work/mnt"
mount -t tmpfs -o mode=0755 box "$work/mnt"
mkdir "$work/mnt/"{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$work/mnt/upper,workdir=$work/mnt/work" box "$work/mnt/root"
cd "$work/mnt/root"
for folder in dev proc sys run tmp var/tmp root home; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=0755 box "$folder"
done
chmod 1777 tmp var/tmp

# --- nothing of this machine's own services and identity
rm -rf etc/mdfeedd opt/mdfeedd var/lib/mdfeedd etc/systemd/system var/log/journal etc/fstab
mkdir -p etc/systemd/system
: > etc/fstab
: > etc/machine-id
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n' > etc/systemd/journald.conf
printf '[Manager]\nShowStatus=no\nLogTarget=journal\n' > etc/systemd/system.conf
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > etc/systemd/system/box.target
ln -s box.target etc/systemd/system/default.target
# of hardware, of the kernel, of boots that last, of people who log in
for unit in systemd-{udevd,udev-trigger,modules-load,sysctl,random-seed,update-utmp,logind,binfmt,pstore,networkd}.service \
    systemd-{firstboot,machine-id-commit,timesyncd,remount-fs}.service keyboard-setup.service console-setup.service \
    systemd-udevd-{kernel,control}.socket dev-hugepages.mount apparmor.service networking.service \
    sys-{kernel-debug,kernel-tracing,kernel-config,fs-fuse-connections}.mount proc-sys-fs-binfmt_misc.automount \
    apt-daily{,-upgrade}.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer logrotate.timer; do
    ln -s /dev/null "etc/systemd/system/$unit"
done

# --- what is to be seen of outside
while [ $# -gt 0 ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    mount -o remount,bind,ro ".$2"
    shift 2
done

# --- the kernel's file systems
mount -t proc -o nosuid,noexec,nodev proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,noexec,nodev sysfs sys
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 sys/fs/cgroup
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
    mknod -m 0666 "dev/${node% *}" c 1 "${node#* }"
done
mknod -m 0666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
for stream in "0 stdin" "1 stdout" "2 stderr"; do
    ln -s "/proc/self/fd/${stream% *}" "dev/${stream#* }"
done
mkdir -p dev/shm dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev box dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
: > dev/console
ip link set lo up

mkdir -p run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# PID 1 leaves this to a container's manager; without it LoadCredential= gives an empty folder
mount --make-rshared /
exec env -i container=box PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system
