"""debian_test - an unmodified Debian 12 on a VHD: what it finds, each service, drives that come and go

usage: debian_test.py --mullion PROGRAM --accel ENGINE [--boots 1,2,4]
"""
import os
import sys
import time

from guest import Debian, until
from harness import argument, check, excerpt, expect_match, report, run

WANTED = [
    r"Hypervisor detected: Microsoft Hyper-V",
    r"hv_vmbus: Vmbus version:5\.3",
    r"storvsc_host_t",
    r"Msft +Virtual Disk",
    r"Switched to clocksource hyperv_clocksource_tsc_page",
    r"hv_utils: Heartbeat IC version",
    r"hv_utils: Shutdown IC version",
    r"hv_utils: TimeSync IC version",
]


def check_messages(guest):
    messages = guest.shell("dmesg")
    for pattern in WANTED:
        expect_match(pattern, messages, "dmesg")
    guest.check_messages()


def boot(cpus):
    with Debian(cpus) as guest:
        guest.log_in()
        check_messages(guest)
        check(guest.shell("nproc").strip() == str(cpus), "nproc differs")
        clock = guest.shell("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
        check(clock.strip() == "hyperv_clocksource_tsc_page", f"the clock is {clock}")
        check(guest.shell("systemd-detect-virt").strip() == "microsoft", "not seen as Hyper-V")
        root = guest.shell("findmnt -no SOURCE /").strip()
        driver = guest.shell(f"readlink -f /sys/class/block/{os.path.basename(root)}")
        check("/VMBUS" in driver or "/vmbus" in driver, f"the root disk is at {driver}")
        channels = guest.shell("ls -d /sys/bus/vmbus/devices/6d756c6c-*/channels/*").split()
        check(len(channels) == cpus, f"{cpus} processors, channels {channels}")
        guest.power_off()


# --- services, on one guest ---

def status(guest):
    answer = guest.ctl("status")["result"]
    check(answer["state"] == "running" and answer["vmbus"] == "5.3", f"status: {answer}")
    check("Linux 6.1" in answer["guest_os"], f"status: {answer}")


def heartbeat(guest):
    until(lambda: guest.ctl("heartbeat")["result"]["state"] == "ok", "a heartbeat")
    opened = until(lambda: [s for s in guest.ctl("services")["result"]["services"] if s["open"]]
                   if len([s for s in guest.ctl("services")["result"]["services"]
                           if s["open"]]) == 6 else None, "six open services")
    check(len(opened) == 6, f"{opened}")


def key_value_pairs(guest):
    name = guest.ctl("kvp-get", "OSName")["result"]["value"]
    check("Debian" in name or "Linux" in name, f"OSName is '{name}'")
    guest.ctl("kvp-set", "colour", "grün")
    expect_match("colour", guest.shell("strings /var/lib/hyperv/.kvp_pool_0 2>/dev/null || "
                                       "tr -d '\\0' </var/lib/hyperv/.kvp_pool_0"), "the pool")
    value = guest.ctl("kvp-get", "--pool", "external", "colour")["result"]["value"]
    check(value == "grün", f"read back '{value}'")
    guest.ctl("kvp-delete", "colour")
    guest.ctl("kvp-get", "--pool", "external", "colour", wanted=1)


def file_copy(guest):
    path = os.path.join(guest.folder, "copied")
    with open(path, "wb") as file:
        file.write(os.urandom(100_001))
    wanted = run(["sha256sum", path]).output.split()[0]
    guest.ctl("copy-file", "--create-directories", path, "/srv/deep/copied")
    got = guest.shell("sha256sum /srv/deep/copied").split()[0]
    check(got == wanted, "the copy differs")
    guest.ctl("copy-file", path, "/srv/deep/copied", wanted=1)


def freeze_and_thaw(guest):
    guest.ctl("freeze")
    guest.shell("(touch /frozen; echo done >/run/thawed) & sleep 1; test ! -e /run/thawed")
    guest.ctl("thaw")
    until(lambda: "done" in guest.shell("cat /run/thawed", None), "the end of the freeze")
    guest.ctl("thaw", wanted=1)


def time_sync(guest):
    guest.shell("date -s '2020-01-01'")
    guest.ctl("time-sync", "--step")
    until(lambda: not guest.shell("date +%Y").startswith("2020"), "the right time")
    before, now, after = time.time(), float(guest.shell("date +%s.%N")), time.time()
    check(before - 1 < now < after + 1, f"the guest has {now}, the host {before} to {after}")


def disks_come_and_go(guest):
    path = os.path.join(guest.folder, "second.vhd")
    made = run([argument("mullion"), "vhd", "create", "--size", "256M", path])
    check(made.status == 0, made.describe())
    lun = guest.ctl("disk-add", path)["result"]["lun"]
    until(lambda: "256M" in guest.shell("lsblk -dno SIZE /dev/sdb 2>/dev/null", None), "sdb")
    guest.shell("mkfs.ext4 -q /dev/sdb && mount /dev/sdb /mnt && cp /bin/ls /mnt && fstrim -v /mnt;"
                " umount /mnt")
    guest.ctl("disk-remove", "--lun", str(lun))
    until(lambda: "sdb" not in guest.shell("ls /sys/block"), "the end of sdb")
    guest.ctl("disk-add", "--read-only", "--lun", "63", path)
    name = until(lambda: guest.shell("ls -d /sys/class/scsi_disk/0:0:0:63/device/block/* "
                                     "2>/dev/null", None).strip(), "LUN 63")
    device = "/dev/" + os.path.basename(name)
    guest.shell(f"mount -o ro,noload {device} /mnt && cmp /bin/ls /mnt/ls && umount /mnt")
    check(guest.shell(f"cat /sys/block/{os.path.basename(name)}/ro").strip() == "1", "writable")
    guest.ctl("disk-remove", "--lun", "63")
    guest.ctl("disk-remove", "--lun", "63", wanted=1)
    check_messages(guest)


def dvds_change(guest):
    path = os.path.join(guest.folder, "disc.iso")
    with open(path, "wb") as file:
        file.write(os.urandom(2048 * 300))
    wanted = run(["sha256sum", path]).output.split()[0]
    lun = str(guest.ctl("disk-add", "--dvd", path)["result"]["lun"])
    guest.shell("modprobe sr_mod")
    until(lambda: "sr0" in guest.shell("ls /sys/block"), "sr0")
    check(guest.shell("sha256sum /dev/sr0").split()[0] == wanted, "the disc reads differently")
    guest.ctl("dvd-eject", "--lun", lun)
    guest.shell("dd if=/dev/sr0 of=/dev/null count=1 status=none", 1)
    guest.ctl("dvd-insert", "--lun", lun, path)
    until(lambda: guest.shell("sha256sum /dev/sr0", None).startswith(wanted), "the disc again")
    guest.ctl("disk-remove", "--lun", lun)


def reboot(guest):
    guest.ctl("shutdown", "--reboot")
    guest.terminal.seen = b""
    guest.log_in()
    check(guest.ctl("status")["result"]["boots"] == 2, "not the second boot")
    heartbeat(guest)
    check_messages(guest)


def crash(guest):
    """The guest's panic is told, with its last words; it then resets itself (panic=-1)."""
    guest.terminal.seen = b""
    guest.terminal.type(b"echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger\n")
    guest.terminal.wait_for("the guest reports a crash")
    guest.log_in()
    check("parameters" in guest.ctl("status")["result"]["crash"], "status tells of no crash")


def shutdown(guest):
    guest.ctl("shutdown", "--reason", "the test is over")
    ended = guest.terminal.wait_end()
    check(ended == 0, f"ended with {ended}:\n{excerpt(guest.terminal.text())}")


SERVICES = [
    ("the machine's status names the guest", status),
    ("the heart beats, and all services are connected", heartbeat),
    ("key-value pairs are read, set and deleted", key_value_pairs),
    ("files are copied into the guest", file_copy),
    ("the guest freezes and thaws", freeze_and_thaw),
    ("the guest's clock is set", time_sync),
    ("disks come and go", disks_come_and_go),
    ("DVDs are changed", dvds_change),
    ("the guest reboots when asked, and all comes back", reboot),
    ("a panic is reported", crash),
    ("the guest shuts down when asked", shutdown),
]


class Shared:
    """The guest of the services, booted for the first of them."""

    def __init__(self):
        self.guest = None

    def use(self, service):
        if not self.guest:
            self.guest = Debian(2, append="panic=-1").__enter__()
            self.guest.log_in()
        service(self.guest)

    def end(self):
        if self.guest:
            self.guest.__exit__()


def main():
    boots = argument("boots") if "--boots" in sys.argv else "1,2,4"
    shared = Shared()
    cases = [(f"Debian boots with {cpus} processors, on Hyper-V's devices alone",
              lambda cpus=cpus: boot(int(cpus))) for cpus in boots.split(",")]
    cases += [(name, lambda service=service: shared.use(service)) for name, service in SERVICES]
    try:
        return report(cases, lambda case: case())
    finally:
        shared.end()


sys.exit(main())
