"""Whether anything of the completions is left within training.max_length: a job that could learn nothing is refused."""

from collections.abc import Iterator

from core.blobs import Blobs
from core.errors import BlobDamaged
from core.spec import Form
from core.tables import Dataset, Model
from service.blob_file import BlobFile
from service.jobs.checked import Checked
from service.jobs.faults import fault
from service.models.tokenizers import Unreadable, Writer
from service.problems import Fault

MOST_LOOKED_AT = 1000
BATCH = 50
LONGEST_TOKEN = 64
"""Characters. What stands behind so many for each token is not looked at."""


def cut_faults(checked: Checked, form: Form | None, model: Model | None, blobs: Blobs) -> Iterator[Fault]:
    """Look at prompts until one leaves room for its completion.

    Only where prompts have as many characters as tokens are read, on average: where they are shorter, a worker finds
    what few scripts need more than a token for each. The first prompt is nearly always enough.

    Raises:
        BlobMissing, BlobDamaged: what was stored is not there as it was.
    """
    spec, dataset = checked.spec, checked.dataset
    prompt = checked.columns.get(spec.dataset.columns.prompt, {})
    longest = spec.training.max_length
    may_be_cut = (prompt.get("mean_characters") or 0) >= longest and prompt["type"] == "string"
    if form != "prompt" or dataset is None or model is None or spec.method.type != "logits" or not may_be_cut:
        return
    try:
        writer = Writer(blobs, model)
        texts = (text[: LONGEST_TOKEN * longest] for text in _prompts(blobs, dataset, prompt["name"]))
        has_room = any(len(writer.tokens(text)) < longest for text in texts)
    except Unreadable:
        return
    if not has_room and not spec.training.train_on_prompt:
        some = "all prompts" if dataset.examples <= MOST_LOOKED_AT else f"the first {MOST_LOOKED_AT:,} prompts"
        detail = f"{some} alone have {longest} tokens or more, so that nothing of their completions is learned"
        if dataset.examples <= MOST_LOOKED_AT:
            yield fault(["training", "max_length"], "all_cut", detail)
        else:
            checked.warnings.append(f"{detail[0].upper()}{detail[1:]}. Raise training.max_length.")


def _prompts(blobs: Blobs, dataset: Dataset, column: str) -> Iterator[str]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    looked_at = 0
    try:
        with ParquetFile(BlobFile(blobs, dataset.examples_key, dataset.examples_bytes)) as parquet:
            for batch in parquet.iter_batches(BATCH, columns=[column]):
                for text in batch.column(0).to_pylist():
                    if looked_at == MOST_LOOKED_AT:
                        return
                    looked_at += 1
                    yield text or ""
    except ArrowException:
        raise BlobDamaged(dataset.examples_key) from None
