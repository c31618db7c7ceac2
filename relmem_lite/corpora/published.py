"""Corpora that others publish: WikiText and tinyshakespeare."""

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from relmem_lite.corpora.download import Download, fetch
from relmem_lite.corpora.index import SPLITS
from relmem_lite.corpora.text import CorpusError, Opener


class Edition(Protocol):
    """A form in which a corpus is published."""

    def open(self, split: str, folder: Path) -> Opener:
        """Return what opens a split's text, fetched into `folder`."""


@dataclass(frozen=True)
class Archive:
    """A zip archive; nothing of it is ever unpacked to disk.

    Attributes:
        download: the archive.
        members: the name in it of each split's text.
    """

    download: Download
    members: dict[str, str]

    def open(self, split: str, folder: Path) -> Opener:
        archive = fetch(self.download, folder)
        return lambda: _member(archive, self.members[split])


@contextmanager
def _member(archive: Path, name: str) -> Iterator[BinaryIO]:
    try:
        with zipfile.ZipFile(archive) as files, files.open(name) as file:
            yield file
    except (KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{archive} is not a zip archive with a file {name}: {error}. Delete it.") from error


@dataclass(frozen=True)
class Files:
    """A file for each split."""

    downloads: dict[str, Download]

    def open(self, split: str, folder: Path) -> Opener:
        path = fetch(self.downloads[split], folder)
        return lambda: open(path, "rb")


@dataclass(frozen=True)
class Whole:
    """One file, of which the first 90 % train; the next 5 % validate, the last 5 % test."""

    download: Download

    def open(self, split: str, folder: Path) -> Opener:
        text = fetch(self.download, folder).read_bytes()
        ends = [0, int(0.9 * len(text)), int(0.95 * len(text)), len(text)]
        number = SPLITS.index(split)
        return lambda: io.BytesIO(text[ends[number] : ends[number + 1]])


@dataclass(frozen=True)
class Published:
    """A corpus that is downloaded by name.

    Attributes:
        name: what it is loaded by.
        about: what it is, in a sentence.
        checksum: of the edition that makes it what it is; the others hold the same texts.
        editions: the forms in which it can be had; the first that can be had serves.
    """

    name: str
    about: str
    checksum: str
    editions: tuple[Edition, ...]

    def identity(self, cache: Path) -> str:
        return f"{self.name} {self.checksum}"

    def open(self, split: str, cache: Path) -> Opener:
        failures = []
        for edition in self.editions:
            try:
                return edition.open(split, cache / "downloads")
            except CorpusError as error:
                failures.append(str(error))
        raise CorpusError("\n".join(failures))

    def describe(self, split: str) -> str:
        return f"The {split} split of {self.name}"


@dataclass(frozen=True)
class HeldOut:
    """The held-out texts of a published corpus as a small one: valid.txt trains, test.txt is cut in two.

    The first half validates, the second tests. The cut is where the article begins that begins nearest to the middle
    line.

    Attributes:
        name: what it is loaded by.
        about: what it is, in a sentence.
        whole: the corpus; a line ` = Title = ` begins an article of its.
    """

    name: str
    about: str
    whole: Published

    def identity(self, cache: Path) -> str:
        return f"{self.name} of {self.whole.identity(cache)}"

    def open(self, split: str, cache: Path) -> Opener:
        if split == "train":
            return self.whole.open("valid", cache)
        with self.whole.open("test", cache)() as file:
            lines = file.readlines()
        beginnings = [number for number, line in enumerate(lines) if re.fullmatch(rb" = [^=].*[^=] = \n", line)]
        if not beginnings:
            raise CorpusError(f"{self.whole.describe('test')} has no line ` = Title = ` to cut it at.")
        cut = min(beginnings, key=lambda number: abs(number - len(lines) / 2))
        half = b"".join(lines[:cut] if split == "valid" else lines[cut:])
        return lambda: io.BytesIO(half)

    def describe(self, split: str) -> str:
        return f"The {split} split of {self.name}"


def _wikitext(name: str, about: str, sha256: str, *more: Edition) -> Published:
    archive = f"{name}-v1.zip"
    original = f"https://s3.amazonaws.com/research.metamind.io/wikitext/{archive}"
    download = Download(
        archive,
        f"sha256:{sha256}",
        (
            f"https://wikitext.smerity.com/{archive}",
            f"https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/{name}/{archive}",
            f"https://web.archive.org/web/2023id_/{original}",
            original,
        ),
    )
    members = {split: f"{name}/wiki.{split}.tokens" for split in SPLITS}
    return Published(name, about, download.checksum, (Archive(download, members), *more))


# The archives' SHA-256 are those that Apple's mlx-data, Julia's CorpusLoaders and others check. The single files' are
# of the archive's own texts: measured for valid and test; for train the SHA-1 that GluonNLP checks, whose SHA-1 of the
# other two are right.
_EXAMPLES = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2"
_WIKITEXT_2_FILES = Files(
    {
        split: Download(f"wikitext-2-{split}.txt", checksum, (f"{_EXAMPLES}/{split}.txt",))
        for split, checksum in {
            "train": "sha1:863f29c46ef9d167fff4940ec821195882fe29d1",
            "valid": "sha256:f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "test": "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        }.items()
    }
)

WIKITEXT_2 = _wikitext(
    "wikitext-2",
    "2 million words of Wikipedia's good articles (Merity et al. 2017).",
    "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
    _WIKITEXT_2_FILES,
)
WIKITEXT_SMALL = HeldOut(
    "wikitext-small",
    "WikiText-2's held-out articles as a corpus of their own, a tenth of it: minutes on a laptop.",
    WIKITEXT_2,
)
WIKITEXT_103 = _wikitext(
    "wikitext-103",
    "103 million words of the same; 190 MB to download, 420 MB as an index.",
    "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
)

_SHAKESPEARE = Download(
    "tinyshakespeare.txt",
    "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    (
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "https://cdn.jsdelivr.net/gh/karpathy/char-rnn@master/data/tinyshakespeare/input.txt",
    ),
)
TINYSHAKESPEARE = Published(
    "tinyshakespeare",
    "A million characters of Shakespeare (Karpathy 2015); use it with level character.",
    _SHAKESPEARE.checksum,
    (Whole(_SHAKESPEARE),),
)
