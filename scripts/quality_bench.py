"""What scripts/quantizer-table and scripts/expert-coverage share: commands that end well or end the script, files that are made
once, and llama-perplexity as the judge."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CONTEXT = 256


def parser(about):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--type", action="append")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--binary", type=pathlib.Path, default=TARGET / "release/llama-pajamas")
    return parser


def run(*command):
    """The command when it has ended well, with what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done


class Files:
    """Files of one folder, made of one model by ours and by llama.cpp's tools."""

    def __init__(self, options):
        self.options, self.work = options, options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.tools = pathlib.Path(os.environ["LLAMA_PAJAMAS_ORACLE"]) / "build/bin"

    def made(self, name, make):
        """The file of that name, which `make` writes if it is not there."""
        path = self.work / name
        if not path.exists():
            scratch = path.with_name(path.name + ".part")
            make(scratch)
            scratch.rename(path)
        return path

    def own(self, *command):
        return run(self.options.binary, *command, "--threads", self.options.threads).stdout

    def tool(self, tool, *options):
        done = run(self.tools / tool, "-c", CONTEXT, "-t", self.options.threads, *options)
        return done.stdout + done.stderr

    def bundle(self, name, source, *options):
        """The one file of a bundle that is made once."""
        folder = self.work / name
        if not (folder / "manifest.json").exists():
            self.own("quantize", source, *options, "-o", folder)
        (file,) = folder.glob("gguf/*/model.gguf")
        return file

    def base(self, name, source, text):
        """The original's logits."""
        return self.made(name, lambda to: self.tool(
            "llama-perplexity", "-m", source, "-f", text, "--kl-divergence-base", to))

    def judged(self, name, file, text, base):
        """Mean KL divergence, half of its 95 % interval, and 99.9 %. On a busy machine the tool sometimes ends before its
        last words."""
        def ask(to):
            for _ in range(5):
                told = self.tool("llama-perplexity", "-m", file, "-f", text, "--kl-divergence",
                                 "--kl-divergence-base", base)
                if "Mean    KLD" in told and "99.9%   KLD" in told:
                    return to.write_text(told)
            sys.exit(f"{file}: llama-perplexity never said its divergence\n{told[-2000:]}")
        told = self.made(name, ask).read_text(errors="replace")
        mean, error = re.search(r"Mean\s+KLD:\s+([\d.-]+) ±\s+([\d.]+)", told).groups()
        tail = re.search(r"99\.9%\s+KLD:\s+([\d.-]+)", told)[1]
        return float(mean), 1.96 * float(error), float(tail)
