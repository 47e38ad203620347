"""The models in memory: few, the longest unused one first to go."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.serving import ServingOutOfMemory

LOOK_SECONDS = 1.0

ModelT = TypeVar("ModelT")


@dataclass
class _Place(Generic[ModelT]):
    bytes: int
    model: ModelT | None = None
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class Residents(Generic[ModelT]):
    """Models by key, of at most so many and so many bytes in all. One that is in use stays.

    `after_leaving` is called when models have left, to give their memory back.
    """

    def __init__(self, most: int, most_bytes: int, after_leaving: Callable[[], object]) -> None:
        self.most, self.most_bytes, self.after_leaving = most, most_bytes, after_leaving
        self._changed = threading.Condition()
        self._places: OrderedDict[str, _Place[ModelT]] = OrderedDict()

    @property
    def keys(self) -> list[str]:
        """Those in memory, the longest unused first."""
        return list(self._places)

    @contextmanager
    def borrowed(self, key: str, size: int, load: Callable[[], ModelT], pulse: Callable[[], None]) -> Iterator[ModelT]:
        """Yield the model, loaded if it is not there; it stays for as long as it is borrowed.

        Args:
            size: bytes of the model's files.
            load: called once, however many ask for the same model at the same time.
            pulse: called about every second while others must finish first; may raise to give up.

        Raises:
            ServingOutOfMemory: the model alone is larger than all that may be in memory.
        """
        if size > self.most_bytes:
            raise ServingOutOfMemory(f"the model has {size} bytes, {self.most_bytes} are allowed for all in memory")
        place = self._take(key, size, pulse)
        try:
            yield place.model if place.model is not None else self._filled(key, place, load)
        finally:
            with self._changed:
                place.users -= 1
                place.used_at = time.monotonic()
                self._changed.notify_all()

    def leave_unused(self, seconds: float) -> int:
        """Let models go that nobody has used for so long. Returns how many."""
        with self._changed:
            before = time.monotonic() - seconds
            old = [key for key, place in self._places.items() if not place.users and place.used_at <= before]
            self._remove(old)
            return len(old)

    def _take(self, key: str, size: int, pulse: Callable[[], None]) -> _Place[ModelT]:
        """Return the model's place, with us among its users; empty where we are the one to load it."""
        with self._changed:
            while True:
                place = self._places.get(key)
                if place is not None and place.model is not None:
                    self._places.move_to_end(key)
                    place.users += 1
                    return place
                if place is None and self._make_room(size):
                    place = self._places[key] = _Place(size, users=1)
                    return place
                self._changed.wait(LOOK_SECONDS)
                pulse()

    def _make_room(self, size: int) -> bool:
        places = self._places
        unused = [key for key, place in places.items() if not place.users]
        leaving: list[str] = []
        while len(places) - len(leaving) >= self.most or self._bytes_without(leaving) + size > self.most_bytes:
            if not unused:
                return False
            leaving.append(unused.pop(0))
        self._remove(leaving)
        return True

    def _bytes_without(self, leaving: list[str]) -> int:
        return sum(place.bytes for key, place in self._places.items() if key not in leaving)

    def _remove(self, keys: list[str]) -> None:
        for key in keys:
            del self._places[key]
        if keys:
            self.after_leaving()

    def _filled(self, key: str, place: _Place[ModelT], load: Callable[[], ModelT]) -> ModelT:
        model: ModelT | None = None
        try:
            model = load()
        finally:
            with self._changed:
                if model is None:
                    del self._places[key]
                place.model = model
                self._changed.notify_all()
        return model
