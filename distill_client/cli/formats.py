"""Numbers as people read them."""

from datetime import UTC, datetime

ABSENT = "-"


def size(bytes_: int | None) -> str:
    """1536 -> 1.5 kB, in powers of 1000 as disks and networks count."""
    if bytes_ is None:
        return ABSENT
    amount = float(bytes_)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(number: int | None) -> str:
    """22713216 -> 22.7 M."""
    if number is None:
        return ABSENT
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return str(number)


def percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.1f} %"


def points(share: float | None) -> str:
    """A difference of two shares, in percentage points with its sign."""
    return ABSENT if share is None else f"{100 * share:+.1f}"


def number(value: float | None, digits: int = 3) -> str:
    return ABSENT if value is None else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """75 -> 1:15; 3700 -> 1:01:40."""
    if seconds is None:
        return ABSENT
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def age(moment: datetime | None) -> str:
    """How long ago: 5 s, 3 min, 2 h, 9 d."""
    if moment is None:
        return ABSENT
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= limit:
            return f"{seconds // limit:.0f} {unit}"
    return f"{seconds:.0f} s"


def sparkline(values: list[float], width: int = 32) -> str:
    """A curve in one line of text, from lowest to highest."""
    bars = "▁▂▃▄▅▆▇█"
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(bars[round((value - low) / span * (len(bars) - 1))] for value in values)
