"""Counters in Prometheus' text format. Labels are route templates and statuses, never an address or an id."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from threading import Lock

from posologist.core.version import VERSION

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Metrics:
    """Counts of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._seconds: Counter[str] = Counter()
        self._running = 0
        self._defects = 0

    def begin(self) -> None:
        """Count a request that has begun."""
        with self._lock:
            self._running += 1

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended; `route` is the template of its address."""
        with self._lock:
            self._running -= 1
            self._requests[(method, route, status)] += 1
            self._buckets[route][bisect_left(_BOUNDS, seconds)] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]
            self._defects += status == 500

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        with self._lock:
            lines = [
                "# TYPE posologist_build_info gauge",
                f'posologist_build_info{{version="{VERSION}"}} 1',
                "# TYPE posologist_requests_in_progress gauge",
                f"posologist_requests_in_progress {self._running}",
                "# TYPE posologist_defects_total counter",
                f"posologist_defects_total {self._defects}",
                "# TYPE posologist_requests_total counter",
            ]
            for (method, route, status), count in sorted(self._requests.items()):
                labels = f'method="{method}",route="{route}",status="{status}"'
                lines.append(f"posologist_requests_total{{{labels}}} {count}")
            lines.append("# TYPE posologist_request_seconds histogram")
            for route, counts in sorted(self._buckets.items()):
                lines += self._histogram(route, counts)
        return "\n".join(lines) + "\n"

    def _histogram(self, route: str, counts: list[int]) -> list[str]:
        lines, so_far = [], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
            so_far += count
            lines.append(f'posologist_request_seconds_bucket{{route="{route}",le="{bound}"}} {so_far}')
        lines.append(f'posologist_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
        lines.append(f'posologist_request_seconds_count{{route="{route}"}} {so_far}')
        return lines
