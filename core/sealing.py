"""Encryption of what the database must keep and not be able to read: Fernet (AES-128-CBC and HMAC-SHA256)."""

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SecretsUnavailable, SecretUnreadable
from core.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "secret.key"


class Seal:
    """Seals with the first key and opens with any of them, so that keys can be changed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = _fernet(keys)
        self._first = keys[0].encode()

    def sealed(self, owner: str, name: str, value: str) -> str:
        """Return what may be stored. It is bound to owner and name: under another row it does not open."""
        return self._fernet.encrypt(json.dumps([owner, name, value]).encode()).decode()

    def opened(self, owner: str, name: str, sealed: str) -> str:
        """Return the value. Raises SecretUnreadable."""
        from cryptography.fernet import InvalidToken

        try:
            *place, value = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise SecretUnreadable(name, "it was sealed with a key that is not set here") from None
        if place != [owner, name]:
            raise SecretUnreadable(name, "it was sealed for another owner or name")
        return str(value)

    def digest(self, text: str) -> str:
        """Return a digest that says nothing to whoever lacks the key."""
        return hmac.new(self._first, text.encode(), hashlib.sha256).hexdigest()


def _fernet(keys: Sequence[str]) -> "MultiFernet":
    """Imported where it is used: 7 MB that a process without secrets does not hold."""
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in keys])


def seal_of(settings: Settings, *, makes_key: bool = False) -> Seal:
    """Return the seal of this installation. One machine makes its key the first time that it needs one.

    Raises:
        SecretsUnavailable: no key is set, and none lies in the data folder.
    """
    if settings.secret_key is not None:
        return Seal(settings.secret_keys)
    file = settings.data.resolve() / KEY_FILE
    if makes_key and settings.database_url is None:
        _make(file)
    try:
        return Seal([file.read_text().strip()])
    except (OSError, ValueError) as error:
        raise SecretsUnavailable("there is no key to encrypt secrets with: DISTILL_SECRET_KEY is not set") from error


def _make(file: Path) -> None:
    """Make the key file, readable for its owner alone. Of two that do so at once, one wins and both read its key."""
    from cryptography.fernet import Fernet

    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    own = file.with_name(f"{KEY_FILE}.{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(Fernet.generate_key() + b"\n")
        written.flush()
        os.fsync(written.fileno())
    with suppress(FileExistsError):
        file.hardlink_to(own)
    own.unlink()
