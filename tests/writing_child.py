"""Writes answers to a store and says each one's id on standard output once it is held. Run as a program; is killed."""

import itertools
import os
import sys

from posologist.serve.store import Store
from stores import ANNA, put_answer

store = Store(sys.argv[1])
most = int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize
for number in itertools.islice(itertools.count(), most):
    with store.work(ANNA) as work:
        work.patient("p1")
        made = put_answer(work, request=f"{os.getpid()} {number}".encode(), document=b"x" * 3000)
    print(made, flush=True)
