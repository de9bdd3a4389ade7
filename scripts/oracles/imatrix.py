"""Importance matrices as gguf-py reads them: imatrix.py SOURCE_TREE FILE… > ANSWERS.

Each file's answer holds `datasets`, `chunk_count`, `chunk_size` and `entries`: by tensor name, the hex of the little-endian
floats of `sums` and `counts`."""

import json
import sys

sys.path.insert(0, sys.argv[1] + "/gguf-py")

from gguf import GGUFReader  # noqa: E402


def answer(path):
    reader = GGUFReader(path)
    fields = {key: reader.fields["imatrix." + key].contents() for key in ["datasets", "chunk_count", "chunk_size"]}
    entries = {}
    for tensor in reader.tensors:
        for ending, field in [(".in_sum2", "sums"), (".counts", "counts")]:
            if tensor.name.endswith(ending):
                entry = entries.setdefault(tensor.name.removesuffix(ending), {})
                entry[field] = tensor.data.astype("<f4").tobytes().hex()
    return fields | {"entries": entries}


json.dump([answer(path) for path in sys.argv[2:]], sys.stdout)
