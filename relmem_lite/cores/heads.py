"""How a width is shared out among heads."""

from relmem_lite.core import positive_int


def head_size(width: int, num_heads: int, *, even: bool = False) -> int:
    """Return how many of `width` features each of `num_heads` heads gets.

    Raises:
        TypeError, ValueError: a number that is not a whole number of at least 1, heads that do not divide the width,
            or heads of odd size where `even` is asked for.
    """
    unit = positive_int("num_heads", num_heads) * (2 if even else 1)
    if width % unit:
        share = f"{num_heads} heads of even size" if even else f"{num_heads} heads"
        below, above = width // unit * unit, width_of_heads(width, num_heads, even=even)
        near = f"{below} or {above}" if below else f"{above}"
        raise ValueError(
            f"A width of {width} does not divide into {share}: take a width of {near}, or other num_heads."
        )
    return width // num_heads


def width_of_heads(width: int, num_heads: int, *, even: bool = False) -> int:
    """Return the next width, from `width` up, that `num_heads` heads divide.

    Raises:
        TypeError, ValueError: a width or a number of heads that is not a whole number of at least 1.
    """
    unit = positive_int("num_heads", num_heads) * (2 if even else 1)
    return -(-positive_int("width", width) // unit) * unit
