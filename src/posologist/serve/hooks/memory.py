"""The cards dealt lately: for feedback on them, and so that one order's hooks do not repeat each other. Bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

from posologist.serve.hooks.cards import Dealt
from posologist.serve.hooks.requests import HookName, HookRequest

_Kept = tuple[datetime, HookName, Dealt, str]


class DealtCards:
    """Cards by uuid, forgotten after `keeps` or when there are more than `most`. Safe to share between threads."""

    def __init__(self, *, most: int = 20_000, keeps: timedelta = timedelta(hours=8)) -> None:
        self._most = most
        self._keeps = keeps
        self._lock = threading.Lock()
        self._cards: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, request: HookRequest, cards: Iterable[Dealt], now: datetime, issuer: str = "") -> None:
        """Remember what was dealt, by which hook first, and to whom."""
        with self._lock:
            self._forget(now)
            for card in cards:
                old = self._cards.pop(card.card.uuid, None)
                hook = request.hook if old is None else old[1]
                self._cards[card.card.uuid] = (now, hook, card, issuer)
            while len(self._cards) > self._most:
                self._cards.popitem(last=False)

    def find(self, uuid: str, now: datetime, issuer: str | None = None) -> Dealt | None:
        """The card of a uuid, if it is still remembered; where an issuer is given, only a card that it was dealt."""
        with self._lock:
            self._forget(now)
            kept = self._cards.get(uuid)
            return None if kept is None or issuer not in (None, kept[3]) else kept[2]

    def shown_before(self, request: HookRequest, now: datetime) -> frozenset[str]:
        """Cards about this patient that order-select has shown when its order comes to be signed."""
        if request.hook != "order-sign":
            return frozenset()
        with self._lock:
            self._forget(now)
            return frozenset(
                uuid
                for uuid, (_, hook, dealt, _) in self._cards.items()
                if hook == "order-select" and dealt.patient_id == request.patient_id
            )

    def _forget(self, now: datetime) -> None:
        while self._cards:
            uuid, (when, _, _, _) = next(iter(self._cards.items()))
            if now - when <= self._keeps:
                return
            del self._cards[uuid]
