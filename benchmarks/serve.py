"""How fast `posologist serve` answers: one worker, one database in a temporary folder, a client on this machine.

    python benchmarks/serve.py [--minutes 10]

Prints and judges nothing; limits are in the column beside, for the reader. With --minutes, a load of that length, with
the server's memory at the start and at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

DEMO = Path(str(files("posologist.serve.demo")))
PORT = 8177
AT_ONCE = 4
PATIENTS = 100
ORDERS = ("warfarin {} mg po q24h", "ibuprofen {}00 mg po q8h", "lisinopril {} mg po q24h", "simvastatin {} mg po q24h")


class Caller:
    """One connection that stays open."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT)

    def __call__(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, float]:
        """Status and seconds of a POST."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        began = time.perf_counter()
        self._connection.request("POST", f"/api/v1{path}", body=body, headers=headers)
        response = self._connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - began


def main() -> None:
    """Start a server, ask it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        program = [sys.executable, "-c", "from posologist.serve.cli import main; main()", "serve", "--port", str(PORT)]
        with log.open("w") as stream:
            server = subprocess.Popen(program, cwd=folder, stderr=stream)
        try:
            measure(_token(log), server.pid, minutes)
        finally:
            server.terminate()
            print(f"{'server ended with':44} {server.wait(timeout=60)}")


def measure(token: str, pid: int, minutes: float) -> None:
    """Every measurement, printed."""
    call = Caller(token)
    ids = [f"case-{number}" for number in range(PATIENTS)]
    for number, patient in enumerate(ids):
        call("/patients", _record(patient, number), "application/fhir+json")
        call(f"/patients/{patient}/genome", (DEMO / "genome.vcf").read_bytes(), "text/plain")

    def recommend(caller: Caller, number: int) -> tuple[int, float]:
        body = {"indication": "hypertension"}
        return caller(f"/patients/{ids[number % PATIENTS]}/recommend", json.dumps(body).encode())

    def screen(caller: Caller, number: int) -> tuple[int, float]:
        body = {"orders": [ORDERS[number % len(ORDERS)].format(1 + number // len(ORDERS) % 40)]}
        return caller(f"/patients/{ids[number % 4]}/screen", json.dumps(body).encode())

    for name, ask, count, limit in (
        ("recommendations/s, first of a patient", recommend, PATIENTS, ">= 20, aim 50"),
        ("recommendations/s, asked again", recommend, 4 * PATIENTS, ">= 20, aim 50"),
        ("screenings/s, another order each time", screen, 160, ">= 300"),
        ("screenings/s, orders asked again", screen, 640, ">= 300"),
    ):
        print(f"{name:44} {_throughput(token, ask, count):8.1f}   {limit}")
    call = Caller(token)
    for number, patient in enumerate(ids):  # the records change, so that nothing of them is remembered
        call("/patients", _record(patient, number + PATIENTS), "application/fhir+json")
    times = _paced(token, recommend, per_second=10, seconds=PATIENTS / 10)
    middle, late = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{'first of a patient at 10/s, p50 ms':44} {middle * 1000:8.1f}")
    print(f"{'first of a patient at 10/s, p99 ms':44} {late * 1000:8.1f}   <= 100")
    if minutes:
        _load(token, pid, recommend, screen, minutes)


def _record(patient: str, number: int) -> bytes:
    """The demonstration's record under another id, with pressures of its own."""
    text = (DEMO / "patient.json").read_text().replace("founding-case", patient)
    document = json.loads(text)
    for entry in document["entry"]:
        for part in entry["resource"].get("component", ()):
            part["valueQuantity"]["value"] += number / 100
    return json.dumps(document).encode()


def _throughput(token: str, ask: Callable[[Caller, int], Any], count: int) -> float:
    callers = [Caller(token) for _ in range(AT_ONCE)]
    share = count // AT_ONCE

    def run(which: int) -> None:
        for number in range(share):
            status, _ = ask(callers[which], which * share + number)
            assert status == 200, status

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, range(AT_ONCE)))
    return count / (time.perf_counter() - began)


def _paced(token: str, ask: Callable[[Caller, int], Any], *, per_second: int, seconds: float) -> list[float]:
    """Seconds of each of so many requests a second, from when each was due."""
    began, count = time.perf_counter(), int(per_second * seconds)

    def one(number: int) -> float:
        due = began + number / per_second
        time.sleep(max(0.0, due - time.perf_counter()))
        status, _ = ask(Caller(token), number)
        assert status == 200, status
        return time.perf_counter() - due

    with ThreadPoolExecutor(2 * per_second) as pool:
        return list(pool.map(one, range(count)))


def _load(token: str, pid: int, recommend: Callable[..., Any], screen: Callable[..., Any], minutes: float) -> None:
    """A steady load of both; memory of the server a minute in, and at the end."""
    until, asked, wrong, memory = time.monotonic() + 60 * minutes, 0, 0, [_memory_mb(pid)]
    caller = Caller(token)
    while time.monotonic() < until:
        for ask in (recommend, screen, screen, screen):
            status, _ = ask(caller, asked)
            asked, wrong = asked + 1, wrong + (status != 200)
        if asked % 400 == 0:
            memory.append(_memory_mb(pid))
    print(f"{'requests under load, of which not 200':44} {asked:8d} {wrong}   0")
    print(
        f"{'memory MB: start, quarter, half, end':44} {[memory[len(memory) * n // 4 - (n == 4)] for n in (0, 1, 2, 4)]}"
    )


def _memory_mb(pid: int) -> int:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def _token(log: Path) -> str:
    """The token that development mode prints, once the server listens."""
    for _ in range(600):
        lines = log.read_text().splitlines()
        if any('"listening"' in line for line in lines):
            return next(line.split()[1] for line in lines if line.strip().startswith("token:"))
        time.sleep(0.1)
    raise SystemExit("the server did not start:\n" + log.read_text())


if __name__ == "__main__":
    main()
