"""Bodies read strictly: the right media type, valid UTF-8, each key once, finite numbers, bounded depth, no NUL."""

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

from fastapi import Request, params
from fastapi.routing import APIRoute
from starlette.responses import Response

from service.errors import BrokenJson, InvalidRequest, UnsupportedMediaType
from service.problems import Fault, pointer_of

MAX_DEPTH = 32


class StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_strict_json"):
            self._strict_json = parse_json(await self.body())
        return self._strict_json


class StrictRoute(APIRoute):
    """A route whose body is what it says, or refused before anything looks at it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        wanted = self._media_type()

        async def strictly(request: Request) -> Response:
            if wanted is not None and _media_type_of(request) != wanted:
                raise UnsupportedMediaType(f"this route takes {wanted}, not '{_media_type_of(request)}'")
            strict = StrictRequest(request.scope, request.receive)
            if wanted == "application/json" and await strict.body():
                # Here, because FastAPI would turn whatever goes wrong while it reads into a 400 of its own.
                await strict.json()
            return await answer(strict)

        return strictly

    def _media_type(self) -> str | None:
        if self.body_field is None:
            return None
        is_form = isinstance(self.body_field.field_info, params.Form)
        return "multipart/form-data" if is_form else "application/json"


def parse_json(body: bytes) -> Any:
    """Return the document. Raises BrokenJson, and InvalidRequest for text that no database can hold."""
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_not_finite)
    except UnicodeDecodeError as error:
        raise BrokenJson(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise BrokenJson(f"nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise BrokenJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise BrokenJson(str(error)) from None
    _refuse_unstorable_text(document)
    return document


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice[:100]}' stands twice in one object")
    return found


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _refuse_unstorable_text(document: Any) -> None:
    for parts, text in _texts(document, []):
        if "\0" in text or not _is_unicode(text):
            what = "a NUL character" if "\0" in text else "half of a surrogate pair"
            hint = "Remove the character."
            raise InvalidRequest(
                [Fault(pointer=pointer_of(parts), detail=f"holds {what}", code="invalid_value", hint=hint)]
            )


def _texts(value: Any, parts: list[int | str]) -> Iterator[tuple[list[int | str], str]]:
    if len(parts) > MAX_DEPTH:
        raise BrokenJson(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        yield parts, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield parts, key
            yield from _texts(part, [*parts, key])
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _texts(part, [*parts, place])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
