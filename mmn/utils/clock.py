"""Times in words."""


def clock(seconds: float) -> str:
    """Seconds as a player shows them, with tenths.

    >>> clock(62.25), clock(3725.5), clock(59.96)
    ('1:02.2', '1:02:05.5', '1:00.0')
    """
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
