"""nbd_test - `mullion vhd mount`: other programs' NBD clients at a disk

usage: nbd_test.py --mullion PROGRAM
"""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import HANG_SECONDS, argument, check, expect_match, expect_status, report, run

MIB = 1 << 20


def vhd(*words):
    return run([argument("mullion"), "vhd", *words])


def done(*command):
    finished = run(list(command))
    expect_status(finished, 0)
    return finished.output


class Mount:
    """`mullion vhd mount` while a `with` lasts; it has to end well."""

    def __init__(self, image, *words):
        self.socket = os.path.abspath(image + ".socket")
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.command = [argument("mullion"), "vhd", "mount", image, "--socket", self.socket, *words]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + HANG_SECONDS
        while not self.answers():
            check(self.process.poll() is None, f"mount ended with {self.process.poll()}")
            check(time.monotonic() < deadline, "nobody listens")
            time.sleep(0.02)
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(HANG_SECONDS)
        if kind is None:
            check(status == 0, f"mount ended with {status}")
            check(not os.path.exists(self.socket), "the socket was left behind")


def in_folder(test):
    def wrapped():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                test()
            finally:
                os.chdir("/")
    wrapped.__name__ = test.__name__
    return wrapped


def create(*words):
    expect_status(vhd("create", *words), 0)


@in_folder
def qemu_writes_and_every_reader_sees_the_same():
    for name in ("a.vhd", "a.vhdx"):
        create(name, "--size", "80M")
        with Mount(name) as mount:
            done("qemu-io", "-f", "raw", "-c", "write -P 1 0 3M", "-c", "write -P 2 5M 32M",
                 "-c", "write -z 6M 1M", "-c", "write -f -P 3 70M 512", "-c", "discard 1M 64k",
                 "-c", "flush", "-c", "read -P 0 6M 1M", "-c", "read -P 2 7M 30M", mount.uri)
            done("qemu-img", "convert", "-f", "raw", "-O", "raw", mount.uri, "qemu.raw")
            done("qemu-img", "compare", "-f", "raw", "-F", "raw", mount.uri, "qemu.raw")
        expect_status(vhd("compare", name, "qemu.raw"), 0)
        os.unlink("qemu.raw")


@in_folder
def a_disk_that_is_written_to_by_many_connections_keeps_every_byte():
    with open("a.raw", "wb") as file:
        for _ in range(6):
            file.write(os.urandom(4 * MIB))
            file.seek(5 * MIB, os.SEEK_CUR)
        file.truncate(64 * MIB)
    create("a.vhd", "--size", "64M")
    with Mount("a.vhd") as mount:
        done("nbdcopy", "--connections=4", "--requests=32", "--flush", "a.raw", mount.uri)
        done("nbdcopy", "--connections=4", mount.uri, "b.raw")
    done("cmp", "a.raw", "b.raw")
    expect_status(vhd("compare", "a.vhd", "a.raw"), 0)


@in_folder
def a_chain_shows_what_its_parents_have():
    create("a.vhd", "--size", "16M")
    with Mount("a.vhd") as mount:
        done("qemu-io", "-f", "raw", "-c", "write -P 1 0 4M", mount.uri)
    create("b.vhd", "--parent", "a.vhd")
    with Mount("b.vhd") as mount:
        done("qemu-io", "-f", "raw", "-c", "write -P 2 1M 512", "-c", "read -P 1 0 1M",
             "-c", "read -P 2 1M 512", "-c", "read -P 0 4M 12M", mount.uri)


@in_folder
def a_clients_question_what_there_is_gets_the_truth():
    create("a.vhdx", "--size", "64M", "--sector", "4096")
    with Mount("a.vhdx") as mount:
        done("qemu-io", "-f", "raw", "-c", "write 32M 4k", mount.uri)
        export = json.loads(done("nbdinfo", "--json", mount.uri))["exports"][0]
        rows = json.loads(done("nbdinfo", "--map", "--json", mount.uri))
    check(export["export-size"] == 64 * MIB and export["block_size_minimum"] == 4096, str(export))
    check(export["can_multi_conn"] and export["can_fua"] and export["can_zero"], str(export))
    check("vhdx-dynamic" in export["description"], str(export))
    check(rows[0] == {"offset": 0, "length": 32 * MIB, "type": 3, "description": "hole,zero"},
          str(rows))
    check(rows[1]["offset"] == 32 * MIB and rows[1]["type"] == 0, str(rows))
    check(sum(row["length"] for row in rows) == 64 * MIB, str(rows))


@in_folder
def read_only_means_that_nobody_writes():
    create("a.vhd", "--size", "4M")
    with open("a.vhd", "rb") as file:
        before = file.read()
    with Mount("a.vhd", "--read-only") as mount:
        check(json.loads(done("nbdinfo", "--json", mount.uri))["exports"][0]["is_read_only"],
              "is_read_only is not set")
        check(run(["qemu-io", "-f", "raw", "-c", "write 0 512", mount.uri]).status,
              "a write was let through")
        done("qemu-io", "-r", "-f", "raw", "-c", "read -P 0 0 4M", mount.uri)
    with open("a.vhd", "rb") as file:
        check(file.read() == before, "the file has changed")


@in_folder
def the_socket_is_its_owners_and_is_not_taken_from_another():
    create("a.vhd", "--size", "4M")
    create("b.vhd", "--size", "4M")
    with Mount("a.vhd") as mount:
        check(stat.S_IMODE(os.stat(mount.socket).st_mode) == 0o600, "others may connect")
        refused = vhd("mount", "b.vhd", "--socket", mount.socket)
        expect_status(refused, 1)
        expect_match(r"\Amullion: --socket [^\n]+ listens there\n\Z", refused.errors, "stderr")
        done("nbdinfo", mount.uri)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind("a.vhd.socket")
    with Mount("a.vhd") as mount:
        done("nbdinfo", mount.uri)
    expect_status(vhd("mount", "a.vhd"), 2)


@in_folder
def clients_that_talk_nonsense_or_hang_up_harm_nobody_else():
    create("a.vhd", "--size", "64M")
    handshake = b"\0\0\0\3" + b"IHAVEOPT" + bytes([0, 0, 0, 1, 0, 0, 0, 0])
    write = bytes.fromhex("2560951300000001") + bytes(16) + (32 * MIB).to_bytes(4, "big")
    with Mount("a.vhd") as mount:
        silent = []
        for words in (b"", b"\0\0\0\3", b"\xff" * 100, handshake + b"\xff" * 28,
                      handshake + write, handshake + write + bytes(100000)):
            client = socket.socket(socket.AF_UNIX)
            client.connect(mount.socket)
            client.sendall(words)
            silent.append(client)
        done("qemu-io", "-f", "raw", "-c", "write -P 5 0 32M", "-c", "read -P 5 0 32M", mount.uri)
        for client in silent[:3]:
            client.close()
        done("nbdinfo", mount.uri)
        # The others are there when the server is asked to end.
    for client in silent:
        client.close()


TESTS = [qemu_writes_and_every_reader_sees_the_same,
         a_disk_that_is_written_to_by_many_connections_keeps_every_byte,
         a_chain_shows_what_its_parents_have, a_clients_question_what_there_is_gets_the_truth,
         read_only_means_that_nobody_writes,
         the_socket_is_its_owners_and_is_not_taken_from_another,
         clients_that_talk_nonsense_or_hang_up_harm_nobody_else]

missing = [tool for tool in ("qemu-io", "nbdinfo", "nbdcopy") if not shutil.which(tool)]
if missing:
    print(f"1..0 # SKIP {', '.join(missing)} not installed")
    sys.exit(0)
sys.exit(report([(test.__name__.replace("_", " "), test) for test in TESTS], lambda test: test()))
