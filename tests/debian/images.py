"""images - disk images seen from the host: converted, checked by e2fsck, read by debugfs"""
import os
import re
import shutil

from harness import argument, check, run

# What a journal's replay is allowed to report.
HARMLESS = re.compile(
    r"recovering journal|Clearing orphaned inode|Setting free (inodes|blocks) count|"
    r"^$|\d+/\d+ files|Truncating orphaned inode|has been mounted \d+ times|"
    r"time is in the future|by less than a day")


def vhd(*words):
    done = run([argument("mullion"), "vhd", *words])
    check(done.status == 0, f"vhd {' '.join(words)}: {done.describe()}")
    return done.output


def fsck(device):
    """The journal is replayed, and nothing else was to be done; then all is clean."""
    # The guest's clock may be ahead by a moment, so times in the future say nothing.
    config = f"{device}.conf"
    with open(config, "w", encoding="ascii") as file:
        file.write("[options]\nbroken_system_clock = true\n")
    os.environ["E2FSCK_CONFIG"] = config
    done = run(["e2fsck", "-fp", device])
    odd = [line for line in done.output.splitlines() if not HARMLESS.search(line)]
    check(done.status in (0, 1) and not odd, f"e2fsck -fp {device}: {done.describe()}")
    done = run(["e2fsck", "-fn", device])
    check(done.status == 0, f"e2fsck -fn {device}: {done.describe()}")


def copy_from(source, offset, target):
    """What of @source's data lies behind @offset; its holes stay holes."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size, at = os.fstat(old.fileno()).st_size, offset
        new.truncate(size - offset)
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # no more data
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(old.fileno(), new.fileno(), end - at, at, at - offset)


class Host:
    """Both images as raw ones for as long as the with statement lasts."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "host")

    def __enter__(self):
        os.mkdir(self.folder)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def checked(self, image, offset=0):
        raw = os.path.join(self.folder, f"{os.path.basename(image)}.raw")
        vhd("convert", "--format", "raw", image, raw)
        if offset:  # e2fsck cannot go on at an offset once it has replayed the journal
            copy_from(raw, offset, raw + ".part")
            os.rename(raw + ".part", raw)
        fsck(raw)
        return raw

    def dump(self, device, path):
        """The folder @path of the file system, copied out."""
        target = os.path.join(self.folder, "files")
        os.makedirs(target, exist_ok=True)
        done = run(["debugfs", "-R", f"rdump {path} {target}", device])
        copied = os.path.join(target, os.path.basename(path))
        check(os.path.isdir(copied), f"debugfs: {path}: {done.describe()}")
        return copied
