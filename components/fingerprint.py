"""The first step of every run: what exactly are the data?"""

from typing import NamedTuple

from tunepipe.packaging.component import component


@component
def fingerprint_dataset(
    dataset_uri: str,
) -> NamedTuple("Outputs", [("fingerprint", str), ("generation", str), ("files", int)]):
    """Turn a dataset's address into the identity of its content. Never cache this step.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.

    Returns:
        fingerprint: Hex SHA-256 of the bytes; of several files, over their own, sorted.
        generation: The generation in Cloud Storage, or the time of the last change of a local
            file; of several files, joined by commas.
        files: How many files the address means.
    """
    from tunepipe.gcp.generations import identity

    found = identity(dataset_uri)
    return (found.fingerprint, found.generation, found.files)
