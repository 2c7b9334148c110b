"""100,000 patients x 500 treatments factorised: time, memory and error, beside cornac, implicit and surprise.

    python benchmarks/factorise.py [--quick] [--json]
    RIVALS=/path/to/python python benchmarks/factorise.py

Each row is a process of its own: our estimator with its default settings, and those libraries that the Python named
by RIVALS has (`pip install cornac implicit scikit-surprise` in an environment of its own); cornac with the best of
six pairs of learning rate and penalty, surprise with 16 factors and its defaults, implicit only for its time. Seconds
on the clock depend on what else the machine does; processor seconds hardly do. `--quick` takes a tenth of the
patients and cells: its times and errors are not those of the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from posologist.study.factorisation import generated

LIMITS = {"fit_seconds": 10.0, "peak_memory_mib": 1024.0, "rmse_warm": 0.596, "rmse_cold": 0.80}
AIMS = {"fit_seconds": 5.0, "rmse_warm": 0.590, "rmse_cold": 0.78}

COMMON = """
import json, resource, sys, time
import numpy as np
data = np.load(sys.argv[1])
pairs, outcome, warm, cold = (data[name] for name in ("pairs", "outcome", "warm", "cold"))
train = ~warm & ~cold
shape = (len(data["side"]), 500)
def measured(fit):
    wall, cpu = time.perf_counter(), time.process_time()
    made = fit()
    return made, {"fit_seconds": time.perf_counter() - wall, "fit_cpu_seconds": time.process_time() - cpu}
def told(found, **said):
    for part, cells in (("warm", warm), ("cold", cold)):
        if part in said:
            found["rmse_" + part] = float(np.sqrt(np.mean((said[part] - outcome[cells]) ** 2)))
    found["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
"""

OURS = """
from posologist.learn.fit.factorise import Factorisation
def fit():
    return Factorisation().fit(pairs[train], outcome[train], patient_side=data["side"], shape=shape)
model, found = measured(fit)
told(found, warm=model.predict(pairs[warm]), cold=model.predict(pairs[cold]))
"""

CORNAC = """
import cornac
ids = [tuple(row) for row in zip(pairs[train, 0].tolist(), pairs[train, 1].tolist(), outcome[train].tolist())]
known = cornac.data.Dataset.from_uir(ids)
mf = cornac.models.MF(k=16, max_iter=30, learning_rate=0.03, seed=1, use_bias=True, num_threads=THREADS)
model, found = measured(lambda: mf.fit(known))
u = np.array([known.uid_map.get(p, -1) for p in pairs[warm, 0].tolist()])
i = np.array([known.iid_map[t] for t in pairs[warm, 1].tolist()])
said = model.global_mean + model.i_biases[i] + np.where(
    u >= 0, model.u_biases[u] + (model.u_factors[u] * model.i_factors[i]).sum(axis=1), 0.0)
told(found, warm=said)
"""

SURPRISE = """
import surprise
from surprise import SVD, Reader, Trainset
ur, ir = {}, {}
inner_u, inner_i = {}, {}
for p, t, y in zip(pairs[train, 0].tolist(), pairs[train, 1].tolist(), outcome[train].astype(float).tolist()):
    u, i = inner_u.setdefault(p, len(inner_u)), inner_i.setdefault(t, len(inner_i))
    ur.setdefault(u, []).append((i, y)); ir.setdefault(i, []).append((u, y))
known = Trainset(ur, ir, len(ur), len(ir), int(train.sum()), (-30, 30), inner_u, inner_i)
model, found = measured(lambda: SVD(n_factors=16, random_state=1).fit(known))
u = np.array([inner_u.get(p, -1) for p in pairs[warm, 0].tolist()])
i = np.array([inner_i[t] for t in pairs[warm, 1].tolist()])
said = known.global_mean + model.bi[i] + np.where(u >= 0, model.bu[u] + (model.pu[u] * model.qi[i]).sum(axis=1), 0.0)
told(found, warm=said)
"""

IMPLICIT = """
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
values = (outcome[train] - outcome.min() + 0.01).astype(np.float32)
known = csr_matrix((values, (pairs[train, 0], pairs[train, 1])), shape=shape)
model = AlternatingLeastSquares(factors=16, iterations=15, random_state=1, num_threads=THREADS)
_, found = measured(lambda: model.fit(known, show_progress=False))
told(found)
"""


def process(python: str, script: str, data: Path, threads: int) -> dict[str, float] | None:
    """What a script prints; None where its library is not there."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    code = COMMON + script.replace("THREADS", str(threads))
    made = subprocess.run(
        [python, "-W", "ignore", "-c", code, str(data)], capture_output=True, text=True, env={**os.environ, **limits}
    )
    if made.returncode:
        print(made.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return dict(json.loads(made.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the patients and cells")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    matrix = generated(**({"n_patients": 10_000, "n_cells": 150_000, "n_cold": 200} if wanted.quick else {}))
    rivals = os.environ.get("RIVALS", "")
    asked = [("posologist", sys.executable, OURS)]
    if rivals:
        asked += [("cornac MF", rivals, CORNAC), ("surprise SVD", rivals, SURPRISE), ("implicit ALS", rivals, IMPLICIT)]
    found: dict[str, dict[str, float] | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "matrix.npz"
        np.savez(data, **{name: getattr(matrix, name) for name in ("side", "pairs", "outcome", "warm", "cold")})
        for name, python, script in asked:
            found[name] = process(python, script, data, wanted.threads)
    load = os.getloadavg()[0]
    if wanted.json:
        print(json.dumps({"quick": wanted.quick, "load": load, "rows": found, "limits": LIMITS, "aims": AIMS}))
        return
    print(f"{len(matrix.side)} patients, {int(matrix.train.sum())} cells to learn from; load of the machine {load:.1f}")
    if wanted.quick:
        print("quick: a tenth of the benchmark; its limits do not apply")
    for name, row in found.items():
        shown = "not there" if row is None else ", ".join(f"{key} {value:.3f}" for key, value in row.items())
        print(f"{name}: {shown}")
    if not wanted.quick:
        print(f"limits: {LIMITS}; aims: {AIMS}")


if __name__ == "__main__":
    main()
