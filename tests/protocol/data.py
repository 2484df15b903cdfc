# SPDX-License-Identifier: BSD-3-Clause
"""Random requests compared with a model in memory.

SEED=n repeats a run; OPS=n sets its length."""

import os
import random
import threading

import nbd
import sectors
from sectors import KIB, MIB, SECTOR

SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
OPS = int(os.environ.get("OPS") or 3000)


class Worker:
    """Owns size bytes at base of a volume, and knows what must be in them."""

    def __init__(self, h, seed, base, size, largest=300 * KIB):
        self.h = h
        self.random = random.Random("%d/%s" % (SEED, seed))
        self.base = base
        self.largest = min(largest, size)
        self.sector = h.get_block_size(nbd.SIZE_PREFERRED)
        self.model = bytearray(size)

    def range(self):
        """Small, large, aligned and unaligned ones."""
        r = self.random
        count = r.randint(1, r.choice((8, 600, 2 * SECTOR, 40 * KIB, self.largest)))
        count = min(count, self.largest)
        start = r.randrange(len(self.model) - count + 1)
        if r.random() < 0.4 and count >= SECTOR:
            count -= count % SECTOR
            start -= (self.base + start) % SECTOR
            start += SECTOR if start < 0 else 0
            count = min(count, len(self.model) - start)
        return start, count

    def content(self, count):
        """Random bytes; sometimes with zeros in them, or nothing but zeros."""
        r = self.random
        data = bytearray(r.randbytes(count))
        if r.random() < 0.3:
            a, b = sorted((r.randrange(count + 1), r.randrange(count + 1)))
            data[a:b] = bytes(b - a)
        elif r.random() < 0.1:
            data = bytearray(count)
        return data

    def step(self):
        r = self.random
        start, count = self.range()
        offset = self.base + start
        kind = r.choices(("write", "zero", "trim", "read", "extents"), (8, 2, 2, 6, 1))[0]
        fua = nbd.CMD_FLAG_FUA if r.random() < 0.1 else 0
        if kind == "write":
            data = self.content(count)
            self.h.pwrite(data, offset, fua)
            self.model[start:start + count] = data
        elif kind == "zero":
            flags = r.choice((0, sectors.NO_HOLE, nbd.CMD_FLAG_FAST_ZERO))
            self.h.zero(count, offset, fua | flags)
            self.model[start:start + count] = bytes(count)
        elif kind == "trim":
            self.h.trim(count, offset, fua)
            self.model[start:start + count] = bytes(count)
        elif kind == "read":
            self.check(start, count)
        else:
            self.check_extents(start, count)

    def fail(self, text):
        raise AssertionError("%s (SEED=%d)" % (text, SEED))

    def check(self, start, count):
        data = self.h.pread(count, self.base + start)
        want = self.model[start:start + count]
        if data != want:
            at = next(i for i in range(count) if data[i] != want[i])
            self.fail("read of %d bytes at %d: byte %d is 0x%02x, not 0x%02x" %
                      (count, self.base + start, self.base + start + at, data[at], want[at]))

    def check_extents(self, start, count):
        for offset, length, kind in sectors.block_map(self.h, self.base + start, count):
            if kind not in (sectors.DATA, sectors.HOLE, sectors.RESERVED):
                self.fail("extent type %d" % kind)
            at = offset - self.base
            if kind != sectors.DATA and self.model[at:at + length].strip(b"\0"):
                self.fail("%d bytes at %d are not zeros, but extent type %d" % (length, offset, kind))
            if kind == sectors.DATA:
                # No whole sector of it may be zeros.
                for sector in range(-(-offset // self.sector), (offset + length) // self.sector):
                    part = sector * self.sector - self.base
                    if not self.model[part:part + self.sector].strip(b"\0"):
                        self.fail("sector %d is zeros, but an extent of data" % sector)

    def check_all(self):
        for start in range(0, len(self.model), MIB):
            self.check(start, min(MIB, len(self.model) - start))
        self.check_extents(0, len(self.model))

    def run(self, ops):
        for i in range(ops):
            self.step()
            if i % 1000 == 999:
                self.check_all()
        self.check_all()


class Data(sectors.TestCase):
    MODEL = "thread-model=auto"

    def serve(self, *parameters):
        return super().serve(self.MODEL, *parameters)

    def run_all(self, workers, ops):
        errors = []

        def work(worker):
            try:
                worker.run(ops)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        # And again when all is quiet, through another connection.
        for worker in workers:
            worker.h = self.connect(worker.h.get_export_name())
            worker.check_all()

    def test_one_connection(self):
        self.serve("1T", "memory-limit=64M")
        self.run_all([Worker(self.connect(), "one", 0, 4 * MIB)], OPS)

    def test_large_sectors(self):
        self.serve("1T", "memory-limit=64M", "sector-size=64K")
        self.run_all([Worker(self.connect(), "large", 12345, 4 * MIB)], OPS // 2)

    def test_end_of_the_largest(self):
        size = 3 * MIB + 1
        self.serve(str(sectors.LARGEST), "memory-limit=64M")
        self.run_all([Worker(self.connect(), "end", sectors.LARGEST - size, size)], OPS // 2)

    def test_volumes_are_apart(self):
        """Sectors go from volume to volume through the free ones, their bytes do not."""
        names = ["a", "b", "c", "d"]
        self.serve("memory-limit=24M", *["volume=%s:1G" % name for name in names])
        self.run_all([Worker(self.connect(name), name, index * 100 * MIB, 2 * MIB)
                      for index, name in enumerate(names)], OPS // 2)

    def test_neighbours(self):
        """Connections whose ranges meet inside sectors do not lose each other's bytes."""
        self.serve("1G", "memory-limit=64M")
        size = 3001
        self.run_all([Worker(self.connect(), "neighbour %d" % index, MIB + index * size, size)
                      for index in range(6)], OPS)

    def test_overlapping(self):
        """Of requests in flight at once over the same sectors, each sector has one's result."""
        self.serve("volume=v:1G", "volume=other:1G", "memory-limit=64M")
        r = random.Random(SEED)
        count = 48
        handles = [self.connect("v") for _ in range(4)]
        other = self.connect("other")
        kept = r.randbytes(count * SECTOR)
        other.pwrite(kept, 0)
        for _ in range(60):
            # Per sector, what it may contain afterwards.
            allowed = [{bytes(part)} for part in self.sectors_of(handles[0].pread(count * SECTOR, 0))]
            touched = [False] * count
            for h in handles:
                for _ in range(6):
                    first = r.randrange(count)
                    number = r.randint(1, count - first)
                    kind = r.choice(("write", "write", "write", "zero", "trim", "reserve"))
                    content = bytes([r.randrange(1, 256)]) * SECTOR if kind == "write" else bytes(SECTOR)
                    if kind == "write":
                        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(content * number)),
                                     first * SECTOR)
                    elif kind == "trim":
                        h.aio_trim(number * SECTOR, first * SECTOR)
                    else:
                        h.aio_zero(number * SECTOR, first * SECTOR,
                                   flags=sectors.NO_HOLE if kind == "reserve" else 0)
                    for n in range(first, first + number):
                        if not touched[n]:
                            # Some request certainly replaces what was there.
                            touched[n] = True
                            allowed[n] = set()
                        allowed[n].add(content)
            read = nbd.Buffer(count * SECTOR)
            handles[0].aio_pread(read, 0)
            while any(h.aio_in_flight() for h in handles):
                for h in handles:
                    if h.aio_in_flight():
                        h.poll(0)
            for n, part in enumerate(self.sectors_of(read.to_bytearray())):
                self.assertEqual(len(set(part)), 1, "sector %d was read half written (SEED=%d)" % (n, SEED))
            for n, part in enumerate(self.sectors_of(handles[-1].pread(count * SECTOR, 0))):
                self.assertIn(bytes(part), allowed[n], "sector %d is none of what was written "
                              "(SEED=%d)" % (n, SEED))
        self.assertData(other, 0, kept)

    @staticmethod
    def sectors_of(data):
        return [data[i:i + SECTOR] for i in range(0, len(data), SECTOR)]


class InParallel(Data):
    """All of it with requests of one connection running at once."""
    MODEL = "thread-model=parallel"


if __name__ == "__main__":
    sectors.main()
