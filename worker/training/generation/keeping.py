"""A corpus between this machine and the next: checkpoints of the phase `writing`."""

import shutil
from pathlib import Path

from worker.training.checkpoints import Checkpoint, newest, seal
from worker.training.generation.corpus import Corpus, plan_of
from worker.training.observer import Observer

PHASE = "writing"
KEPT = 2


def corpus_folder(folder: Path) -> Path:
    """Return where the corpus of a writing's folder grows."""
    return folder / "corpus"


def continued(folder: Path, plan: str, observer: Observer) -> Corpus:
    """Open an earlier attempt's corpus: the one that grew in `folder/corpus`, or a checkpoint's that holds more."""
    corpus = Corpus(corpus_folder(folder), plan)
    checkpoint, broken = newest(folder)
    for name in broken:
        observer.event(f"{PHASE}: {name} is damaged and was left out.", "warning")
    if checkpoint is not None and plan_of(checkpoint.folder) == plan and checkpoint.step > len(corpus):
        shutil.rmtree(corpus.folder)
        shutil.copytree(checkpoint.folder, corpus.folder)
        corpus = Corpus(corpus.folder, plan)
    return corpus


def keep(corpus: Corpus, folder: Path, observer: Observer, *, is_final: bool) -> None:
    """Keep the corpus as a checkpoint whose step is its number of samples, unless one holds as much already."""
    checkpoint, _ = newest(folder)
    if checkpoint is not None and checkpoint.is_final == is_final and _holds(checkpoint, corpus):
        return
    target = folder / f"checkpoint-{len(corpus)}"
    shutil.rmtree(target, ignore_errors=True)
    corpus.copy_to(target)
    metrics = {"writing/samples": float(len(corpus))}
    seal(target, len(corpus), is_final=is_final, metrics=metrics)
    observer.checkpoint(PHASE, len(corpus), target, metrics)
    by_age = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for outdated in by_age[:-KEPT]:
        shutil.rmtree(outdated)


def _holds(checkpoint: Checkpoint, corpus: Corpus) -> bool:
    """Tell whether a checkpoint has as many samples, and what lies beside them as it is."""
    pairs = [(file, checkpoint.folder / file.name) for file in corpus.beside()]
    return checkpoint.step == len(corpus) and all(
        kept.exists() and kept.read_bytes() == file.read_bytes() for file, kept in pairs
    )
