#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An independent reader of the casefs format, written from fs/FORMAT.md alone.

It shares no code with the file system, so that the two check each other, and it verifies all it reads: checksums,
generations, levels, the order of keys, and that records which say the same thing agree. It never writes to the image.

Paths, targets and labels are printed as the WTF-8 bytes they are, except that control characters and backslashes are
escaped (\\x0a, \\x5c). A path given to `cat` may end in :STREAM.
"""
import argparse
import functools
import hashlib
import operator
import os
import re
import struct
import sys
from bisect import bisect_left, bisect_right
from typing import NamedTuple


class Fault(Exception):
    """What is wrong with the volume or the request, as one sentence."""


# ---------------------------------------------------------------------------------------------------------- XXH3

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
MASK64 = 2**64 - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
STRIPE = 64                             # bytes that meet the eight accumulators at once
STRIPES = (len(SECRET) - STRIPE) // 8   # until the accumulators are scrambled
# What the stripes of a block are xored with, as one integer: the secret moves on by 8 bytes for each stripe.
BLOCK_KEY = int.from_bytes(b"".join(SECRET[8 * i:8 * i + STRIPE] for i in range(STRIPES)), "little")
SCRAMBLE_KEYS = struct.unpack("<8Q", SECRET[-STRIPE:])
LAST_KEY = int.from_bytes(SECRET[-STRIPE - 7:-7], "little")
MERGE_KEYS = struct.unpack_from("<8Q", SECRET, 11)


def _u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _fold64(a, b):
    product = a * b
    return (product ^ product >> 64) & MASK64


def _avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK64
    return h ^ h >> 32


def _avalanche_xxh64(h):
    h = (h ^ h >> 33) * P64_2 & MASK64
    h = (h ^ h >> 29) * P64_3 & MASK64
    return h ^ h >> 32


def _mix16(data, at, secret_at):
    return _fold64(_u64(data, at) ^ _u64(SECRET, secret_at), _u64(data, at + 8) ^ _u64(SECRET, secret_at + 8))


def _xxh3_short(data):
    """XXH3 of at most 240 bytes."""
    n = len(data)
    if n == 0:
        return _avalanche_xxh64(_u64(SECRET, 56) ^ _u64(SECRET, 64))
    if n <= 3:
        combined = data[0] << 16 | data[n >> 1] << 24 | data[-1] | n << 8
        key = (_u64(SECRET, 0) ^ _u64(SECRET, 4)) & 0xFFFFFFFF
        return _avalanche_xxh64(combined ^ key)
    if n <= 8:
        first, last = struct.unpack("<I", data[:4])[0], struct.unpack("<I", data[-4:])[0]
        h = (last + (first << 32)) ^ _u64(SECRET, 8) ^ _u64(SECRET, 16)
        h ^= (h << 49 | h >> 15) & MASK64 ^ (h << 24 | h >> 40) & MASK64
        h = h * 0x9FB21C651E98DF25 & MASK64
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & MASK64
        return h ^ h >> 28
    if n <= 16:
        low = _u64(data, 0) ^ _u64(SECRET, 24) ^ _u64(SECRET, 32)
        high = _u64(data, n - 8) ^ _u64(SECRET, 40) ^ _u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche(n + swapped + high + _fold64(low, high) & MASK64)
    h = n * P64_1
    if n <= 128:
        for i in range((n - 1) // 32 + 1):
            h += _mix16(data, 16 * i, 32 * i) + _mix16(data, n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h & MASK64)
    h = _avalanche(h + sum(_mix16(data, 16 * i, 16 * i) for i in range(8)) & MASK64)
    h += sum(_mix16(data, 16 * i, 16 * (i - 8) + 3) for i in range(8, n // 16))
    return _avalanche(h + _mix16(data, n - 16, 136 - 17) & MASK64)


def _accumulate(accumulators, stripes, key):
    """Adds whole stripes. Between two scrambles there are only additions: each lane can be summed up by itself."""
    n = len(stripes)
    lanes = struct.unpack(f"<{n // 8}Q", stripes)
    mixed = (int.from_bytes(stripes, "little") ^ key).to_bytes(n, "little")
    halves = struct.unpack(f"<{n // 4}I", mixed)
    return [(a + sum(lanes[i ^ 1::8]) + sum(map(operator.mul, halves[2 * i::16], halves[2 * i + 1::16]))) & MASK64
            for i, a in enumerate(accumulators)]


def xxh3(data):
    """The 64-bit XXH3 hash with seed 0."""
    n = len(data)
    if n <= 240:
        return _xxh3_short(data)
    block = STRIPE * STRIPES
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    scrambled = (n - 1) // block * block
    for at in range(0, scrambled, block):
        acc = _accumulate(acc, data[at:at + block], BLOCK_KEY)
        acc = [(a ^ a >> 47 ^ key) * P32_1 & MASK64 for a, key in zip(acc, SCRAMBLE_KEYS)]
    rest = (n - 1 - scrambled) // STRIPE * STRIPE
    if rest:
        key = BLOCK_KEY & (1 << 8 * rest) - 1
        acc = _accumulate(acc, data[scrambled:scrambled + rest], key)
    acc = _accumulate(acc, data[n - STRIPE:], LAST_KEY)
    h = n * P64_1
    for i in range(0, 8, 2):
        h += _fold64(acc[i] ^ MERGE_KEYS[i], acc[i + 1] ^ MERGE_KEYS[i + 1])
    return _avalanche(h & MASK64)


# ------------------------------------------------------------------------------------------------ device, superblock

BLOCK_SIZE = 4096
NODE_SIZE = 16384
QUAD = NODE_SIZE // BLOCK_SIZE
RING = 8                # slots of the superblock ring
FIRST_BLOCK = 12        # of those that the space log is about
EPOCH = 116444736000000000


def unix_ns(time):
    return (time - EPOCH) * 100


class Pointer(NamedTuple):
    block: int
    generation: int
    checksum: int


class Device:
    def __init__(self, path):
        self.file = open(path, "rb")
        self.blocks = self.file.seek(0, os.SEEK_END) // BLOCK_SIZE

    def read(self, block, count=1):
        data = b""
        while len(data) < count * BLOCK_SIZE:
            piece = os.pread(self.file.fileno(), count * BLOCK_SIZE - len(data), block * BLOCK_SIZE + len(data))
            if not piece:
                raise Fault(f"the device ends before block {block + count - 1}")
            data += piece
        return data


class Superblock:
    MAGIC = b"casefs\x1a\n"

    def __init__(self, data):
        self.data = data
        (self.version, self.block_size, self.node_size, self.fold_id, self.uuid, self.generation, self.blocks,
         self.compatible, self.read_only_compatible, self.incompatible) = struct.unpack_from("<4I16s5Q", data, 16)
        self.root = Pointer(*struct.unpack_from("<3Q", data, 88))
        self.level, = struct.unpack_from("<I", data, 112)
        self.log = Pointer(*struct.unpack_from("<3Q", data, 120))
        (self.next_id, self.nodes, self.committed, self.formatted, self.fold_hash,
         self.label_length) = struct.unpack_from("<5QI", data, 144)
        self.label = data[188:188 + self.label_length]

    @staticmethod
    def slot(device, first, index):
        """The superblock in a slot of the ring that begins at block `first`, or None if it is not valid."""
        try:
            data = device.read(first + index)
        except Fault:
            return None
        if data[:8] != Superblock.MAGIC or _u64(data, 8) != xxh3(data[16:]):
            return None
        superblock = Superblock(data)
        return superblock if superblock.generation % RING == index else None

    @staticmethod
    def newest(device):
        """The newest valid slot of the ring and its mirror."""
        slots = [s for i in range(RING) if (s := Superblock.slot(device, 0, i))]
        # The mirror is where the ring says; without a ring, the volume is assumed to take the whole device.
        sizes = {s.blocks for s in slots} or {device.blocks // QUAD * QUAD}
        for blocks in sizes:
            if RING < blocks <= device.blocks:
                mirror = (Superblock.slot(device, blocks - RING, i) for i in range(RING))
                slots += [s for s in mirror if s and s.blocks == blocks]
        if not slots:
            raise Fault("no superblock is valid, neither in the ring nor in its mirror")
        best = max(slots, key=lambda s: s.generation)
        if any(s.generation == best.generation and s.data != best.data for s in slots):
            raise Fault(f"the two superblocks of generation {best.generation} differ")
        best.verify(device)
        return best

    def verify(self, device):
        if self.version != 1:
            raise Fault(f"format version {self.version} is not known")
        if self.incompatible:
            raise Fault(f"the volume has incompatible features {self.incompatible:#x} that are not known")
        if (self.block_size, self.node_size) != (BLOCK_SIZE, NODE_SIZE):
            raise Fault(f"the block size {self.block_size} or the node size {self.node_size} is wrong")
        if self.blocks % QUAD or self.blocks < 256:
            raise Fault(f"a volume cannot have {self.blocks} blocks")
        if self.blocks > device.blocks:
            raise Fault(f"the volume has {self.blocks} blocks, the device only {device.blocks}")
        if self.label_length > 96:
            raise Fault(f"the label's length is {self.label_length}")
        wtf8_decode(self.label, "the label")

    def in_range(self, block, count):
        return FIRST_BLOCK <= block and block + count <= self.blocks - RING


# -------------------------------------------------------------------------------------------------------------- tree

def be64(number):
    return number.to_bytes(8, "big")


class TreeNode:
    """One verified quad: the keys and values of its records, in order."""

    def __init__(self, data, pointer, superblock):
        where = f"the tree node at block {pointer.block}"
        magic, self.level, count, self.generation, block, heap, uuid = struct.unpack_from("<4sBxHQQH2x4s", data)
        self.block = block
        if magic != b"CFTN":
            raise Fault(f"{where} has no magic")
        if (block, self.generation) != (pointer.block, pointer.generation):
            raise Fault(f"{where} is of block {block}, generation {self.generation}, "
                        f"not of generation {pointer.generation}")
        if uuid != superblock.uuid[:4]:
            raise Fault(f"{where} is of another volume")
        if not 32 + 2 * count <= heap <= NODE_SIZE:
            raise Fault(f"{where} has {count} records, but its heap begins at {heap}")
        self.keys, self.values = [], []
        spans = []
        for offset in struct.unpack_from(f"<{count}H", data, 32):
            if not heap <= offset <= NODE_SIZE - 4:
                raise Fault(f"{where} has a record outside its heap")
            key_length, value_length = struct.unpack_from("<2H", data, offset)
            key_end, end = offset + 4 + key_length, offset + 4 + key_length + value_length
            if not 1 <= key_length <= 1556 or end - offset > 4800 or end > NODE_SIZE:
                raise Fault(f"{where} has a record with a wrong length")
            spans.append((offset, end))
            self.keys.append(data[offset + 4:key_end])
            self.values.append(data[key_end:end])
        at = heap
        for offset, end in sorted(spans):
            if offset != at:
                raise Fault(f"{where} has a gap or an overlap in its heap at {at}")
            at = end
        if at != NODE_SIZE:
            raise Fault(f"{where} has a heap that ends at {at}")
        first = 1 if self.level else 0      # the first key of an inner node counts for nothing
        for a, b in zip(self.keys[first:], self.keys[first + 1:]):
            if a >= b:
                raise Fault(f"{where} has keys out of order")
        if self.level:
            if any(len(value) != 24 for value in self.values):
                raise Fault(f"{where} has a value that is not a pointer")
            self.pointers = [Pointer(*struct.unpack("<3Q", value)) for value in self.values]


class Tree:
    def __init__(self, device, superblock):
        self.device = device
        self.superblock = superblock
        self.load = functools.lru_cache(maxsize=512)(self._load)
        self.root = self.child(superblock.root, superblock.level, superblock.generation, None, None)

    def _load(self, pointer):
        if pointer.block % QUAD or not self.superblock.in_range(pointer.block, QUAD):
            raise Fault(f"a pointer leads to block {pointer.block}, where no tree node can be")
        data = self.device.read(pointer.block, QUAD)
        if xxh3(data) != pointer.checksum:
            raise Fault(f"the tree node at block {pointer.block} has a wrong checksum")
        return TreeNode(data, pointer, self.superblock)

    def child(self, pointer, level, generation, low, high):
        """The node behind a pointer: its keys must be in [low, high), its generation at most the one given."""
        node = self.load(pointer)
        where = f"the tree node at block {node.block}"
        if level > 15 or node.level != level:
            raise Fault(f"{where} has level {node.level}, {level} is due")
        if node.generation > generation:
            raise Fault(f"{where} is newer than what points to it")
        is_root = pointer == self.superblock.root
        if not node.keys and not (is_root and level == 0):
            raise Fault(f"{where} has no records")
        keys = node.keys[1:] if level else node.keys
        if keys and (low is not None and keys[0] < low or high is not None and keys[-1] >= high):
            raise Fault(f"{where} has keys beyond those of its parent")
        return node

    def children(self, node, low, high, first=0):
        """The nodes below an inner node from number `first` on, each with the bounds of its keys."""
        for i in range(first, len(node.keys)):
            child_low = node.keys[i] if i else low
            child_high = node.keys[i + 1] if i + 1 < len(node.keys) else high
            yield self.child(node.pointers[i], node.level - 1, node.generation, child_low, child_high), \
                child_low, child_high

    def records(self, start=b""):
        """All records from the key `start` on, in order."""
        yield from self._records(self.root, None, None, start)

    def _records(self, node, low, high, start):
        if node.level == 0:
            for i in range(bisect_left(node.keys, start), len(node.keys)):
                yield node.keys[i], node.values[i]
        else:
            first = bisect_right(node.keys, start, 1) - 1
            for child, child_low, child_high in self.children(node, low, high, first):
                yield from self._records(child, child_low, child_high, start)

    def with_prefix(self, prefix):
        for key, value in self.records(prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def get(self, key):
        for found, value in self.records(key):
            return value if found == key else None
        return None

    def quads(self, node=None, low=None, high=None):
        """All nodes of the tree."""
        node = node or self.root
        yield node
        if node.level:
            for child, child_low, child_high in self.children(node, low, high):
                yield from self.quads(child, child_low, child_high)


# -------------------------------------------------------------------------------------------------------------- names

def wtf8_decode(data, what):
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = None
    if text is None or re.search("[\ud800-\udbff][\udc00-\udfff]", text):
        raise Fault(f"{what} is not WTF-8")
    return text


def wtf8_encode(text):
    return text.encode("utf-8", "surrogatepass")


def escape(data):
    return re.sub(rb"[\0-\x1f\x5c\x7f]", lambda m: b"\\x%02x" % m[0][0], data)


def show(data):
    return escape(data).decode("utf-8", "backslashreplace")


def verify_name(name, what, forbidden):
    text = wtf8_decode(name, f"{what} {show(name)}")
    units = sum(2 if c > "\uffff" else 1 for c in text)
    if not 1 <= units <= 255 or name in (b".", b"..") or any(c in name for c in forbidden):
        raise Fault(f"{what} {show(name)} is not allowed")


class Fold:
    """The fold table that the volume carries."""
    MD5 = {1: "7ff498a44e45e77374cc7c962b1b92f2"}

    def __init__(self, value, superblock):
        if value is None:
            raise Fault("the fold table is missing")
        if xxh3(value) != superblock.fold_hash:
            raise Fault("the fold table has a wrong checksum")
        if len(value) < 2 or len(value) != 2 + 8 * struct.unpack_from("<H", value)[0]:
            raise Fault("the fold table has a wrong length")
        self.upper = {}
        for first, count, step, difference in struct.iter_unpack("<4H", value[2:]):
            for unit in (first + i * step for i in range(count)):
                if unit > 0xFFFF or unit in self.upper:
                    raise Fault(f"the fold table has a wrong run at {first:#06x}")
                self.upper[unit] = (unit + difference) & 0xFFFF
        table = struct.pack("<65536H", *(self.upper.get(unit, unit) for unit in range(65536)))
        expected = self.MD5.get(superblock.fold_id)
        if expected and hashlib.md5(table).hexdigest() != expected:
            raise Fault(f"the fold table is not the one of fold id {superblock.fold_id}")

    def __call__(self, name):
        return wtf8_encode(wtf8_decode(name, "a name").translate(self.upper))


# ------------------------------------------------------------------------------------------------------------ records

# The types of records.
NODE, LINK, ENTRY, STREAM, ATTRIBUTE, REPARSE, TARGET, EXTENT = range(1, 9)
FOLD_TABLE, DESCRIPTOR, DESCRIPTOR_BY_HASH, ORPHAN = range(0x10, 0x14)

# The types of nodes.
TYPES = {1: "file", 2: "directory", 3: "symlink", 4: "fifo", 5: "socket", 6: "chardev", 7: "blockdev", 8: "stream"}
TYPE_FILE, TYPE_DIRECTORY, TYPE_SYMLINK, TYPE_STREAM = 1, 2, 3, 8

ROOT = 1                            # id of the root directory
NAME_FORBIDDEN = b"\0/"
STREAM_FORBIDDEN = b"\0/:\\"
PART = 4096

DATA, UNWRITTEN, INLINE = 1, 2, 3   # the kinds of extents


def record_key(id, type, rest=b""):
    return be64(id) + bytes([type]) + rest


class Node(NamedTuple):
    id: int
    type: int
    flags: int
    mode: int
    uid: int
    gid: int
    links: int
    size: int
    blocks: int
    created: int
    modified: int
    accessed: int
    changed: int
    parent: int
    device: int
    descriptor: int
    attributes: int
    tag: int
    packed_size: int
    streams: int

    FORMAT = "<BBHIIIQQQQQQQQQIIII"

    @property
    def without_case(self):
        return bool(self.flags & 1)

    @property
    def is_directory(self):
        return self.type == TYPE_DIRECTORY


class Extent(NamedTuple):
    block: int          # in the file
    kind: int
    count: int          # blocks, or bytes if inline
    first: int          # block on the device
    checksums: tuple
    bytes: bytes

    @staticmethod
    def parse(key, value, superblock):
        what = f"an extent of node {int.from_bytes(key[:8], 'big')}"
        if len(key) != 17 or len(value) < 8:
            raise Fault(f"{what} has a wrong length")
        block = int.from_bytes(key[9:], "big")
        kind, count = struct.unpack_from("<BxxxI", value)
        limits = {DATA: (256, 16 + 4 * count), UNWRITTEN: (16777216, 16), INLINE: (2048, 8 + count)}
        if kind not in limits:
            raise Fault(f"{what} has the unknown kind {kind}")
        limit, length = limits[kind]
        if not 1 <= count <= limit or len(value) != length:
            raise Fault(f"{what} has a wrong count or length")
        if kind == INLINE:
            return Extent(block, kind, count, 0, (), value[8:])
        first, = struct.unpack_from("<Q", value, 8)
        if not superblock.in_range(first, count):
            raise Fault(f"{what} is outside the volume, at block {first}")
        checksums = struct.unpack_from(f"<{count}I", value, 16) if kind == DATA else ()
        return Extent(block, kind, count, first, checksums, b"")

    @property
    def end(self):
        return self.block + (1 if self.kind == INLINE else self.count)


class Volume:
    def __init__(self, path):
        self.device = Device(path)
        self.superblock = Superblock.newest(self.device)
        self.tree = Tree(self.device, self.superblock)
        self.fold = Fold(self.tree.get(record_key(0, FOLD_TABLE)), self.superblock)

    def node(self, id):
        value = self.tree.get(record_key(id, NODE))
        if value is None:
            raise Fault(f"node {id} does not exist")
        if len(value) != struct.calcsize(Node.FORMAT):
            raise Fault(f"the record of node {id} has a wrong length")
        node = Node(id, *struct.unpack(Node.FORMAT, value))
        if node.type not in TYPES or node.mode & ~0o7777 or node.attributes & ~0x3127 or id >= self.superblock.next_id:
            raise Fault(f"node {id} has a wrong type, mode, DOS attribute or id")
        return node

    def root(self):
        root = self.node(ROOT)
        if not root.is_directory or root.parent != ROOT or root.links != 1:
            raise Fault("node 1 is not a root directory")
        return root

    def named(self, id, type, folded=None):
        """The entries of a directory or the streams of a node, all or those with this fold: pairs of a name and its
        node, in order."""
        what, forbidden = ("the name", NAME_FORBIDDEN) if type == ENTRY else ("the stream name", STREAM_FORBIDDEN)
        rest = b"" if folded is None else folded + b"\0"
        for key, value in self.tree.with_prefix(record_key(id, type, rest)):
            stored_fold, _, name = key[9:].partition(b"\0")
            verify_name(name, what, forbidden)
            if stored_fold != self.fold(name):
                raise Fault(f"{what} {show(name)} in node {id} has a wrong fold")
            if len(value) != 9:
                raise Fault(f"{what} {show(name)} in node {id} has a record of wrong length")
            node = self.node(int.from_bytes(value[:8], "little"))
            if node.type != value[8] or (node.type == TYPE_STREAM) != (type == STREAM):
                raise Fault(f"{what} {show(name)} in node {id} says type {value[8]}, its node type {node.type}")
            if type == STREAM and node.links != 1:
                raise Fault(f"stream {node.id} has a record, but {node.links} links")
            if (node.is_directory or type == STREAM) and node.parent != id:
                raise Fault(f"{what} {show(name)} is in node {id}, but its node says {node.parent}")
            if type == ENTRY and self.tree.get(record_key(node.id, LINK, be64(id) + name)) is None:
                raise Fault(f"{what} {show(name)} in node {id} has no link record")
            yield name, node

    def distinct(self, names, where):
        previous = None
        for name, node in names:
            if self.fold(name) == previous:
                raise Fault(f"two names in {where} differ only by case: {show(name)}")
            previous = self.fold(name)
            yield name, node

    def entries(self, directory):
        found = list(self.named(directory.id, ENTRY))
        if len(found) != directory.size:
            raise Fault(f"directory {directory.id} has {len(found)} entries, its size is {directory.size}")
        return list(self.distinct(found, f"directory {directory.id}")) if directory.without_case else found

    def streams(self, node):
        found = list(self.distinct(self.named(node.id, STREAM), f"the streams of node {node.id}"))
        if len(found) != node.streams:
            raise Fault(f"node {node.id} has {len(found)} streams, its record says {node.streams}")
        return found

    def target(self, node):
        target = self.tree.get(record_key(node.id, TARGET))
        if target is None or not 1 <= len(target) <= 4095:
            raise Fault(f"symbolic link {node.id} has no target or one of wrong length")
        return target

    def parts(self, prefix, what, header):
        """The header of a value in parts, and the value. `header`: its length, or a function that tells it."""
        value, length, head = b"", 0, b""
        for number, (key, part) in enumerate(self.tree.with_prefix(prefix)):
            if key != prefix + number.to_bytes(2, "big"):
                raise Fault(f"{what} lacks part {number}")
            if number == 0:
                size = header(part) if callable(header) else header
                if len(part) < size or len(part) < 4:
                    raise Fault(f"{what} has a wrong header")
                head, part = part[:size], part[size:]
                length, = struct.unpack_from("<I", head)
            if len(part) != min(PART, length - len(value)) or number and not part:
                raise Fault(f"part {number} of {what} has a wrong length")
            value += part
        if not head or len(value) != length:
            raise Fault(f"{what} is not complete")
        return head, value

    def attributes(self, node):
        """The extended attributes: name, flags and value."""
        packed_size = 0
        found, prefix = [], None
        for key, _ in self.tree.with_prefix(record_key(node.id, ATTRIBUTE)):
            if key[:-2] == prefix:
                continue        # one more part
            prefix = key[:-2]
            what = f"extended attribute {show(key[9:-3])} of node {node.id}"
            head, value = self.parts(prefix, what, lambda part: 6 + part[5] if len(part) > 5 else 6)
            name = head[6:]
            if not name or name.upper() != key[9:-3] or head[4] & 0x7F:
                raise Fault(f"{what} has a wrong name or wrong flags")
            packed_size += 5 + len(name) + len(value)
            found.append((name, head[4], value))
        if packed_size != node.packed_size:
            raise Fault(f"the extended attributes of node {node.id} take {packed_size} bytes, "
                        f"its record says {node.packed_size}")
        return found

    def reparse_point(self, node):
        """The reparse buffer, or None."""
        prefix = record_key(node.id, REPARSE)
        if not node.tag:
            if any(True for _ in self.tree.with_prefix(prefix)):
                raise Fault(f"node {node.id} has a reparse point, but no tag")
            return None
        _, value = self.parts(prefix, f"the reparse point of node {node.id}", 4)
        if len(value) < 4 or struct.unpack_from("<I", value)[0] != node.tag:
            raise Fault(f"the reparse point of node {node.id} has another tag than its record")
        return value

    def descriptor(self, id):
        """The security descriptor, its hash and the number of its nodes."""
        what = f"security descriptor {id}"
        head, value = self.parts(record_key(0, DESCRIPTOR, be64(id)), what, 24)
        users, hash = struct.unpack_from("<2Q", head, 8)
        if xxh3(value) != hash:
            raise Fault(f"{what} has a wrong hash")
        if self.tree.get(record_key(0, DESCRIPTOR_BY_HASH, be64(hash) + be64(id))) is None:
            raise Fault(f"{what} cannot be found by its hash")
        return value, hash, users

    def orphans(self):
        return {int.from_bytes(key[9:], "big") for key, _ in self.tree.with_prefix(record_key(0, ORPHAN))}

    def extents(self, node):
        end = blocks = 0
        for key, value in self.tree.with_prefix(record_key(node.id, EXTENT)):
            extent = Extent.parse(key, value, self.superblock)
            if extent.block < end:
                raise Fault(f"the extents of node {node.id} overlap at block {extent.block}")
            end = extent.end
            blocks += 0 if extent.kind == INLINE else extent.count
            yield extent
        if blocks != node.blocks:
            raise Fault(f"the extents of node {node.id} take {blocks} blocks, its record says {node.blocks}")

    def contents(self, node):
        """What is not a hole: pairs of an offset and the bytes there."""
        for extent in self.extents(node):
            if extent.kind == INLINE:
                pieces = [extent.bytes]
            elif extent.kind == DATA:
                pieces = self.data_blocks(node, extent)
            else:
                continue
            for offset, piece in enumerate(pieces, extent.block):
                offset *= BLOCK_SIZE
                shown = piece[:max(node.size - offset, 0)]
                if shown:
                    yield offset, shown
                    if extent.kind == DATA and any(piece[len(shown):]):
                        raise Fault(f"node {node.id} has bytes other than zero past its size")

    def data_blocks(self, node, extent):
        data = self.device.read(extent.first, extent.count)
        for i, checksum in enumerate(extent.checksums):
            piece = data[i * BLOCK_SIZE:(i + 1) * BLOCK_SIZE]
            if xxh3(piece) & 0xFFFFFFFF != checksum:
                raise Fault(f"block {extent.block + i} of node {node.id}, at block {extent.first + i} of the device, "
                            "has a wrong checksum")
            yield piece

    def walk(self):
        """All names: pairs of a path and a node. A directory comes before what is in it, each in order."""
        seen = {}
        directories = set()
        stack = [(b"/", self.root())]
        while stack:
            path, node = stack.pop()
            yield path, node
            seen[node.id] = seen.get(node.id, 0) + (path != b"/")
            if node.is_directory:
                if node.id in directories:
                    raise Fault(f"directory {show(path)} is in the tree twice")
                directories.add(node.id)
                prefix = path.rstrip(b"/") + b"/"
                stack.extend((prefix + name, child) for name, child in reversed(self.entries(node)))
        for id, names in seen.items():
            links = sum(1 for _ in self.tree.with_prefix(record_key(id, LINK)))
            counted = self.node(id).links
            if names != links or counted != (links if id != ROOT else 1):
                raise Fault(f"node {id} has {names} names and {links} link records, its record says {counted}")
        if not self.orphans() and len(seen) != self.superblock.nodes:
            raise Fault(f"there are {len(seen)} nodes, the superblock says {self.superblock.nodes}")

    def find(self, directory, name):
        """The node of a name, with or without case as the directory has it; None if there is none."""
        for stored, node in self.named(directory.id, ENTRY, self.fold(name)):
            if stored == name or directory.without_case:
                return node
        return None

    def lookup(self, path):
        node = self.root()
        names = [name for name in path.split(b"/") if name]
        for i, name in enumerate(names):
            if not node.is_directory:
                raise Fault(f"a part of {show(path)} is not a directory")
            child = self.find(node, name)
            if child is None and i == len(names) - 1 and b":" in name:
                base, _, stream = name.rpartition(b":")
                child = self.find(node, base) if base else node
                child = child and next((s for _, s in self.named(child.id, STREAM, self.fold(stream))), None)
            if child is None:
                raise Fault(f"{show(path)} does not exist")
            node = child
        return node


# ---------------------------------------------------------------------------------------------------------- space log

class Runs:
    """A set of blocks, as sorted runs that do not touch."""

    def __init__(self):
        self.firsts, self.ends = [], []

    def __iter__(self):
        return zip(self.firsts, self.ends)

    def total(self):
        return sum(self.ends) - sum(self.firsts)

    def overlap(self, first, end):
        """A block of the set that is in [first, end), or None."""
        i = bisect_left(self.firsts, end) - 1
        return max(first, self.firsts[i]) if i >= 0 and self.ends[i] > first else None

    def add(self, first, end):
        """Adds blocks, none of which is in the set."""
        i = bisect_left(self.firsts, first)
        j = i
        if i > 0 and self.ends[i - 1] == first:
            i -= 1
            first = self.firsts[i]
        if j < len(self.firsts) and self.firsts[j] == end:
            end = self.ends[j]
            j += 1
        self.firsts[i:j], self.ends[i:j] = [first], [end]

    def remove(self, first, end):
        """Removes blocks; False if not all of them are in the set."""
        i = bisect_right(self.firsts, first) - 1
        if i < 0 or self.ends[i] < end:
            return False
        left = [(self.firsts[i], first)] if self.firsts[i] < first else []
        right = [(end, self.ends[i])] if end < self.ends[i] else []
        self.firsts[i:i + 1] = [run[0] for run in left + right]
        self.ends[i:i + 1] = [run[1] for run in left + right]
        return True


class LogBlock:
    def __init__(self, device, superblock, pointer, newest):
        where = f"the log block at block {pointer.block}"
        if not superblock.in_range(pointer.block, 1):
            raise Fault(f"a pointer leads to block {pointer.block}, where no log block can be")
        data = device.read(pointer.block)
        if xxh3(data) != pointer.checksum:
            raise Fault(f"{where} has a wrong checksum")
        magic, count, self.generation, self.block = struct.unpack_from("<4sIQQ", data)
        self.before = Pointer(*struct.unpack_from("<3Q", data, 24))
        if magic != b"CFSL" or count > 252:
            raise Fault(f"{where} has no magic or too many entries")
        if (self.block, self.generation) != (pointer.block, pointer.generation):
            raise Fault(f"{where} is of block {self.block}, generation {self.generation}, "
                        f"not of generation {pointer.generation}")
        if self.generation > newest:
            raise Fault(f"{where} is newer than what points to it")
        self.entries = []
        for first, packed in struct.iter_unpack("<QQ", data[64:64 + 16 * count]):
            kind, length = packed & 0xFF, packed >> 8
            if kind not in SpaceLog.KINDS or length == 0 or not superblock.in_range(first, length):
                raise Fault(f"{where} has a wrong entry: kind {kind}, block {first}, {length} blocks")
            self.entries.append((kind, first, first + length))


class SpaceLog:
    ALLOCATED, FREED, FREED_BEFORE, FREE = KINDS = (1, 2, 3, 4)

    def __init__(self, volume):
        self.blocks = []        # oldest first
        self.free = Runs()
        self.deferred = {}      # by the generation that freed them
        pointer, newest, seen = volume.superblock.log, volume.superblock.generation, set()
        while pointer.block:
            if pointer.block in seen:
                raise Fault(f"the space log leads in a circle at block {pointer.block}")
            seen.add(pointer.block)
            self.blocks.append(LogBlock(volume.device, volume.superblock, pointer, newest))
            pointer, newest = self.blocks[-1].before, self.blocks[-1].generation
        self.blocks.reverse()
        self.replay()
        self.advance(volume.superblock.generation + 1)

    def advance(self, generation):
        """Lets become free what this generation may allocate."""
        for freed_by in [g for g in self.deferred if g + 3 <= generation]:
            for run in self.deferred.pop(freed_by):
                self.free.add(*run)

    def replay(self):
        generation, frees = None, False
        for block in self.blocks:
            if block.generation != generation:
                generation, frees = block.generation, False
                self.advance(generation)
            at_beginning = generation == self.blocks[0].generation
            for kind, first, end in block.entries:
                where = f"the log of generation {generation}, at block {block.block},"
                if kind == self.ALLOCATED:
                    if frees:
                        raise Fault(f"{where} allocates after it has freed")
                    if not self.free.remove(first, end):
                        raise Fault(f"{where} allocates blocks {first} to {end - 1}, which are not all free")
                    continue
                frees = True
                if kind != self.FREED and not at_beginning:
                    raise Fault(f"{where} is not a beginning, but has kind {kind}")
                if any(runs.overlap(first, end) is not None for runs in (self.free, *self.deferred.values())):
                    raise Fault(f"{where} frees blocks {first} to {end - 1}, some of which are free")
                if kind == self.FREE:
                    self.free.add(first, end)
                else:
                    freed_by = generation - (kind == self.FREED_BEFORE)
                    self.deferred.setdefault(freed_by, Runs()).add(first, end)


def reachable(volume, log):
    """All blocks that the superblock reaches: log, nodes, extents."""
    used = Runs()

    def use(first, count, what):
        block = used.overlap(first, first + count)
        if block is not None:
            raise Fault(f"block {block} is used twice, the second time by {what}")
        used.add(first, first + count)

    for block in log.blocks:
        use(block.block, 1, "the space log")
    for quad in volume.tree.quads():
        use(quad.block, QUAD, "the tree")
        if quad.level:
            continue
        for key, value in zip(quad.keys, quad.values):
            if key[8:9] == bytes([EXTENT]) and key[:8] != bytes(8):
                extent = Extent.parse(key, value, volume.superblock)
                if extent.kind != INLINE:
                    use(extent.first, extent.count, f"node {int.from_bytes(key[:8], 'big')}")
    return used


# ----------------------------------------------------------------------------------------------------------- commands

def write(*lines):
    sys.stdout.buffer.write(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))


def list_node(volume, node, path, everything):
    line = f"{TYPES[node.type]} {node.mode:04o} {node.size} ".encode() + escape(path)
    if node.type == TYPE_SYMLINK:
        line += b" -> " + escape(volume.target(node))
    write(line)
    if not everything:
        return
    write(f"    id {node.id} links {node.links} uid {node.uid} gid {node.gid} blocks {node.blocks} "
          f"attributes {node.attributes:#x}" + (" without-case" if node.without_case else "")
          + (f" device {node.device >> 32}:{node.device & 0xFFFFFFFF}" if node.device else ""),
          f"    created {node.created} modified {node.modified} accessed {node.accessed} changed {node.changed}")
    for name, flags, value in volume.attributes(node):
        write(f"    ea flags {flags:#04x} {len(value)} bytes ".encode() + escape(name) + b" = " + value.hex().encode())
    reparse = volume.reparse_point(node)
    if reparse is not None:
        write(f"    reparse tag {node.tag:#010x} {len(reparse)} bytes {reparse.hex()}")
    if node.descriptor:
        value, hash, users = volume.descriptor(node.descriptor)
        write(f"    security id {node.descriptor} hash {hash:016x} {len(value)} bytes of {users} nodes")
    for _ in volume.extents(node):
        pass        # verifies them


def command_list(volume, arguments):
    for path, node in volume.walk():
        list_node(volume, node, path, arguments.all)
        for name, stream in volume.streams(node):
            list_node(volume, stream, path + b":" + name, arguments.all)


def extract_file(volume, node, path):
    with open(path, "xb") as file:
        for offset, data in volume.contents(node):
            file.seek(offset)
            file.write(data)
        file.truncate(node.size)
    os.utime(path, ns=(unix_ns(node.accessed), unix_ns(node.modified)))


def command_extract(volume, arguments):
    root = os.fsencode(arguments.dir)
    os.makedirs(root, exist_ok=True)
    if os.listdir(root):
        raise Fault(f"{arguments.dir} is not empty")
    directories, written = [], {}
    for name, node in volume.walk():
        path = root + (name if node.id != ROOT else b"")
        times = (unix_ns(node.accessed), unix_ns(node.modified))
        if node.is_directory:
            directories.append((path, times))
            if node.id != ROOT:
                os.mkdir(path)
        elif node.id in written:
            os.link(written[node.id], path, follow_symlinks=False)
            continue
        elif node.type == TYPE_FILE:
            extract_file(volume, node, path)
            written[node.id] = path
        elif node.type == TYPE_SYMLINK:
            target = volume.target(node)
            if b"\0" in target:
                raise Fault(f"the target of {show(name)} has a zero byte")
            os.symlink(target, path)
            os.utime(path, ns=times, follow_symlinks=False)
        else:
            print(f"reader.py: {show(name)} is a {TYPES[node.type]} and left out", file=sys.stderr)
        if arguments.streams:
            for stream_name, stream in volume.streams(node):
                extract_file(volume, stream, root + name + b":" + stream_name)
    for path, times in reversed(directories):
        os.utime(path, ns=times)


def command_space(volume, arguments):
    log = SpaceLog(volume)
    used = reachable(volume, log)
    superblock = volume.superblock
    whole = Runs()
    for kind, runs in [("used", used), ("free", log.free)] + [(f"freed by {g}", r) for g, r in log.deferred.items()]:
        for first, end in runs:
            if whole.overlap(first, end) is not None:
                raise Fault(f"block {whole.overlap(first, end)} is reachable, and {kind}")
            whole.add(first, end)
    at = FIRST_BLOCK
    for first, end in [*whole, (superblock.blocks - RING, None)]:
        if first != at:
            raise Fault(f"blocks {at} to {first - 1} are neither reachable nor free")
        at = end
    deferred = sorted(log.deferred.items())
    write(f"generation {superblock.generation}", f"blocks {superblock.blocks}", f"log-blocks {len(log.blocks)}",
          f"used {used.total()}", f"free {log.free.total()}", f"deferred {sum(r.total() for _, r in deferred)}")
    for generation, runs in deferred:
        write(f"freed-by {generation} {runs.total()}")
    if arguments.all:
        write(*(f"free-run {first} {end - first}" for first, end in log.free))
        for generation, runs in deferred:
            write(*(f"deferred-run {first} {end - first} freed-by {generation}" for first, end in runs))


def command_cat(volume, arguments):
    node = volume.lookup(os.fsencode(arguments.path))
    if node.type not in (TYPE_FILE, TYPE_STREAM):
        raise Fault(f"{arguments.path} is a {TYPES[node.type]}")
    at = 0

    def zeros(end):
        for start in range(at, end, 1 << 20):
            sys.stdout.buffer.write(bytes(min(1 << 20, end - start)))

    for offset, data in volume.contents(node):
        zeros(offset)
        sys.stdout.buffer.write(data)
        at = offset + len(data)
    zeros(node.size)


def main():
    parser = argparse.ArgumentParser(description="Reads a casefs volume.")
    parser.add_argument("image")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("list", help="list all names: type, mode, size, path")
    command.add_argument("--all", action="store_true", help="and all that is known of each")
    command.set_defaults(run=command_list)
    command = commands.add_parser("extract", help="copy all files to an empty directory")
    command.add_argument("dir")
    command.add_argument("--streams", action="store_true", help="and streams, as files NAME:STREAM")
    command.set_defaults(run=command_extract)
    command = commands.add_parser("space", help="replay the space log and compare it with what is reachable")
    command.add_argument("--all", action="store_true", help="and print the runs of blocks")
    command.set_defaults(run=command_space)
    command = commands.add_parser("cat", help="print a file or stream")
    command.add_argument("path")
    command.set_defaults(run=command_cat)
    arguments = parser.parse_args()
    try:
        arguments.run(Volume(arguments.image), arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Fault, OSError, OverflowError) as fault:
        sys.stdout.flush()
        print(f"reader.py: {arguments.image}: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
