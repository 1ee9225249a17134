"""vhd_test - `mullion vhd`: images as a user makes them

usage: vhd_test.py --mullion PROGRAM
"""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import argument, check, expect_match, expect_status, report, run


def vhd(*words):
    return run([argument("mullion"), "vhd", *words])


def write(path, pieces, size):
    with open(path, "wb") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
        file.truncate(size)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


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


@in_folder
def a_conversion_there_and_back_changes_nothing():
    write("a.raw", [(0, b"start" * 1000), (9 << 20, os.urandom(3 << 20))], (20 << 20) - 512)
    for name in ("vhd-fixed", "vhd-dynamic"):
        expect_status(vhd("convert", "a.raw", name, "--format", name), 0)
        expect_status(vhd("convert", name, "back.raw", "--format", "raw"), 0)
        check(contents("back.raw") == contents("a.raw"), f"{name}: the bytes differ")
        os.unlink("back.raw")
    check(os.path.getsize("vhd-dynamic") < 9 << 20, "empty blocks were allocated")


@in_folder
def a_child_is_converted_with_what_its_parent_has():
    write("a.raw", [(1 << 20, b"from the parent")], 4 << 20)
    expect_status(vhd("convert", "a.raw", "a.vhd", "--format", "vhd-dynamic"), 0)
    expect_status(vhd("create", "b.vhd", "--parent", "a.vhd"), 0)
    expect_status(vhd("convert", "b.vhd", "b.raw", "--format", "raw"), 0)
    check(contents("b.raw") == contents("a.raw"), "the bytes differ")
    info = json.loads(vhd("info", "b.vhd", "--json").output)
    check(info["format"] == "vhd-differencing" and info["chain_length"] == 2, str(info))
    check(info["bytes"] == 4 << 20, str(info))


@in_folder
def an_existing_file_is_never_overwritten():
    write("a.vhd", [(0, b"mine")], 4096)
    for words in (("create", "a.vhd", "--size", "1G"),
                  ("convert", "a.vhd", "a.vhd", "--format", "raw")):
        expect_status(vhd(*words), 1)
        check(contents("a.vhd")[:4] == b"mine", "it was overwritten")


@in_folder
def mistakes_are_refused_with_one_line():
    write("damaged.vhd", [(0, b"conectix")], 4096)
    for status, words in [(1, ("info", "nothing")), (1, ("info", "damaged.vhd")),
                          (1, ("create", "a", "--parent", "nothing")),
                          (1, ("create", "a", "--size", "3000G")),
                          (2, ("create", "a")), (2, ("create", "a", "--size", "1G", "--parent", "b")),
                          (2, ("create", "a", "--size", "1G", "--format", "vhd-differencing")),
                          (2, ("convert", "a")), (2, ("convert", "a", "b")),
                          (2, ("info",)), (2, ("info", "a", "b")), (2, ("frobnicate", "a")), (2, ())]:
        finished = vhd(*words)
        expect_status(finished, status)
        expect_match(r"\Amullion: [^\n]+\n\Z", finished.errors, "stderr")
        check(not os.path.exists("a"), f"{words} made a file")


@in_folder
def a_check_finds_what_is_wrong_and_repairs_what_it_can():
    expect_status(vhd("create", "a.vhd", "--size", "4M"), 0)
    expect_status(vhd("check", "a.vhd"), 0)
    with open("a.vhd", "r+b") as file:
        file.write(bytes(512))
    finished = vhd("check", "a.vhd", "--json")
    expect_status(finished, 3)
    check(json.loads(finished.output)["needs_repair"], finished.output)
    expect_status(vhd("check", "a.vhd", "--repair"), 0)
    expect_status(vhd("check", "a.vhd"), 0)
    with open("a.vhd", "r+b") as file:
        file.seek(600)
        file.write(b"xx")
    finished = vhd("check", "a.vhd", "--repair", "--json")
    expect_status(finished, 3)
    check("checksum" in json.loads(finished.output)["damage"], finished.output)
    expect_status(vhd("check", "nothing"), 1)


TESTS = [a_check_finds_what_is_wrong_and_repairs_what_it_can,
         a_conversion_there_and_back_changes_nothing, a_child_is_converted_with_what_its_parent_has,
         an_existing_file_is_never_overwritten, mistakes_are_refused_with_one_line]

sys.exit(report([(test.__name__.replace("_", " "), test) for test in TESTS], lambda test: test()))
