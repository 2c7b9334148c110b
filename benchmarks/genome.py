"""How fast genomes are called, in CPU seconds and memory of whole processes, beside PyPGx where it is installed.

    python benchmarks/genome.py [SHARED] [--samples 100000] [--json]

SHARED is the folder with `data/pgx` (default ../shared). The cohort is made here: every position of PharmCAT's
position file, haplotypes drawn in pairs from the 1000 Genomes panel person by person and chromosome by chromosome,
and at positions that the panel lacks a rare alternative (1 in 10,000). PYPGX names the pypgx command of an environment
that has it (`pip install pypgx "pandas<3"`); it is run on one gene of one sample.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam

GENE = "CYP2C19"


class Row(NamedTuple):
    """One whole process: CPU seconds (user and system), seconds on the clock, peak memory, and its limits."""

    what: str
    cpu_s: float
    wall_s: float
    peak_mib: float
    limit: str = ""


def measured(what: str, command: list[str], limit: str = "") -> Row:
    """Runs a command to its end; the operating system counts its CPU time and peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(
            f"{' '.join(command)} failed: {process.stderr.read().decode()[-400:] if process.stderr else ''}"
        )
    return Row(what, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, limit)


def best(what: str, command: list[str], limit: str = "", runs: int = 5) -> Row:
    """The run with least CPU time."""
    return min((measured(what, command, limit) for _ in range(runs)), key=lambda row: row.cpu_s)


def positions(shared: Path) -> list[list[str]]:
    """The first nine columns of PharmCAT's position file."""
    text = (shared / "data/pgx/positions/pharmcat_positions.vcf").read_text()
    return [line.split("\t")[:9] for line in text.splitlines() if not line.startswith("#")]


def panel(shared: Path) -> tuple[dict[tuple[str, int], tuple[str, list[str], np.ndarray]], int]:
    """Alleles of both strands of every person of the panel, by position; and the number of people."""
    found: dict[tuple[str, int], tuple[str, list[str], np.ndarray]] = {}
    people = 0
    with gzip.open(shared / "data/pgx/panel/positions.1kgp30x.vcf.gz", "rt") as stream:
        for line in stream:
            if line.startswith("#"):
                continue
            fields = line.rstrip("\n").split("\t")
            calls = [call.split(":")[0] for call in fields[9:]]
            people = len(calls)
            both = [(call[0], call[2] if len(call) > 2 else call[0]) for call in calls]
            numbers = np.array([[int(a) if a.isdigit() else 0 for a in pair] for pair in both], dtype=np.uint8)
            found.setdefault((fields[0], int(fields[1])), (fields[3], fields[4].split(","), numbers))
    return found, people


def write_cohort(path: Path, shared: Path, samples: int, seed: int = 20261120) -> int:
    """A bgzipped VCF of made-up people with real haplotypes; returns the number of positions."""
    chooser = np.random.default_rng(seed)
    found, people = panel(shared)
    rows = positions(shared)
    strands: dict[str, np.ndarray] = {}
    plain = path.with_suffix("")
    with plain.open("wb") as out:
        names = "\t".join(f"P{n}" for n in range(samples))
        out.write(b"##fileformat=VCFv4.2\n##reference=GRCh38\n")
        out.write(f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{names}\n".encode())
        for row in rows:
            if row[0] not in strands:  # which strand of whom each sample has on this chromosome
                strands[row[0]] = chooser.integers(0, 2 * people, size=(2, samples))
            out.write("\t".join([*row[:7], ".", "GT"]).encode() + b"\t")
            out.write(calls_of(row, found, strands[row[0]], chooser) + b"\n")
    pysam.tabix_compress(str(plain), str(path), force=True)
    plain.unlink()
    return len(rows)


def calls_of(row: list[str], found: dict, strands: np.ndarray, chooser: np.random.Generator) -> bytes:  # type: ignore[type-arg]
    """The genotypes of one line, phased."""
    known = found.get((row[0], int(row[1])))
    alts = row[4].split(",")
    samples = strands.shape[1]
    if known is None or known[0] != row[3]:
        numbers = (chooser.random((2, samples)) < 1e-4).astype(np.uint8)
    else:
        place = np.array([0, *(alts.index(a) + 1 if a in alts else 0 for a in known[1])], dtype=np.uint8)
        numbers = place[known[2].reshape(-1)[strands]]
    text = np.empty((samples, 4), dtype=np.uint8)
    text[:, 0], text[:, 1], text[:, 2], text[:, 3] = numbers[0] + 48, ord("|"), numbers[1] + 48, ord("\t")
    return text.tobytes()[:-1]


def write_whole_genome(path: Path, shared: Path, lines: int) -> None:
    """A bgzipped, indexed VCF of one person with so many lines, the positions of all genes among them."""
    kept = {(row[0], int(row[1])): row for row in positions(shared)}
    by_chromosome: dict[str, list[int]] = {}
    for chromosome, pos in kept:
        by_chromosome.setdefault(chromosome, []).append(pos)
    chooser = random.Random(1)
    plain = path.with_suffix("")
    each = lines // len(by_chromosome)
    with plain.open("w") as out:
        out.write("##fileformat=VCFv4.2\n##reference=GRCh38\n")
        out.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n")
        for chromosome, wanted in sorted(by_chromosome.items()):
            near = {p + d for p in wanted for d in range(-80, 81)}
            others = {p for p in chooser.sample(range(10_000, 45_000_000), each) if p not in near}
            for pos in sorted(others | set(wanted)):
                row = kept.get((chromosome, pos))
                if row is not None:
                    out.write("\t".join([*row[:7], ".", "GT", "0/0"]) + "\n")
                else:
                    out.write(f"{chromosome}\t{pos}\t.\tA\tG\t50\tPASS\tAC=1;AN=2;DP=31\tGT:DP:GQ\t0/1:31:99\n")
    pysam.tabix_compress(str(plain), str(path), force=True)
    pysam.tabix_index(str(path), preset="vcf", force=True)
    plain.unlink()


def rows(shared: Path, folder: Path, samples: int) -> list[Row]:
    """Every measurement."""
    here = str(Path(sys.executable).with_name("posologist"))
    one = str(shared / "data/pgx/positions/pharmcat_positions.vcf")
    found = [best("one patient, all genes", [here, "phenotype", one, "--json"], "<= 0.3 CPU s, <= 150 MiB")]
    whole = folder / "whole.vcf.gz"
    write_whole_genome(whole, shared, 5_000_000)
    text = "one patient, five million lines, tabix"
    found.append(best(text, [here, "phenotype", str(whole), "--json"], "< 2 s", runs=3))
    cohort = folder / "cohort.vcf.gz"
    count = write_cohort(cohort, shared, samples)
    command = [here, "phenotype", str(cohort), "--all-samples", "--out", str(folder / "cohort.parquet")]
    text = f"{samples} samples x {count} positions"
    found.append(measured(text, command, "<= 120 s (aim 60), <= 1 GiB"))
    rival = os.environ.get("PYPGX")
    if rival:
        found.append(best(f"PyPGx, {GENE} of one sample", rival_command(rival, shared, folder), runs=3))
    return found


def rival_command(rival: str, shared: Path, folder: Path) -> list[str]:
    """PyPGx on the first sample of GeT-RM, one gene."""
    source, target = shared / "data/pgx/getrm/genotypes.vcf.gz", folder / "one.vcf"
    with gzip.open(source, "rt") as stream, target.open("w") as out:
        for line in stream:
            fields = line.rstrip("\n").split("\t")
            if line.startswith("##"):
                out.write(line)
            elif fields[0] in ("#CHROM", "chr10"):
                out.write("\t".join(fields[:10]) + "\n")
    pysam.tabix_compress(str(target), f"{target}.gz", force=True)
    pysam.tabix_index(f"{target}.gz", preset="vcf", force=True)
    place = str(folder / "pypgx")
    return [rival, "run-ngs-pipeline", GENE, place, "--variants", f"{target}.gz", "--assembly", "GRCh38", "--force"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", nargs="?", type=Path, default=Path("../shared"))
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = rows(given.shared, Path(name), given.samples)
    if given.json:
        print(json.dumps([row._asdict() for row in found], indent=1))
        return
    ours = found[0].cpu_s
    print(f"{'':46}{'CPU s':>9}{'clock s':>9}{'peak MiB':>10}{'ratio':>8}  limit")
    for row in found:
        ratio = f"{row.cpu_s / ours:.1f}"
        print(f"{row.what:46}{row.cpu_s:9.2f}{row.wall_s:9.2f}{row.peak_mib:10.0f}{ratio:>8}  {row.limit}")


if __name__ == "__main__":
    main()
