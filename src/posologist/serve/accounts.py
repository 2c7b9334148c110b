"""Accounts: passwords by scrypt, bearer tokens and session cookies of which only hashes are held.

A token or cookie holds 256 random bits, so that its plain sha256 gives nothing away; a password gets salt and work.
Sign-ins, refused sign-ins, new and revoked tokens are rows of the audit chain.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Any

from sqlalchemy import Select, bindparam, delete, exists, select

from posologist.core.errors import InputError
from posologist.serve.refused import ForbiddenError, TooMuchError, UnauthorisedError
from posologist.serve.rows import AccountRow, Actor, Role, SessionRow, TokenRow
from posologist.serve.security import Limiter
from posologist.serve.store import Store
from posologist.serve.tables import accounts, sessions, tokens
from posologist.serve.transaction import Deed, row_of
from posologist.serve.work import Work

TOKEN_PREFIX = "psl_"
SESSION_LASTS = timedelta(hours=8)
LONGEST_TOKEN = timedelta(days=365)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256
DEVELOPER = "development"
"""The account of development mode; any other account ends that mode."""
_COST, _BLOCK, _LANES = 2**15, 8, 3  # scrypt N, r, p: 32 MiB, one of OWASP's equivalent settings
_RESERVED = ("accounts", "anonymous", "hooks", DEVELOPER)
_AT_ONCE = BoundedSemaphore(4)  # passwords checked at the same time, each with 32 MiB
_TOKEN = select(tokens).where(tokens.c.hash == bindparam("hash"))
_ACCOUNT = select(accounts).where(accounts.c.id == bindparam("id"))
_SESSION = select(sessions).where(sessions.c.id == bindparam("id"))
_SYSTEM = Actor("accounts", "system", purpose="operations")


@dataclass(frozen=True)
class Issued:
    """A new token; its text is told once."""

    id: str
    token: str
    expires: datetime


@dataclass(frozen=True)
class SignedIn:
    """A new session: the cookie's value (told once) and the token that forms must carry."""

    cookie: str
    csrf: str
    account: AccountRow
    expires: datetime


@dataclass(frozen=True)
class Session:
    """A browser that is signed in."""

    account: AccountRow
    csrf: str


class Accounts:
    """Who may sign in to one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noting = Limiter(0.5, 30)

    def add(self, account: str, *, name: str, role: Role, password: str) -> AccountRow:
        """Hold a new account.

        Raises
        ------
        InputError
            If the id is taken, or the password is too short or too long.
        """
        check_password(password)
        reserved = account in _RESERVED or account.startswith("hooks of ")
        if not account or len(account) > 64 or not account.isprintable() or account != account.strip() or reserved:
            raise InputError("not an account's id", where="account", hint="give up to 64 plain signs")
        row = AccountRow(account, name or account, role, hash_password(password), disabled=False)
        with self._store.work(_SYSTEM) as work:
            if work.connection.execute(select(exists().where(accounts.c.id == account))).scalar():
                raise InputError("the account is there already", where=account, hint="choose another id")
            work.insert(accounts, dict(vars(row)))
            work.record("C", "account", account, detail=role)
        self.end_development()
        return row

    def end_development(self) -> None:
        """Disable the account of development mode, if there is one."""
        with self._store.work(_SYSTEM) as work:
            this = (accounts.c.id == DEVELOPER) & accounts.c.disabled.is_(False)
            if work.reader.execute(select(exists().where(this))).scalar():
                work.connection.execute(accounts.update().where(this).values(disabled=True))
                work.record("U", "account", DEVELOPER, detail="disabled")

    def disable(self, account: str) -> None:
        """End an account: its tokens and sessions are refused from now on.

        Raises
        ------
        InputError
            If there is no such account.
        """
        with self._store.work(_SYSTEM) as work:
            done = work.connection.execute(accounts.update().where(accounts.c.id == account).values(disabled=True))
            if done.rowcount != 1:
                raise InputError("no such account", where=account, hint="check its id")
            work.record("U", "account", account, detail="disabled")

    def new_developer(self) -> str:
        """The password, made now, of the account of development mode; older tokens and sessions of it end."""
        password = secrets.token_urlsafe(18)
        row = AccountRow(DEVELOPER, "Development user", "prescriber", hash_password(password), disabled=False)
        with self._store.work(_SYSTEM) as work:
            write = work.connection.execute
            known = write(select(exists().where(accounts.c.id == DEVELOPER))).scalar()
            if known:
                write(accounts.update().where(accounts.c.id == DEVELOPER).values(dict(vars(row))))
            else:
                work.insert(accounts, dict(vars(row)))
            write(tokens.update().where(tokens.c.account == DEVELOPER).values(revoked=True))
            write(sessions.update().where(sessions.c.account == DEVELOPER).values(revoked=True))
            work.record("U" if known else "C", "account", DEVELOPER, detail="development mode")
        return password

    def is_development(self) -> bool:
        """Whether nobody but the generated user may sign in: then `serve` runs in development mode."""
        with self._store.work(_SYSTEM) as work:
            return not work.reader.execute(select(exists().where(accounts.c.id != DEVELOPER))).scalar()

    def sign_in(self, account: str, password: str, *, request_id: str = "") -> SignedIn:
        """A new session.

        Raises
        ------
        UnauthorisedError
            If account or password is wrong; which of them is not told.
        """
        with self._store.work(_system(request_id)) as work:
            row = _one(work, AccountRow, _ACCOUNT, id=account)
        right = is_password(password, _NOBODY if row is None else row.password_hash)
        with self._store.work(_system(request_id)) as work:
            if row is None or row.disabled or not right:
                known = "unknown" if row is None else row.id
                raise work.refuse(
                    UnauthorisedError("account or password is wrong", hint="try again"),
                    Deed("E", "session", known, outcome="refused"),
                )
            cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            now = work.now
            work.connection.execute(delete(sessions).where(sessions.c.expires <= now))
            held = SessionRow(_digest(cookie), row.id, csrf, now, now + SESSION_LASTS, revoked=False)
            work.insert(sessions, dict(vars(held)))
            work.record("C", "session", row.id)
        return SignedIn(cookie, csrf, row, held.expires)

    def session(self, cookie: str) -> Session:
        """The session of a cookie.

        Raises
        ------
        UnauthorisedError
            If it is unknown, expired or ended, or its account was disabled.
        """
        with self._store.work(_SYSTEM) as work:
            held = _one(work, SessionRow, _SESSION, id=_digest(cookie))
            if held is None or held.revoked or held.expires <= work.now:
                raise UnauthorisedError("not signed in", hint="sign in")
            return Session(_open_account(work, held.account), held.csrf)

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        with self._store.work(_SYSTEM) as work:
            this = sessions.c.id == _digest(cookie)
            account = work.reader.execute(select(sessions.c.account).where(this)).scalar()
            if account is not None:
                work.connection.execute(sessions.update().where(this).values(revoked=True))
                work.record("U", "session", account, detail="ended")

    def issue_token(self, account: str, *, lasts: timedelta, by: str = "") -> Issued:
        """A new bearer token of an account; one that is made by a token ends with it at the latest.

        Parameters
        ----------
        by
            The token that asks for it, if one does.

        Raises
        ------
        InputError
            If it would last longer than a year.
        UnauthorisedError
            If there is no such account, or it was disabled.
        """
        if not timedelta(0) < lasts <= LONGEST_TOKEN:
            raise InputError("not a duration of a token", where="days", hint=f"give 1 to {LONGEST_TOKEN.days}")
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self._store.work(_SYSTEM) as work:
            row = _open_account(work, account)
            maker = _valid(work, by) if by else None
            until = work.now + lasts
            held = TokenRow(
                secrets.token_hex(8), row.id, _digest(token), until if maker is None else min(until, maker.expires),
                revoked=False, made_by="" if maker is None else maker.id,
            )  # fmt: skip
            work.insert(tokens, dict(vars(held)))
            work.record("C", "token", held.id, detail=f"of {row.id}")
        return Issued(held.id, token, held.expires)

    def revoke_token(self, token_id: str, *, account: str | None = None) -> bool:
        """End a token and those made by it; only of this account where one is given. Whether there was such a token."""
        with self._store.work(_SYSTEM) as work:
            this = tokens.c.id == token_id
            if account is not None:
                this = this & (tokens.c.account == account)
            ended = list(work.connection.execute(select(tokens.c.id).where(this)).scalars())
            done = bool(ended)
            while ended:
                work.connection.execute(tokens.update().where(tokens.c.id.in_(ended)).values(revoked=True))
                for one in ended:
                    work.record("U", "token", one, detail="revoked")
                made = tokens.c.made_by.in_(ended) & tokens.c.revoked.is_(False)
                ended = list(work.connection.execute(select(tokens.c.id).where(made)).scalars())
            return done

    def note_refusal(self, account: AccountRow | None, why: str, *, request_id: str = "") -> None:
        """Leave a row of who was refused before anything was asked of the store.

        Beyond a rate nothing is written, so that nobody fills the chain.
        """
        who = Actor("anonymous", "system", request_id=request_id) if account is None else _actor_of(account, request_id)
        try:
            self._noting.take(who.id)
        except TooMuchError:
            return
        with self._store.work(who) as work:
            work.record_refusal(Deed("E", "request", "", outcome="refused", detail=why))

    def holder(self, token: str) -> AccountRow:
        """The account of a bearer token.

        Raises
        ------
        UnauthorisedError
            If it is unknown, expired or revoked, or its account was disabled.
        """
        with self._store.work(_SYSTEM) as work:
            return _open_account(work, _valid(work, token).account)


def check_password(password: str) -> None:
    """Refuse a password that is too short or too long.

    Raises
    ------
    InputError
        With the bounds.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        hint = f"give {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} signs"
        raise InputError("the password is too short or too long", where="password", hint=hint)


def check_csrf(session: Session, given: str) -> None:
    """Refuse a form or script that does not carry the session's token.

    Raises
    ------
    ForbiddenError
        If it is missing or wrong.
    """
    if not hmac.compare_digest(session.csrf.encode(), given.encode("utf-8", "surrogatepass")):
        raise ForbiddenError("the form's token is missing or wrong", where="X-CSRF-Token", hint="load the page again")


def hash_password(password: str) -> str:
    """A password's hash with its salt and costs."""
    salt = secrets.token_bytes(16)
    hashed = _scrypt(password, salt, _COST, _BLOCK, _LANES)
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(salt), _text(hashed)])


def is_password(password: str, held: str) -> bool:
    """Whether a password has this hash; takes as long whatever the answer is."""
    _, cost, block, lanes, salt, hashed = held.split("$")
    found = _scrypt(password[:LONGEST_PASSWORD], base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(found, base64.b64decode(hashed))


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    with _AT_ONCE:
        given = password.encode("utf-8", "surrogatepass")
        return hashlib.scrypt(given, salt=salt, n=cost, r=block, p=lanes, maxmem=256 * cost * block, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


_NOBODY = "$".join(["scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(bytes(16)), _text(bytes(32))])
"""No password has this hash; checking against it takes the time that a real one takes."""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _actor_of(account: AccountRow, request_id: str) -> Actor:
    return Actor(account.id, account.role, request_id=request_id)


def _system(request_id: str) -> Actor:
    return Actor(_SYSTEM.id, _SYSTEM.role, purpose=_SYSTEM.purpose, request_id=request_id)


def _one(work: Work, kind: Any, query: Select[Any], **values: str) -> Any:
    found = work.reader.execute(query, values).one_or_none()
    return None if found is None else row_of(kind, found)


def _valid(work: Work, token: str) -> TokenRow:
    held: TokenRow | None = _one(work, TokenRow, _TOKEN, hash=_digest(token))
    if held is None or held.revoked or held.expires <= work.now:
        raise UnauthorisedError("the token is not valid", hint="get a new one")
    return held


def _open_account(work: Work, account: str) -> AccountRow:
    row: AccountRow | None = _one(work, AccountRow, _ACCOUNT, id=account)
    if row is None or row.disabled:
        raise UnauthorisedError("the account is not there or was disabled", hint="ask who runs the system")
    return row
