"""Text to model: the stories, the corpora of the papers, or a folder of your own, as memory-mapped numbers."""

import os
from pathlib import Path

from relmem_lite.core import nearest
from relmem_lite.corpora.index import Corpus, load_index, open_indexes
from relmem_lite.corpora.published import TINYSHAKESPEARE, WIKITEXT_2, WIKITEXT_103, WIKITEXT_SMALL
from relmem_lite.corpora.sources import Folder, Stories
from relmem_lite.corpora.text import CorpusError
from relmem_lite.corpora.vocabulary import EOS, UNK, Vocabulary

__all__ = ["CORPORA", "EOS", "UNK", "Corpus", "CorpusError", "Vocabulary", "cache_folder", "cached", "load"]

CORPORA = {source.name: source for source in (Stories(), WIKITEXT_2, WIKITEXT_SMALL, WIKITEXT_103, TINYSHAKESPEARE)}
"""The corpora that have a name, which are stories, wikitext-2, wikitext-small, wikitext-103 and tinyshakespeare.

:meta hide-value:
"""

LEVELS = ("word", "character")


def load(name_or_folder: str | Path = "stories", level: str = "word", cache: str | Path | None = None) -> Corpus:
    """Open a corpus; the first time, download it if need be and build its index.

    At word level, lines are split at white space and end in `<eos>`; at character level, every character counts, line
    breaks too. The vocabulary is that of the training split, the most frequent token first; a word of the other splits
    that it lacks is `<unk>`.

    Downloads are checked, WikiText's archives and tinyshakespeare by their SHA-256. Where no mirror has WikiText-2's
    archive, single files serve, checked by SHA-256 (valid and test) and SHA-1 (train). Of tinyshakespeare, the first
    90 % train, as in nanoGPT; the next 5 % validate, the last 5 % test.

    Args:
        name_or_folder: a name of `CORPORA`, or a folder with train.txt, valid.txt and test.txt in UTF-8. What has a
            slash in it is a folder.
        level: "word" or "character".
        cache: folder of downloads and indexes; None for `cache_folder()`.

    Raises:
        ValueError: no such corpus or level.
        CorpusError: a ValueError too. A split that is missing, empty or not UTF-8, or a download that failed.
        OSError: the index cannot be written, as on a full disk; what was there before stays.
    """
    if level not in LEVELS:
        raise ValueError(nearest(level, list(LEVELS), "level"))
    cache = _cache(cache)
    if isinstance(name_or_folder, str) and name_or_folder in CORPORA:
        return load_index(CORPORA[name_or_folder], level, cache)
    folder = Path(name_or_folder).expanduser()
    if isinstance(name_or_folder, str) and os.path.basename(name_or_folder) == name_or_folder and not folder.exists():
        raise ValueError(
            f"{nearest(name_or_folder, list(CORPORA), 'corpus')} Or name a folder with train.txt, valid.txt and "
            "test.txt."
        )
    return load_index(Folder(folder), level, cache)


def cache_folder() -> Path:
    """Return where downloads and indexes are kept: the environment variable RELMEM_CACHE, or the system's cache."""
    import pooch

    return Path(os.environ.get("RELMEM_CACHE") or pooch.os_cache("relmem_lite")).expanduser().absolute()


def cached(cache: str | Path | None = None) -> list[Corpus]:
    """Open every corpus whose index is kept, by name."""
    return open_indexes(_cache(cache))


def _cache(cache: str | Path | None) -> Path:
    return cache_folder() if cache is None else Path(cache).expanduser().absolute()
