"""Small data in the very form that a config's own source has, so that every YAML can train for a few steps."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parent.parent
GOOD = "a warm funny moving clever film with real charm and wit".split()
BAD = "a dull tired flat stupid mess without any charm or sense".split()

WORDS = {
    "the": "das", "red": "rote", "old": "alte", "small": "kleine", "house": "Haus", "dog": "Hund", "tree": "Baum",
    "child": "Kind", "sees": "sieht", "likes": "mag", "and": "und", "today": "heute", "here": "hier", "not": "nicht",
}  # fmt: skip


def sentence_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct sentences and their translations word by word: something to learn in a few steps."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        words = rng.choice(list(WORDS), size=rng.integers(3, 9))
        pairs.append((f"{' '.join(words)} {number}.", f"{' '.join(WORDS[word] for word in words)} {number}."))
    return pairs


def write_aligned(prefix: Path, languages: tuple[str, str], pairs: list[tuple[str, str]], packed: bool = False) -> None:
    """PREFIX.en beside PREFIX.de; the second one packed, if asked for."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(languages):
        content = "".join(f"{pair[side]}\n" for pair in pairs).encode()
        if packed and side:
            prefix.with_name(f"{prefix.name}.{language}.gz").write_bytes(gzip.compress(content))
        else:
            prefix.with_name(f"{prefix.name}.{language}").write_bytes(content)


def translation_arguments(folder: Path, settings: dict[str, Any]) -> list[str]:
    """`--data.source` and the like for a config of translation: a catalog, aligned files, prefixes, or a hub set.

    Args:
        folder: where to write.
        settings: `data.init_args` of the config.
    """
    languages = (settings["source_language"], settings["target_language"])
    source = settings["source"].partition("#")[0]
    pairs = sentence_pairs(120)
    if source.endswith(".mo"):
        import polib

        catalog = polib.MOFile()
        catalog.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": languages[1]}
        catalog.extend(polib.MOEntry(msgid=a, msgstr=b) for a, b in pairs)
        catalog.save(str(folder / "stand_in.mo"))
        return [f"--data.source={folder / 'stand_in.mo'}"]
    if source.startswith("hub://"):
        from datasets import Dataset

        for part, rows in (("train", pairs[:90]), ("validation", pairs[90:105]), ("test", pairs[105:])):
            cells = [dict(zip(languages, pair, strict=True)) for pair in rows]
            Dataset.from_dict({"translation": cells}).to_parquet(folder / "hub" / f"{part}.parquet")
        return [f"--data.source=hub://{folder / 'hub'}"]
    if settings.get("val_source"):
        for part, rows in (("train", pairs[:90]), ("tst2012", pairs[90:105]), ("tst2013", pairs[105:])):
            write_aligned(folder / part, languages, rows, packed=True)
        keys = (("source", "train"), ("val_source", "tst2012"), ("test_source", "tst2013"))
        return [f"--data.{key}={folder / part}" for key, part in keys]
    for part, rows in (("train", pairs[:90]), ("valid", pairs[90:105]), ("test", pairs[105:])):
        write_aligned(folder / part, languages, rows, packed=True)
    return [f"--data.source={folder}"]


_LEXICON = {
    "DET": ("the", "a", "this"), "ADJ": ("red", "old", "small", "quick"), "NOUN": ("dog", "house", "tree", "child"),
    "VERB": ("sees", "likes", "finds"), "ADV": ("here", "today"), "PART": ("ly",), "PUNCT": (".", "!"),
}  # fmt: skip
_XPOS = {"DET": "DT", "ADJ": "JJ", "NOUN": "NN", "VERB": "VBZ", "ADV": "RB", "PART": "RP", "PUNCT": "."}


def conllu_sentence(number: int, rng: np.random.Generator) -> str:
    """A sentence of a small grammar; now and then with crossing arcs, a multi-word token and an empty node."""
    words: list[tuple[str, int | None, str]] = []  # tag, the head's place, relation; None waits for the verb's place

    def phrase(relation: str) -> int:
        adjectives = int(rng.integers(0, 3))
        noun = len(words) + adjectives + 2
        words.extend([("DET", noun, "det"), *[("ADJ", noun, "amod")] * adjectives, ("NOUN", None, relation)])
        return noun

    subject = phrase("nsubj")
    words.append(("VERB", 0, "root"))
    verb = len(words)
    phrase("obj")
    if rng.random() < 0.5:
        words.extend([("ADV", None, "advmod"), ("PART", len(words) + 1, "ig")])
    if rng.random() < 0.1:
        words.append(("ADJ", subject, "amod"))  # from behind the verb: its arc crosses the verb's own
    words.append(("PUNCT", None, "punct"))
    rows = [f"# sent_id = s{number}", "# note = a comment that stays"]
    for place, (tag, head, relation) in enumerate(words, start=1):
        form = str(rng.choice(_LEXICON[tag]))
        if place == 1 and number % 4 == 0:
            rows.append("1-2\tboth\t_\t_\t_\t_\t_\t_\t_\t_")
        columns = [place, form, "_", tag, _XPOS[tag], "_", verb if head is None else head, relation, "_", "_"]
        rows.append("\t".join(map(str, columns)))
        if place == 3 and number % 5 == 0:
            rows.append("3.1\tnothing\t_\t_\t_\t_\t_\t_\t_\t_")
    return "\n".join(rows) + "\n\n"


def write_treebank(path: Path, count: int, seed: int = 0) -> None:
    """`count` sentences in CoNLL-U."""
    rng = np.random.default_rng(seed)
    path.write_text("".join(conllu_sentence(number, rng) for number in range(count)), encoding="utf-8")


def write_texts(folder: Path) -> Path:
    """A folder with reviews.pos and reviews.neg: 120 sentences of 3 to 12 words, two classes that words tell apart."""
    rng = np.random.default_rng(0)
    for suffix, words in (("pos", GOOD), ("neg", BAD)):
        sentences = [" ".join(rng.choice(words, size=rng.integers(3, 13))) + f" {i}" for i in range(60)]
        (folder / f"reviews.{suffix}").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return folder


def write_images(folder: Path) -> Path:
    """A folder with MNIST's four idx files: 80 + 20 images, a bright row at the height that the class says."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 80), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = rng.integers(0, 60, size=(count, 28, 28), dtype=np.uint8)
        pixels[np.arange(count), labels * 2 + 4] = 255
        images = struct.pack(">4i", 2051, count, 28, 28) + pixels.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    return folder


def write_bytes(path: Path) -> Path:
    """A file of about two kilobytes of sentences."""
    path.write_text("".join(f"{source}\n{target}\n" for source, target in sentence_pairs(30)), encoding="utf-8")
    return path


def tiny_data_arguments(config: Path, folder: Path, sources: dict[str, Path]) -> list[str]:
    """Arguments that put tiny data into a config, whatever its task.

    Args:
        config: the YAML, relative to the project's root.
        folder: where to write what the config's own form of data takes.
        sources: paths of tiny_texts, tiny_images, tiny_bytes and tiny_trees.
    """
    data = yaml.safe_load((ROOT / config).read_text())["data"]
    if "Translation" in data["class_path"]:
        short = ["--model.decoding.max_ratio=0.5", "--model.val_decoding.max_ratio=0.5"]  # it has not learned to end
        return [*translation_arguments(folder, data["init_args"]), *short, "--trainer.accumulate_grad_batches=1"]
    if "Byte" in data["class_path"]:
        small = ["--data.streams=3", "--data.segment=32", "--data.eval_batch_size=4"]
        small += [] if data["init_args"]["memory"] else ["--data.eval_stride=16"]  # not above segment
        return [f"--data.source={sources['tiny_bytes']}", "--data.val_fraction=0.1", *small]
    if "Parsing" in data["class_path"]:
        whole = ["--data.split_modulo=null", "--data.batch_tokens=300"]
        return [f"--data.source={sources['tiny_trees']}", "--data.val_fraction=0.1", *whole]
    source = sources["tiny_images" if "Image" in data["class_path"] else "tiny_texts"]
    return [f"--data.source={source}", "--data.val_fraction=0.1"]
