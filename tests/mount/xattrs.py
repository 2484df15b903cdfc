#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The same extended attributes on ntfs-3g and on mount.casefs, byte for byte.

    xattrs.py NTFS-DIRECTORY CASEFS-DIRECTORY SEED COUNT

First every case by hand, of which those in DIFFERENCES answer differently, each for a reason; then
COUNT random operations of those that both support, all of which must answer the same.
"""

import ctypes
import errno
import os
import random
import struct
import sys

CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
N = "system.ntfs_"


def outcome(call, *arguments, **more):
    try:
        result = call(*arguments, **more)
        return "ok" if result is None else result
    except OSError as error:
        return errno.errorcode[error.errno]


libc = ctypes.CDLL(None, use_errno=True)
libc.lgetxattr.restype = ctypes.c_ssize_t


def read(path, name):
    """Asks for the length first: ntfs-3g has EIO for ERANGE, so os.getxattr fails where a value is long."""
    path, name = os.fsencode(path), os.fsencode(name)
    length = libc.lgetxattr(path, name, None, ctypes.c_size_t(0))
    value = ctypes.create_string_buffer(max(length, 1))
    if length > 0:
        length = libc.lgetxattr(path, name, value, ctypes.c_size_t(length))
    if length < 0:
        raise OSError(ctypes.get_errno(), "getxattr")
    return value.raw[:length]


def get(path, name):
    value = outcome(read, path, name)
    # The time of change is that of the operation.
    return value[:24] if "_times" in str(name) and len(value) == 32 else value


def put(path, name, value, flags=0):
    return outcome(os.setxattr, path, name, value, flags, follow_symlinks=False)


def remove(path, name):
    return outcome(os.removexattr, path, name, follow_symlinks=False)


def ea_list(*eas, closed=True):
    """FILE_FULL_EA_INFORMATION; closed: as ntfs-3g wants it."""
    result = b""
    for i, (name, value, flags) in enumerate(eas):
        item = struct.pack("<BBH", flags, len(name), len(value)) + name + b"\0" + value
        size = (4 + len(item) + 3) & ~3
        last = i + 1 == len(eas) and not closed
        result += (struct.pack("<I", 0 if last else size) + item).ljust(size, b"\0")
    return result


def reparse(tag, data, guid=b""):
    return struct.pack("<IHH", tag, len(data), 0) + guid + data


def sid(*parts):
    return struct.pack("<BB", 1, len(parts)) + b"\0\0\0\0\0\5" + b"".join(struct.pack("<I", p) for p in parts)


def descriptor(*aces, sacl=False, control=0):
    """Self-relative: owner, group, perhaps a SACL, and a DACL of (type, flags, mask, sid)."""
    owner, group = sid(32, 544), sid(21, 1, 2, 3, 513)
    def acl(entries):
        body = b"".join(struct.pack("<BBHI", t, f, 8 + len(s), m) + s for t, f, m, s in entries)
        return struct.pack("<BBHHH", 2, 0, 8 + len(body), len(entries), 0) + body
    parts = [owner, group, acl([(2, 0xc0, 0x10000, sid(18))]) if sacl else b"", acl(aces)]
    offsets, at = [], 20
    for part in parts:
        offsets.append(at if part else 0)
        at += len(part)
    flags = 0x8004 | (0x10 if sacl else 0) | control
    return struct.pack("<BBH4I", 1, 0, flags, *offsets) + b"".join(parts)


DESCRIPTORS = [
    descriptor((0, 0, 0x1f01ff, sid(18)), (0, 3, 0x1200a9, sid(32, 545))),
    descriptor((1, 0x10, 0x2, sid(21, 9, 8, 7, 1001)), sacl=True, control=0x1000),
    descriptor((0, 0, 0x1f01ff, sid(32, 544)), control=0x0400),
]
LINK = reparse(0xa000000c, struct.pack("<HHHHI", 0, 8, 8, 8, 1) + "a\\bca\\bc".encode("utf-16-le"))
JUNCTION = reparse(0xa0000003, struct.pack("<HHHH", 0, 10, 12, 4) + "\\??\\x\0ab\0".encode("utf-16-le"))
PLAIN = reparse(0x80000099, b"data of a tag of Microsoft's")
OTHERS = reparse(0x1234, b"xyz", bytes(range(1, 17)))
FIFO = reparse(0x80000024, b"")
TWO = ea_list((b"BAX", b"value!", 0x80), (b"FOO", b"bar", 0))


def cases(directory):
    """Name, and what is done: (function, arguments behind the path)."""
    for value in (0x27, 0xffffffff, 0x80, 0, 1, 0x2000, 0x620):
        yield f"attrib {value:#x}", (put, N + "attrib", struct.pack("<I", value))
        yield "attrib", (get, N + "attrib")
        yield "attrib_be", (get, N + "attrib_be")
    for size in range(4):
        yield f"attrib of {size} bytes", (put, N + "attrib", bytes(size))
        yield f"attrib_be of {size} bytes", (put, N + "attrib_be", bytes(size))
    yield "attrib of 7 bytes", (put, N + "attrib", b"\x22\0\0\0\0\0\0")
    yield "attrib", (get, N + "attrib")
    yield "attrib_be", (put, N + "attrib_be", b"\0\0\0\x21")
    yield "attrib", (get, N + "attrib")
    for flags in (CREATE, REPLACE):
        yield f"attrib, flag {flags}", (put, N + "attrib", b"\x20\0\0\0", flags)
        yield f"times, flag {flags}", (put, N + "times", b"\1\0\0\0\0\0\0\1" * 3, flags)
    for name in ("attrib", "attrib_be", "times", "times_be", "crtime", "crtime_be"):
        yield f"remove {name}", (remove, N + name)
    yield "all times", (put, N + "times", struct.pack("<4Q", *(0x01d0000000000000 + i for i in range(4))))
    for size in (0, 4, 7, 8, 12, 16, 23, 24, 28, 32, 40):
        value = struct.pack("<5Q", *(0x01d0000000000000 + size * 256 + i for i in range(5)))[:size]
        yield f"times of {size} bytes", (put, N + "times", value)
        yield "times", (get, N + "times")
        yield "times_be", (get, N + "times_be")
        yield f"crtime of {size} bytes", (put, N + "crtime", value[:size])
        yield "crtime", (get, N + "crtime")
    for size in (0, 4, 8, 16, 24, 32):
        value = struct.pack(">4Q", *(0x01d1000000000000 + size * 256 + i for i in range(4)))[:size]
        yield f"times_be of {size} bytes", (put, N + "times_be", value)
        yield "times", (get, N + "times")
        yield f"crtime_be of {size} bytes", (put, N + "crtime_be", value)
        yield "crtime_be", (get, N + "crtime_be")
    yield "times, extreme", (put, N + "times", b"\xff" * 24)
    yield "times", (get, N + "times")
    yield "times, zero", (put, N + "times", bytes(24))
    yield "times", (get, N + "times")

    yield "no ea", (get, N + "ea")
    yield "remove no ea", (remove, N + "ea")
    yield "ea, empty", (put, N + "ea", b"")
    yield "ea, replace", (put, N + "ea", TWO, REPLACE)
    yield "ea, create", (put, N + "ea", TWO, CREATE)
    yield "ea", (get, N + "ea")
    yield "ea, create again", (put, N + "ea", TWO, CREATE)
    yield "ea, replace", (put, N + "ea", ea_list((b"ONE", b"x" * 1000, 0)), REPLACE)
    yield "ea", (get, N + "ea")
    for cut in (-1, -4, 10, 4):
        yield f"ea, cut at {cut}", (put, N + "ea", TWO[:cut])
    yield "ea and more", (put, N + "ea", TWO + bytes(4))
    yield "ea", (get, N + "ea")
    yield "ea as in Windows", (put, N + "ea", ea_list((b"ONE", b"1", 0), closed=False))
    yield "ea, twice one name", (put, N + "ea", ea_list((b"A", b"bar", 0), (b"a", b"value!", 0)))
    yield "ea of twice one name", (get, N + "ea")
    yield "ea, no value", (put, N + "ea", ea_list((b"BAX", b"", 0), (b"FOO", b"bar", 0)))
    yield "ea of no value", (get, N + "ea")
    yield "ea, unknown flag", (put, N + "ea", ea_list((b"FOO", b"bar", 1)))
    yield "ea, forbidden letter", (put, N + "ea", ea_list((b"F*O", b"bar", 0)))
    yield "ea, in another order", (put, N + "ea", ea_list((b"Z", b"z", 0), (b"A", b"a", 0)))
    yield "ea of another order", (get, N + "ea")
    yield "remove ea", (remove, N + "ea")
    yield "no ea", (get, N + "ea")

    name = N + "reparse_data"
    yield "no reparse point", (get, name)
    yield "remove no reparse point", (remove, name)
    yield "reparse point, empty", (put, name, b"")
    yield "reparse point, replace", (put, name, PLAIN, REPLACE)
    yield "reparse point, create", (put, name, PLAIN, CREATE)
    yield "reparse point, create again", (put, name, PLAIN, CREATE)
    yield "attrib with a reparse point", (get, N + "attrib")
    for point in (PLAIN, OTHERS, LINK, FIFO, PLAIN):
        yield f"reparse point {point[:4].hex()}", (put, name, point)
        yield "reparse point of that" if point == FIFO else "reparse point", (get, name)
    yield "junction", (put, name, JUNCTION)
    yield "reparse point and more", (put, name, PLAIN + b"x")
    yield "reparse point, cut", (put, name, PLAIN[:-1])
    yield "reparse point, no tag", (put, name, reparse(0, b"data"))
    yield "reparse point, too long", (put, name, reparse(0x80000099, bytes(16377)))
    yield "reparse point, longest", (put, name, reparse(0x80000099, bytes(16376)))
    yield "reparse point", (get, name)
    yield "remove reparse point", (remove, name)
    yield "attrib without a reparse point", (get, N + "attrib")

    for value in DESCRIPTORS:
        yield "acl", (put, N + "acl", value)
        yield "acl", (get, N + "acl")
    yield "acl, empty", (put, N + "acl", b"")
    yield "acl, junk", (put, N + "acl", b"junk" * 8)
    yield "acl, cut", (put, N + "acl", DESCRIPTORS[0][:-4])
    yield "acl, replace", (put, N + "acl", DESCRIPTORS[0], REPLACE)
    yield "acl, create", (put, N + "acl", DESCRIPTORS[1], CREATE)
    yield "acl", (get, N + "acl")

    yield "no object id", (put, N + "object_id", bytes(range(directory, 16 + directory)))
    yield "unknown", (get, N + "unknown")
    yield "unknown", (put, N + "unknown", b"x")
    yield "no namespace", (get, "unknown.x")
    yield "no namespace", (put, "unknown.x", b"x")

    for key in ("user.a", "user.with blank", "user.\u00e9\u00df", "user.x:y", "user.x\\y", "trusted.a", "security.a"):
        yield f"{key}, replace", (put, key, b"x", REPLACE)
        yield f"{key}, missing", (get, key)
        yield f"{key}, remove", (remove, key)
        yield f"{key}, create", (put, key, b"first", CREATE)
        yield f"{key}", (get, key)
        yield f"{key}, create again", (put, key, b"x", CREATE)
        yield f"{key}, replace", (put, key, b"second value", REPLACE)
        yield f"{key}", (get, key)
        yield f"{key}, shorter", (put, key, b"3")
        yield f"{key}", (get, key)
        yield f"{key}, empty", (put, key, b"")
        yield f"{key}", (get, key)
        yield f"{key}, largest", (put, key, bytes(range(256)) * 256)
        yield f"{key}", (get, key)
        yield f"{key}, remove", (remove, key)
        yield f"{key}, missing", (get, key)
    yield "user.a", (put, "user.a", b"1")
    yield "user.A", (put, "user.A", b"22")
    yield "user.a and user.A", (get, "user.a")
    yield "not UTF-8", (put, b"user.\xff", b"x")


# What answers differently: ntfs-3g's answer, that of mount.casefs, and why.
DIFFERENCES = {
    "ea as in Windows": ("EINVAL", "ok", "a last item whose offset is 0 is what Windows gives"),
    "ea, create again": ("ok", "EEXIST", "XATTR_CREATE, as in xattr(7)"),
    "ea of twice one name": (ea_list((b"A", b"bar", 0), (b"a", b"value!", 0)), ea_list((b"a", b"value!", 0)),
                             "names of EAs are matched without case"),
    "ea of no value": (ea_list((b"BAX", b"", 0), (b"FOO", b"bar", 0)), ea_list((b"FOO", b"bar", 0)),
                       "no value is no EA, as in Windows"),
    "ea, unknown flag": ("ok", "EINVAL", "only FILE_NEED_EA is one"),
    "ea, forbidden letter": ("ok", "EINVAL", "Windows forbids it"),
    "ea of another order": (ea_list((b"Z", b"z", 0), (b"A", b"a", 0)), ea_list((b"A", b"a", 0), (b"Z", b"z", 0)),
                            "they are kept sorted"),
    "acl, create": ("EINVAL", "EEXIST", "XATTR_CREATE, as in xattr(7)"),
    "no object id": ("ok", "EPERM", "it follows from the node"),
    "unknown put": ("ok", "ENOTSUP", "system. has no room for others"),
    "reparse point 24000080": ("EINVAL", "ok", "a FIFO of WSL, which ntfs-3g makes but does not let set"),
    "reparse point of that": (LINK, FIFO, "so"),
    "user.a and user.A": (b"1", b"22", "names of streams are matched without case"),
    "not UTF-8": ("EILSEQ", "ok", "it is kept"),
}
DIRECTORY_DIFFERENCES = {
    "attrib 0xffffffff": (0x3937, 0x3137, "directories are not compressed"),
}


def shown(answers):
    return f"ntfs-3g {answers[0]!r:.300}, casefs {answers[1]!r:.300}"


def by_hand(ntfs, casefs, wrong):
    done, met = 0, set()
    for directory in (False, True):
        paths = [os.path.join(top, "directory" if directory else "file") for top in (ntfs, casefs)]
        compressed = False
        for name, (function, *arguments) in cases(directory):
            answers = [function(path, *arguments) for path in paths]
            done += 1
            if directory and name.startswith("attrib 0x"):
                compressed = name == "attrib 0xffffffff"
            if directory and compressed and name in ("attrib", "attrib_be"):
                order = "<I" if name == "attrib" else ">I"
                if [struct.unpack(order, a)[0] for a in answers] == list(DIRECTORY_DIFFERENCES["attrib 0xffffffff"][:2]):
                    met.add("attrib 0xffffffff")
                    continue
            key = name if name in DIFFERENCES else f"{name} {function.__name__}"
            if key in DIFFERENCES and answers == list(DIFFERENCES[key][:2]):
                met.add(key)
            elif answers[0] != answers[1]:
                wrong.append(f"{os.path.basename(paths[0])}, {name}: " + shown(answers))
    for key in set(DIFFERENCES) - met:
        wrong.append(f"a difference that should be there is not: {key}")
    return done, len(met)


def random_operation(dice):
    what = dice.randrange(8)
    flags = dice.choice((0, 0, 0, REPLACE))
    if what == 0:
        # Not READONLY and SYSTEM, with which ntfs-3g refuses streams; ARCHIVE, which it sets itself.
        name = dice.choice(("attrib", "attrib_be"))
        return put, N + name, struct.pack("<I" if name == "attrib" else ">I", dice.randrange(2**32) & ~5 | 0x20), flags
    if what == 1:
        count = dice.randrange(1, 5)
        name = dice.choice(("times", "times_be", "crtime", "crtime_be"))
        return put, N + name, dice.randbytes(8 * count), flags
    if what == 2:
        names = sorted(dice.sample([b"A", b"BB", b"LONGER NAME", b"X.Y", b"$Z"], dice.randrange(1, 5)))
        eas = [(name, dice.randbytes(dice.choice((1, 3, 4, 100, 5000))), dice.choice((0, 0x80))) for name in names]
        return put, N + "ea", ea_list(*eas), flags
    if what == 3:
        return put, N + "reparse_data", dice.choice((PLAIN, OTHERS, LINK)), dice.choice((0, CREATE, REPLACE))
    if what == 4:
        return put, N + "acl", dice.choice(DESCRIPTORS), flags
    if what == 5:
        return remove, N + dice.choice(("ea", "reparse_data", "times", "attrib"))
    name = dice.choice(("user.a", "user.b c", "user.\u00e9", "user.x:y", "trusted.t", "security.s"))
    if what == 6:
        return remove, name
    return put, name, dice.randbytes(dice.choice((0, 1, 10, 600, 3000))), dice.choice((0, CREATE, REPLACE))


LOOKED_AT = [N + n for n in ("attrib", "attrib_be", "times", "times_be", "crtime", "ea", "reparse_data", "acl")] + [
    "user.a", "user.b c", "user.\u00e9", "user.x:y", "trusted.t", "security.s"]


def at_random(ntfs, casefs, seed, count, wrong):
    dice = random.Random(seed)
    for name in ("random-file", "random-directory", "random-point"):
        for top in (ntfs, casefs):
            path = os.path.join(top, name)
            os.mkdir(path) if "directory" in name else open(path, "x").close()
            put(path, N + "acl", DESCRIPTORS[0])
            put(path, N + "attrib", b"\x20\0\0\0")
            put(path, N + "times", bytes(24))
    for i in range(count):
        name = dice.choice(("random-file", "random-directory"))
        function, *arguments = random_operation(dice)
        # ntfs-3g shows a reparse point of another's tag as a broken link, which has no user.*.
        if "reparse" in arguments[0] or (dice.randrange(3) == 0 and arguments[0].startswith(N)):
            name = "random-point"
        if "directory" in name and arguments[0].startswith(N + "attrib") and function is put:
            arguments[1] = struct.pack("<I" if arguments[0] == N + "attrib" else ">I", dice.randrange(0x40) & ~5 | 0x20)
        looked = dice.choice(LOOKED_AT[:8] if name == "random-point" else LOOKED_AT)
        answers = []
        for top in (ntfs, casefs):
            path = os.path.join(top, name)
            answers.append((function(path, *arguments), get(path, arguments[0]), get(path, looked)))
        if answers[0] != answers[1]:
            wrong.append(f"seed {seed}, operation {i}: {name} {function.__name__} {arguments!r:.200} (and {looked}): "
                         + shown(answers))
            return i
    return count


def main():
    ntfs, casefs, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    for top in (ntfs, casefs):
        open(os.path.join(top, "file"), "x").close()
        os.mkdir(os.path.join(top, "directory"))
        for name in ("file", "directory"):
            os.setxattr(os.path.join(top, name), N + "acl", DESCRIPTORS[0])
    wrong = []
    done, differences = by_hand(ntfs, casefs, wrong)
    rounds = at_random(ntfs, casefs, seed, count, wrong)
    for line in wrong:
        print("FAIL:", line)
    print(f"{done} answers compared by hand, {differences} different for a known reason; "
          f"{rounds} random operations, 3 answers each, the same")
    sys.exit(1 if wrong else 0)


main()
