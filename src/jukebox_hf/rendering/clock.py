"""Seconds as the clocks of subtitle formats: carried over, never 59.9996 written as 59 and 1000."""

from jukebox_hf.model.checks.text_input import without_controls


def clock(seconds: float, digits: int, *, hours: bool, comma: str = ".") -> str:
    """Write seconds as `hh:mm:ss.fff`, or without hours, in which case minutes grow past 59.

    Args:
        seconds: 0 or more.
        digits: of the fraction, rounded.
        comma: what stands before the fraction.
    """
    scale = 10**digits
    whole, fraction = divmod(round(max(seconds, 0.0) * scale), scale)
    minutes, second = divmod(whole, 60)
    ending = f"{second:02d}{comma}{fraction:0{digits}d}"
    if not hours:
        return f"{minutes:02d}:{ending}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ending}"


def one_line(text: str) -> str:
    """Text on one line: what could end a line in any reader becomes a blank; no control of terminals or direction.

    Of a line of nothing else dots are left: readers drop a cue without text.
    """
    return without_controls(" ".join(text.split())).strip() or ("..." if text.strip() else "")
