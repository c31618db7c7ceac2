import contextlib
import hashlib
import http.server
import io
import json
import math
import os
import pickle
import re
import shutil
import socket
import threading
import zipfile
from collections import Counter
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relmem_lite import corpora
from relmem_lite.cli import main
from relmem_lite.corpora import CORPORA, Corpus, CorpusError, Vocabulary, index, load, stories, text
from relmem_lite.corpora.download import Download, fetch
from relmem_lite.corpora.published import Archive, Files, HeldOut, Published, Whole

LINES = {
    "train": "the cat sat .\n\nthe dog ran to the cat\n",
    "valid": "the dog sat .\n",
    "test": "the cat ran away .",
}


def write_folder(folder, **changed):
    """A corpus folder; a split that is None is left out, bytes are written as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in (LINES | changed).items():
        if content is not None:
            content = content if isinstance(content, bytes) else content.encode()
            (folder / f"{split}.txt").write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "animals")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def everything(path):
    """Every file below a path, with its content."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def half_written(cache):
    return [path for path in cache.rglob("*") if path.suffix in (".partial", ".damaged")]


@contextlib.contextmanager
def full_disk(after):
    """No file grows beyond so many bytes: writing fails as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The stories


class Reader:
    """Reads a story, sentence by sentence, and keeps track of everybody: written from the stories, not their teller."""

    def __init__(self, text):
        self.place, self.at, self.last, self.wish = {}, {}, None, None
        for sentence in re.findall(r"[^.?]+[.?]", text):
            self.read(sentence.split())
        assert self.answer, "the question comes last"

    def read(self, words):
        *words, end = words
        line = " ".join(words)
        self.answer = None
        if end == "?":
            self.question = line
        elif hasattr(self, "question"):
            self.answer = words[-1]
            assert self.answer == self.expected(self.question)
            self.read = None
        elif f"{line} ." in stories._ASIDES:
            pass
        elif match := re.fullmatch(r"(?:One .+ , )?(\w+) and (\w+) (?:met|were) \w+ the (\w+)", line):
            self.place |= dict.fromkeys(match.groups()[:2], match[3])
        elif match := re.fullmatch(r"One .+ , (\w+) was \w+ the (\w+) and (\w+) was \w+ the (\w+)", line):
            self.place |= {match[1]: match[2], match[3]: match[4]}
        elif match := re.fullmatch(r"(\w+) had an? (\w+)", line):
            self.at[match[2]] = self.last = match[1]
        elif match := re.fullmatch(r"An? (\w+) lay \w+ the (\w+)", line):
            self.at[match[1]] = match[2]
        elif match := re.fullmatch(r"(\w+) wanted the (\w+)", line):
            self.wish = self.who(match[1]), match[2]
        elif match := re.fullmatch(r"(?:(\w+) and )?(\w+) (?:went|ran|walked) to the (\w+)", line):
            walkers = [self.who(name) for name in match.groups()[:2] if name]
            assert len({self.place[name] for name in walkers}) == 1, "those who go together were together"
            self.place |= dict.fromkeys(walkers, match[3])
            self.last = walkers[0]
        elif match := re.fullmatch(r"There (?:she|he|they) met (\w+)", line):
            assert self.place[match[1]] == self.place[self.last]
        elif match := re.fullmatch(r"There (?:she|he|they) saw the (\w+)", line):
            assert self.at[match[1]] == self.place[self.last]
        elif match := re.fullmatch(r"(\w+) (?:took|picked up) the (\w+)", line):
            person = self.who(match[1])
            assert self.at[match[2]] == self.place[person]
            self.at[match[2]] = person
        elif match := re.fullmatch(r"(\w+) (?:gave the (\w+) to (\w+)|handed (\w+) the (\w+))", line):
            person, thing, other = self.who(match[1]), match[2] or match[5], match[3] or match[4]
            assert self.at[thing] == person
            assert self.place[person] == self.place[other]
            self.at[thing] = other
        elif match := re.fullmatch(r"(\w+) (?:left|hid) the (\w+) \w+ the (\w+)", line):
            person = self.who(match[1])
            assert self.at[match[2]] == person
            assert self.place[person] == match[3]
            self.at[match[2]] = match[3]
        elif match := re.fullmatch(r"In the end , (\w+) was (happy|sad)", line):
            assert self.wish[0] == match[1]
            assert (self.at[self.wish[1]] == match[1]) == (match[2] == "happy")
        elif match := re.fullmatch(r"It was a \w+ \w+", line):
            pass
        elif match := re.fullmatch(r"(\w+) was (\w+)", line):
            self.who(match[1])
        else:
            raise AssertionError(line)

    def who(self, name):
        """He and she are whoever the sentence before was about."""
        self.last = self.last if name in ("He", "She") else name
        assert self.last in self.place
        return self.last

    def expected(self, question):
        if match := re.fullmatch(r"Who had the (\w+)", question):
            return self.at[match[1]]
        asked = re.fullmatch(r"Where was (?:the )?(\w+)", question)[1]
        at = self.at.get(asked, asked)
        return self.place.get(at, at)


def test_every_story_can_be_followed_and_its_answer_follows_from_it():
    for seed in range(1000):
        story = stories.tell(seed)
        reader = Reader(story.text)
        assert reader.answer == story.answer
        assert story.text.split()[-2:] == [story.answer, "."]


def test_the_stories_are_the_same_on_every_machine_until_their_version_goes_up():
    told = "\n".join(story.text for told in stories.splits(20_000, 2_000).values() for story in told)
    assert (stories.VERSION, hashlib.sha256(told.encode()).hexdigest()[:16]) == (2, "7815343a5a586bd3")


def test_no_story_is_told_twice_and_no_split_has_a_word_that_training_lacks():
    told = {split: [story.text for story in some] for split, some in stories.splits().items()}
    texts = [text for some in told.values() for text in some]
    assert len(set(texts)) == len(texts)
    words = {split: {word for text in some for word in text.split()} for split, some in told.items()}
    assert words["valid"] | words["test"] <= words["train"]
    for split, size in {"train": 200_000, "valid": 20_000, "test": 20_000}.items():
        tokens = sum(len(text.split()) + 1 for text in told[split])
        assert size <= tokens < size + 200


def test_there_is_room_between_a_trigram_and_one_who_knows_the_rules_and_remembers():
    told = stories.splits()
    read = {split: [["<eos>"] * 2 + story.text.split() + ["<eos>"] for story in told[split]] for split in told}
    grams, contexts = Counter(), Counter()
    for words in read["train"]:
        for position in range(2, len(words)):
            for order in range(3):
                grams[tuple(words[position - order : position + 1])] += 1
                contexts[tuple(words[position - order : position])] += 1

    def probability(words, position):
        estimate = 1e-6
        for order in range(3):
            seen = grams[tuple(words[position - order : position + 1])]
            estimate = (seen + 2 * estimate) / (contexts[tuple(words[position - order : position])] + 2)
        return estimate

    nats = [-math.log(probability(words, position)) for words in read["valid"] for position in range(2, len(words))]
    trigram = math.exp(sum(nats) / len(nats))
    floor = math.exp(sum(story.nats for story in told["valid"]) / len(nats))
    assert 1.5 < floor < 2.5
    assert trigram > 2 * floor


def test_stories_are_the_default_corpus_and_read_well(cache):
    corpus = load(cache=cache)
    assert (corpus.name, corpus.level) == ("stories", "word")
    assert 150 < len(corpus.vocabulary) < 500
    first = stories.tell(0).text.split()
    assert [corpus.vocabulary.tokens[number] for number in corpus.train[: len(first) + 1]] == [*first, "<eos>"]
    written = corpus.vocabulary.decode(corpus.train[:300])
    assert not re.search(r" [.,?]", written)
    assert corpus.vocabulary.encode(written) == corpus.train[:300].tolist()


# Vocabulary


def test_what_is_decoded_is_encoded_again_as_it_was(cache):
    vocabulary = load(cache=cache).vocabulary
    for seed in range(200):
        told = stories.tell(seed).text
        numbers = vocabulary.encode(told)
        assert vocabulary.encode(vocabulary.decode(numbers)) == numbers == [*map(vocabulary.tokens.index, told.split())]


WIKI = [
    "the",
    ",",
    ".",
    '"',
    "(",
    ")",
    "'s",
    "@-@",
    "@,@",
    "<unk>",
    "<eos>",
    "Homer",
    "well",
    "known",
    "1",
    "000",
    "Marge",
    "said",
    "Bart",
    ";",
    "do",
    "n't",
    ":",
    "!",
    "?",
    "[",
    "]",
    "%",
    "$",
]


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        ("Homer 's well @-@ known , 1 @,@ 000 % ( the <unk> ) .", "Homer's well-known, 1,000% (the <unk>)."),
        (
            'Marge said : " do n\'t ! " Bart , " the $ 000 " . <eos> <eos> Homer',
            'Marge said: "don\'t!" Bart, "the $000".\n\nHomer',
        ),
        ('the " Homer <eos> " Bart "', 'the "Homer\n"Bart"'),
    ],
)
def test_signs_are_written_where_a_reader_expects_them(tokens, written):
    vocabulary = Vocabulary(WIKI, "word")
    numbers = [vocabulary.tokens.index(token) for token in tokens.split()]
    assert vocabulary.decode(numbers) == written
    assert vocabulary.decode(np.array(numbers, dtype=np.uint16)) == written


@pytest.mark.parametrize(
    ("typed", "tokens"),
    [
        ("Homer's well.", "Homer 's well ."),
        ('"Homer (Bart)," Marge said!', '" Homer ( Bart ) , " Marge said !'),
        ("the Homer\n\nthe", "the Homer <eos> <eos> the"),
        ("the Flanders.", "the <unk> ."),
        ("", ""),
    ],
)
def test_a_prompt_may_be_typed_as_usual(typed, tokens):
    vocabulary = Vocabulary(WIKI, "word")
    assert [vocabulary.tokens[number] for number in vocabulary.encode(typed)] == tokens.split()


def test_a_word_that_the_vocabulary_lacks_is_named_with_its_neighbours():
    vocabulary = Vocabulary(["kitchen", "kite", "the", "."], "word")
    with pytest.raises(ValueError, match=r"lacks the word 'kitchin'.* Near to it are 'kitchen'"):
        vocabulary.encode("the kitchin.")
    with pytest.raises(ValueError, match=r"lacks the word 'The'.* Near to it are 'the'"):
        vocabulary.encode("The kite")
    with pytest.raises(ValueError, match="lacks the character 'é'"):
        Vocabulary("abc", "character").encode("abécé")


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_number_that_is_no_token_is_refused(number):
    with pytest.raises(ValueError, match=f"no token {number}: the vocabulary's go from 0 to 2"):
        Vocabulary("abc", "character").decode([0, number])


def test_vocabularies_are_equal_where_their_tokens_and_levels_are():
    assert Vocabulary("ab", "word") == Vocabulary(["a", "b"], "word")
    assert Vocabulary("ab", "word") != Vocabulary("ba", "word")
    assert Vocabulary("ab", "word") != Vocabulary("ab", "character")
    assert Vocabulary("ab", "word") != ["a", "b"]


# Texts as numbers


def test_a_folder_is_read_as_wikitext_is(folder, cache):
    corpus = load(folder, cache=cache)
    tokens = corpus.vocabulary.tokens
    # By frequency, and where that is equal by first appearance; "away" is not in the training text.
    assert tokens == ["the", "<eos>", "cat", "sat", ".", "dog", "ran", "to", "<unk>"]
    words = {split: [tokens[number] for number in getattr(corpus, split)] for split in ("train", "valid", "test")}
    assert words == {
        "train": ["the", "cat", "sat", ".", "<eos>", "<eos>", "the", "dog", "ran", "to", "the", "cat", "<eos>"],
        "valid": ["the", "dog", "sat", ".", "<eos>"],
        "test": ["the", "cat", "ran", "<unk>", ".", "<eos>"],
    }


def test_an_unknown_word_is_the_corpus_s_own_unk_where_it_has_one_and_none_is_added_without_need(tmp_path, cache):
    own = load(write_folder(tmp_path / "own", train="<unk> the <unk>", valid="a", test="the"), cache=cache)
    assert own.vocabulary.tokens == ["<unk>", "the", "<eos>"]
    assert own.valid.tolist() == [0, 2]
    none = load(write_folder(tmp_path / "none", train="a b", valid="b", test="a"), cache=cache)
    assert "<unk>" not in none.vocabulary


def test_at_character_level_every_character_counts(tmp_path, cache):
    folder = write_folder(tmp_path / "text", train="aé\r\n\n a", valid="a a", test="é\n")
    corpus = load(folder, "character", cache=cache)
    assert corpus.vocabulary.decode(corpus.train) == "aé\r\n\n a"
    assert len(corpus.train) == 7
    assert load(folder, cache=cache).level == "word", "both levels are kept side by side"


def split_lines(content):
    """Words as the usual port has them: line by line, from a file in text mode."""
    return [word for line in io.TextIOWrapper(io.BytesIO(content), "utf-8") for word in [*line.split(), "<eos>"]]


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab é\U0001f600\n\r\t\x1c\u2028")).filter(str.strip), st.integers(1, 9))
def test_words_and_characters_do_not_depend_on_where_blocks_end(content, block):
    content = content.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)
        words = Counter(split_lines(content))
        if max(map(len, words)) <= block:
            assert text.count_tokens(lambda: io.BytesIO(content), "word", "it") == words
            blocks = text.token_blocks(lambda: io.BytesIO(content), "word", "it")
            assert [word for words in blocks for word in words] == split_lines(content)
        blocks = text.token_blocks(lambda: io.BytesIO(content), "character", "it")
        assert "".join(word for words in blocks for word in words) == content.decode()


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path, cache):
    folder = write_folder(tmp_path / "bom", train=b"\xef\xbb\xbfa b")
    assert load(folder, cache=cache).vocabulary.tokens[:2] == ["a", "b"]
    corpus = load(folder, "character", cache=cache)
    assert corpus.vocabulary.decode(corpus.train) == "a b"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=30), st.integers(1, 5), st.sampled_from(["word", "character"]))
@example(b"\xef", 3, "word")
def test_text_that_is_not_utf8_is_refused_by_its_first_bad_byte(content, block, level):
    try:
        content.decode()
        content += b" \xe9 "
        content.decode()
    except UnicodeDecodeError as error:
        offset, byte = error.start, error.object[error.start]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)
        with pytest.raises(
            CorpusError, match=rf"here is not UTF-8: byte {byte:#04x} at offset {offset}\b|a word of more"
        ):
            text.count_tokens(lambda: io.BytesIO(content), level, "here")


BAD = {
    "no split": (dict(valid=None), "animals has no valid.txt"),
    "no splits": (dict(train=None, test=None), "animals has no train.txt and no test.txt"),
    "an empty split": (dict(valid=""), r"valid\.txt is empty"),
    "a split without words": (dict(test=" \n\n"), r"test\.txt is empty: it holds no words"),
    "Latin-1": (dict(test="caf\xe9\n".encode("latin1")), r"test\.txt is not UTF-8: byte 0xe9 at offset 3"),
    "a cut-off character": (dict(train="é é".encode()[:-1]), r"train\.txt is not UTF-8: byte 0xc3 at offset 3"),
    "one endless word": (dict(valid="a" * (3 << 20)), r"valid\.txt has a word of more than 1,048,576 characters"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_faulty_folder_is_refused_in_words_and_leaves_nothing(fault, tmp_path, cache):
    changed, message = BAD[fault]
    folder = write_folder(tmp_path / "animals", **changed)
    with pytest.raises(CorpusError, match=message):
        load(folder, cache=cache)
    assert not [path for path in everything(cache) if not path.endswith((".lock", ".json"))] if cache.exists() else True
    assert not half_written(cache)
    write_folder(folder, **{split: LINES[split] for split in LINES})
    assert len(load(folder, cache=cache).valid) == 5


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("storys", "word", "no corpus 'storys'. Did you mean 'stories'?.* folder with train.txt"),
        ("./storys", "word", "not a folder"),
        ("stories", "words", "no level 'words'. Did you mean 'word'?"),
    ],
)
def test_a_name_that_is_none_gets_the_nearest_one(name, level, message, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load(name, level, cache=cache)


# The index


def test_an_index_is_opened_without_reading_the_text_or_taking_memory(folder, cache, monkeypatch):
    for split in LINES:
        os.utime(folder / f"{split}.txt", (1e9, 1e9))
    first = load(folder, cache=cache)
    for reader in ("count_tokens", "token_blocks", "sha256"):
        monkeypatch.setattr(index, reader, None)
    monkeypatch.setattr("relmem_lite.corpora.sources.sha256", None)
    again = load(folder, cache=cache)
    for split in LINES:
        numbers = getattr(again, split)
        assert isinstance(numbers, np.memmap)
        assert numbers.dtype == np.uint16
        assert not numbers.flags.writeable
        assert numbers.tolist() == getattr(first, split).tolist()
    assert again.vocabulary == first.vocabulary


def test_more_than_65536_words_take_four_bytes_each(tmp_path, cache):
    many = " ".join(map(str, range(65_535)))
    assert load(write_folder(tmp_path / "few", train=many, valid="0", test="0"), cache=cache).train.dtype == np.uint16
    corpus = load(write_folder(tmp_path / "many", train=many + " more", valid="new", test="0"), cache=cache)
    assert corpus.train.dtype == np.int32
    assert corpus.valid.tolist() == [65_537, corpus.vocabulary.tokens.index("<eos>")]


def test_a_changed_text_is_indexed_anew_and_a_touched_or_copied_one_is_not(folder, cache, tmp_path, monkeypatch):
    os.utime(folder / "valid.txt", (1e9, 1e9))
    first = load(folder, cache=cache)
    same_size = (folder / "valid.txt").read_text().replace("dog", "cat")
    (folder / "valid.txt").write_text(same_size)
    os.utime(folder / "valid.txt", (1.1e9, 1.1e9))
    changed = load(folder, cache=cache)
    assert changed.valid.tolist() != first.valid.tolist()
    assert changed.folder != first.folder
    monkeypatch.setattr(index, "_build", None)
    os.utime(folder / "train.txt", (1e9, 1e9))
    assert load(folder, cache=cache).folder == changed.folder
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "animals")
    assert load(copy, cache=cache).folder == changed.folder
    write_folder(folder)
    assert load(folder, cache=cache).folder == first.folder


def test_a_text_that_changes_twice_in_a_moment_is_indexed_anew(folder, cache):
    text = folder / "valid.txt"
    time = text.stat().st_mtime_ns
    first = load(folder, cache=cache)
    text.write_text(text.read_text().replace("dog", "cat"))
    os.utime(text, ns=(time, time))
    assert load(folder, cache=cache).valid.tolist() != first.valid.tolist()


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def pickled(path):
    numbers = np.empty(3, dtype=object)
    numbers[0] = Bomb()
    with open(path, "wb") as file:
        np.save(file, numbers, allow_pickle=True)


def cut_short_unnoticed(path):
    before = path.stat()
    os.truncate(path, before.st_size - 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE = {
    "torn numbers": ("train.npy", cut_short_unnoticed),
    "other numbers": ("valid.npy", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\7")),
    "a pickle": ("test.npy", pickled),
    "no numbers": ("train.npy", lambda path: path.unlink()),
    "other words": ("vocabulary.json", lambda path: path.write_text(path.read_text().replace("cat", "cow"))),
    "torn words": ("vocabulary.json", lambda path: os.truncate(path, 5)),
    "no description": ("index.json", lambda path: path.unlink()),
    "an empty description": ("index.json", lambda path: path.write_text("")),
    "a description of something else": ("index.json", lambda path: path.write_text("[1]")),
    "a description without files": ("index.json", lambda path: path.write_text('{"files": []}')),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_noticed_and_built_again(damage, folder, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = load(folder, cache=cache)
    whole = {split: getattr(corpus, split).tolist() for split in LINES}
    name, harm = DAMAGE[damage]
    harm(corpus.folder / name)
    again = load(folder, cache=cache)
    assert {split: getattr(again, split).tolist() for split in LINES} == whole
    assert again.vocabulary.tokens[2] == "cat"
    assert not half_written(cache)
    assert not (tmp_path / "exploded").exists()


def test_nothing_is_unpickled_even_if_an_index_says_that_it_is_whole(folder, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = load(folder, cache=cache)
    before = corpus.test.tolist()
    numbers, described = corpus.folder / "test.npy", corpus.folder / "index.json"
    numbers.write_bytes(pickle.dumps(Bomb()))
    description = json.loads(described.read_text())
    description["files"]["test.npy"] = index._fingerprint(numbers)
    described.write_text(json.dumps(description))
    assert load(folder, cache=cache).test.tolist() == before
    assert not (tmp_path / "exploded").exists()


def test_a_full_disk_leaves_nothing_half_written_and_the_old_index_as_it_was(folder, cache):
    old = load(folder, cache=cache)
    before = everything(old.folder)
    write_folder(folder, train="a long text " * 1000)
    with full_disk(4096), pytest.raises(OSError, match=r"animals could not be written to .*RELMEM_CACHE"):
        load(folder, cache=cache)
    assert everything(old.folder) == before
    assert [path.name for path in (cache / "indexes").iterdir() if path.is_dir()] == [old.folder.name]
    assert len(load(folder, cache=cache).train) == 3001


def test_a_full_disk_while_a_damaged_index_is_mended_keeps_what_was_there(folder, cache):
    write_folder(folder, train="a long text " * 1000)
    old = load(folder, cache=cache)
    (old.folder / "vocabulary.json").unlink()
    before = everything(old.folder)
    with full_disk(4096), pytest.raises(OSError, match="could not be written"):
        load(folder, cache=cache)
    assert everything(old.folder) == before
    assert not half_written(cache)


def test_a_cache_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"could not be written to .*file.*RELMEM_CACHE"):
        load(folder, cache=tmp_path / "file")


def test_what_a_killed_builder_left_is_cleared_away(folder, cache):
    corpus = load(folder, cache=cache)
    wreck = corpus.folder.with_name(f".{corpus.folder.name}.partial")
    corpus.folder.rename(wreck)
    (wreck / "index.json").unlink()
    assert load(folder, cache=cache).train.tolist() == corpus.train.tolist()
    assert not wreck.exists()


def test_of_several_who_want_an_index_one_builds_it(folder, cache, monkeypatch):
    build, built = index._build, []
    together = threading.Barrier(4)

    def counted(*args):
        built.append(args)
        build(*args)

    monkeypatch.setattr(index, "_build", counted)
    got = []

    def get():
        together.wait()
        got.append(load(folder, cache=cache).train.tolist())

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(got) == 4
    assert all(numbers == got[0] for numbers in got)


def test_a_text_that_changes_while_it_is_read_is_refused(folder, cache, monkeypatch):
    count = index.count_tokens

    def counted(*args):
        counts = count(*args)
        (folder / "train.txt").write_text("the cat")
        return counts

    monkeypatch.setattr(index, "count_tokens", counted)
    with pytest.raises(CorpusError, match="train changed while it was read"):
        load(folder, cache=cache)
    assert not half_written(cache)


def test_a_corpus_travels_to_another_process_as_its_path(cache):
    corpus = load(cache=cache)
    sent = pickle.dumps(corpus)
    assert len(sent) < 1000
    for copy in (pickle.loads(sent), deepcopy(corpus)):
        assert isinstance(copy, Corpus)
        assert isinstance(copy.train, np.memmap)
        assert copy.train.tolist() == corpus.train.tolist()
        assert copy.vocabulary == corpus.vocabulary


def test_the_cache_is_where_the_environment_says(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RELMEM_CACHE", str(tmp_path / "mine"))
    assert load(folder).folder.is_relative_to(tmp_path / "mine")
    monkeypatch.delenv("RELMEM_CACHE")
    assert corpora.cache_folder().name == "relmem_lite"


# Downloads


class Site:
    """A local web server: what it serves, how it misbehaves, and what it was asked."""

    def __init__(self):
        self.files, self.asked = {}, []
        self.cut_after, self.ranges, self.altered = [], True, False
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs=dict(poll_interval=0.01)).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        content = self.files.get(request.path[1:])
        if content is None:
            request.send_error(404)
            return
        if self.altered:
            content = content[:-1] + b"?"
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if begin >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        end = begin + self.cut_after.pop(0) if self.cut_after else len(content)
        request.wfile.write(content[begin:end])
        if end < len(content):
            request.close_connection = True


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


CONTENT = bytes(range(256)) * 2000
PIECE = 16_384


def published(content=CONTENT, *urls, file="file.bin"):
    return Download(file, f"sha256:{hashlib.sha256(content).hexdigest()}", urls)


def closed_url():
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"


def test_a_file_is_downloaded_once(site, tmp_path):
    site.files["file.bin"] = CONTENT
    for _ in range(2):
        assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 1
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["file.bin"]


def test_mirrors_are_tried_one_after_the_other(site, tmp_path):
    site.files["here"] = CONTENT
    download = published(CONTENT, closed_url(), site.url("gone"), site.url("here"))
    assert fetch(download, tmp_path).read_bytes() == CONTENT


def test_a_transfer_that_is_cut_off_goes_on_where_it_was(site, tmp_path):
    site.files["file.bin"] = CONTENT
    site.cut_after = [6 * PIECE, 9 * PIECE]
    assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={6 * PIECE}-", f"bytes={15 * PIECE}-"]


def test_a_download_that_failed_goes_on_at_the_next_call_even_from_another_mirror(site, tmp_path):
    site.files["a"] = site.files["b"] = CONTENT
    site.cut_after = [6 * PIECE, 0]
    with pytest.raises(CorpusError, match=r"/a: cut off after 98,304 of 512,000 bytes"):
        fetch(published(CONTENT, site.url("a")), tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 6 * PIECE
    assert not (tmp_path / "file.bin").exists()
    assert fetch(published(CONTENT, site.url("b")), tmp_path).read_bytes() == CONTENT
    assert site.asked[-1] == f"bytes={6 * PIECE}-"


def test_a_server_that_knows_no_ranges_starts_over(site, tmp_path):
    site.files["file.bin"] = CONTENT
    site.ranges = False
    site.cut_after = [6 * PIECE]
    assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={6 * PIECE}-"]
    site.cut_after = [PIECE, PIECE]
    with pytest.raises(CorpusError, match="cut off after 16,384 of 512,000 bytes"):
        fetch(published(CONTENT, site.url("file.bin"), file="other.bin"), tmp_path)


def test_a_complete_part_is_not_downloaded_again(site, tmp_path):
    site.files["file.bin"] = CONTENT
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=512000-"]


def test_a_part_of_something_else_is_thrown_away(site, tmp_path):
    site.files["file.bin"] = CONTENT
    (tmp_path / "file.bin.part").write_bytes(b"<html>")
    assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=6-", None]


def test_an_altered_download_is_deleted_and_both_checksums_are_named(site, tmp_path):
    site.files["file.bin"] = CONTENT
    site.altered = True
    download = published(CONTENT, site.url("file.bin"))
    got = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()
    with pytest.raises(CorpusError, match=f"expected {download.checksum} but got {got}"):
        fetch(download, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    site.altered = False
    assert fetch(download, tmp_path).read_bytes() == CONTENT


def test_a_file_that_was_altered_here_is_fetched_again(site, tmp_path):
    site.files["file.bin"] = CONTENT
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    assert fetch(published(CONTENT, site.url("file.bin")), tmp_path).read_bytes() == CONTENT


def test_without_a_network_the_error_says_what_to_do_and_doing_it_helps(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    download = published(CONTENT, closed_url())
    with pytest.raises(
        CorpusError, match=r"no connection\nWithout a network, put file.bin .* into .*downloads.* folder"
    ) as caught:
        fetch(download, tmp_path / "downloads")
    assert download.checksum in str(caught.value)
    (tmp_path / "downloads" / "file.bin").write_bytes(CONTENT)
    assert fetch(download, tmp_path / "downloads").read_bytes() == CONTENT


def test_a_full_disk_stops_a_download_which_goes_on_later(site, tmp_path):
    site.files["file.bin"] = CONTENT
    download = published(CONTENT, site.url("file.bin"))
    with full_disk(200_000), pytest.raises(OSError, match=r"file\.bin could not be written to .*goes on where it was"):
        fetch(download, tmp_path)
    assert not (tmp_path / "file.bin").exists()
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert re.fullmatch(r"bytes=1\d{5}-|bytes=200000-", site.asked[1])


# Published corpora


def zipped(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def wikitext(site, members):
    content = zipped(members)
    site.files["wiki.zip"] = content
    download = published(content, site.url("wiki.zip"), file="wiki.zip")
    names = {split: f"wiki/wiki.{split}.tokens" for split in LINES}
    return Published("wiki", "a test", download.checksum, (Archive(download, names),))


MEMBERS = {f"wiki/wiki.{split}.tokens": content for split, content in LINES.items()}


def test_a_corpus_in_an_archive_equals_the_same_texts_in_a_folder(site, folder, cache):
    source = wikitext(site, MEMBERS)
    corpus = index.load_index(source, "word", cache)
    assert corpus.name == "wiki"
    unpacked = load(folder, cache=cache)
    assert corpus.vocabulary == unpacked.vocabulary
    for split in LINES:
        assert getattr(corpus, split).tolist() == getattr(unpacked, split).tolist()
    site.files.clear()
    shutil.rmtree(cache / "downloads")
    assert index.load_index(source, "word", cache).folder == corpus.folder, "once there is an index, it is enough"


def test_nothing_in_an_archive_is_written_to_where_its_name_points(site, tmp_path, cache):
    before = set(tmp_path.rglob("*"))
    index.load_index(wikitext(site, MEMBERS | {"../../escaped": "x", "/tmp/escaped": "x"}), "word", cache)
    assert not [path for path in set(tmp_path.rglob("*")) - before if "escaped" in path.name]
    assert not os.path.exists("/tmp/escaped")


def test_an_archive_without_a_split_is_refused(site, cache):
    with pytest.raises(CorpusError, match=r"wiki\.zip is not a zip archive with a file wiki/wiki\.valid\.tokens"):
        index.load_index(wikitext(site, {"wiki/wiki.train.tokens": "a"}), "word", cache)
    assert not half_written(cache)


def test_a_small_corpus_is_cut_from_held_out_texts_where_an_article_begins(site, cache):
    halves = " \n = One = \n \n = = A part = = \n a b \n", " = Two = \n c d \n = Three = \n e \n f \n g \n"
    members = MEMBERS | {"wiki/wiki.test.tokens": "".join(halves)}
    small = HeldOut("small", "a test", wikitext(site, members))
    texts = {}
    for split in LINES:
        with small.open(split, cache)() as file:
            texts[split] = file.read().decode()
    assert texts == {"train": LINES["valid"], "valid": halves[0], "test": halves[1]}
    assert index.load_index(small, "word", cache).name == "small"


def test_held_out_texts_without_articles_are_not_cut(site, cache):
    with pytest.raises(CorpusError, match="no line ` = Title = ` to cut it at"):
        HeldOut("small", "a test", wikitext(site, MEMBERS)).open("valid", cache)


def test_where_the_archive_is_gone_its_single_files_serve(site, folder, cache):
    for split, content in LINES.items():
        site.files[split] = content.encode()
    files = {split: published(LINES[split].encode(), site.url(split), file=f"{split}.txt") for split in LINES}
    archive = Archive(published(b"", site.url("gone"), file="gone.zip"), {})
    source = Published("wiki", "a test", "sha256:0", (archive, Files(files)))
    assert index.load_index(source, "word", cache).train.tolist() == load(folder, cache=cache).train.tolist()


def test_of_single_files_only_the_split_that_is_asked_for_is_fetched(site, cache):
    site.files["valid"] = LINES["valid"].encode()
    files = Files({split: published(LINES[split].encode(), site.url(split), file=f"{split}.txt") for split in LINES})
    with HeldOut("small", "a test", Published("wiki", "a test", "sha256:0", (files,))).open("train", cache)() as file:
        assert file.read() == site.files["valid"]


def test_where_nothing_can_be_had_every_attempt_is_told(site, cache):
    files = {split: published(b"", site.url(split), file=f"{split}.txt") for split in LINES}
    source = Published(
        "wiki", "a test", "sha256:0", (Archive(published(b"", site.url("gone"), file="gone.zip"), {}), Files(files))
    )
    with pytest.raises(CorpusError, match=r"(?s)gone\.zip could not be.*/gone: 404 Not Found.*train\.txt could not be"):
        index.load_index(source, "word", cache)


def test_one_text_is_cut_into_ninety_five_and_five_percent(site, cache):
    content = "".join(map(chr, np.random.default_rng(0).integers(97, 122, 1115))).encode()
    site.files["input.txt"] = content
    download = published(content, site.url("input.txt"), file="input.txt")
    source = Published("shakespeare", "a test", download.checksum, (Whole(download),))
    corpus = index.load_index(source, "character", cache)
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [1003, 56, 56]
    numbers = np.concatenate([corpus.train, corpus.valid, corpus.test])
    assert corpus.vocabulary.decode(numbers).encode() == content


def test_every_published_corpus_has_a_whole_checksum_and_secure_mirrors():
    downloads = []
    for source in CORPORA.values():
        for edition in getattr(source, "editions", ()):
            downloads += edition.downloads.values() if isinstance(edition, Files) else [edition.download]
    assert len(downloads) == 6
    for download in downloads:
        kind, digest = download.checksum.split(":")
        assert len(bytes.fromhex(digest)) == {"sha256": 32, "sha1": 20}[kind]
        assert download.urls
        assert all(url.startswith("https://") for url in download.urls)
    assert len({download.file for download in downloads}) == len(downloads), "in one folder, names tell them apart"


# The command


def test_data_prepares_a_corpus_and_lists_what_is_there(folder, cache, capsys, monkeypatch):
    monkeypatch.setenv("RELMEM_CACHE", str(cache))
    assert main(["data"]) == 0
    before = capsys.readouterr().out
    for name in CORPORA:
        assert f"\n  {name} " in before
    assert str(cache) in before
    assert main(["data", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "animals, by word" in out
    assert re.search(r"train +13 tokens", out)
    assert re.search(r"vocabulary +9", out)
    assert main(["data", "stories", "--level", "character"]) == 0
    capsys.readouterr()
    assert main(["data"]) == 0
    assert re.search(r"animals, by word +24 tokens", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("typed", "status", "answer"),
    [
        ("storys", 2, "no corpus 'storys'. Did you mean 'stories'?"),
        ("stories --level wort", 2, "--level"),
        (".", 1, "has no train.txt"),
    ],
)
def test_a_slip_of_the_pen_is_answered(typed, status, answer, cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RELMEM_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    try:
        got = main(["data", *typed.split()])
    except SystemExit as exit:
        got = exit.code
    said = capsys.readouterr()
    assert got == status
    assert answer in said.out + said.err


def test_json_is_all_that_an_index_holds_beside_numbers(folder, cache):
    corpus = load(folder, cache=cache)
    names = sorted(path.name for path in corpus.folder.iterdir())
    assert names == ["index.json", "test.npy", "train.npy", "valid.npy", "vocabulary.json"]
    assert json.loads((corpus.folder / "vocabulary.json").read_text()) == corpus.vocabulary.tokens
