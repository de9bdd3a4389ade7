"""Makes a wheel of the package and a built library: ``make_wheel.py LIBRARY VERSION GLIBC FOLDER``. Prints its path.

Needs the standard library alone. The same input makes the same bytes. GLIBC: the version that the library needs, on Linux ("2.34").
"""

from __future__ import annotations

import base64
import hashlib
import platform
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def tag(library: Path, glibc: str) -> str:
    """The platform that the wheel is for."""
    with library.open("rb") as file:
        head = file.read(20)
    if head[:4] == b"\x7fELF":
        machine = {62: "x86_64", 183: "aarch64"}[int.from_bytes(head[18:20], "little")]
        return f"py3-none-manylinux_{glibc.replace('.', '_')}_{machine}"
    if sys.platform == "darwin":
        return f"py3-none-macosx_11_0_{platform.machine()}"
    return "py3-none-win_amd64"


def main(library: Path, version: str, glibc: str, folder: Path) -> Path:
    info = f"llama_pajamas-{version}.dist-info"
    files = {
        f"llama_pajamas/{path.name}": path.read_bytes()
        for path in sorted((HERE / "llama_pajamas").iterdir())
        if path.suffix == ".py" or path.name == "py.typed"
    }
    files[f"llama_pajamas/{library.name}"] = library.read_bytes()
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: llama-pajamas\nVersion: {version}\n"
        "Summary: A runtime for language models on devices\nLicense-Expression: MIT OR Apache-2.0\n"
        "License-File: LICENSE-MIT\nLicense-File: LICENSE-APACHE\nRequires-Python: >=3.9\n"
        "Description-Content-Type: text/markdown\n\n" + (ROOT / "docs/python.md").read_text(encoding="utf-8")
    ).encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: llama-pajamas\nRoot-Is-Purelib: false\nTag: {tag(library, glibc)}\n"
    ).encode()
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        files[f"{info}/licenses/{name}"] = (ROOT / name).read_bytes()
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"llama_pajamas-{version}-{tag(library, glibc)}.whl"
    unfinished = path.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(library.suffix) else 0o644) << 16
            wheel.writestr(entry, data)
    unfinished.replace(path)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: make_wheel.py LIBRARY VERSION GLIBC FOLDER")
    print(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])))
