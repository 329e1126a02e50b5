"""Make the pictures of the walk: run the commands of the README, and store its pictures small."""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

from PIL import Image

DOCS = pathlib.Path(__file__).resolve().parent
WIDTH, COLORS = 800, 256

readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
commands = re.findall(r"^kmeans-xp (.*)$", readme.split("<!-- walk -->")[1], re.MULTILINE)
environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for command in commands:
        words = [sys.executable, "-m", "kmeans_xp", *shlex.split(command)]
        subprocess.run(words, cwd=folder, env=environment, check=True)
    for image in re.findall(r"\(docs/images/(\w+\.png)\)", readme):
        [made] = folder.rglob(image)
        picture = Image.open(made).convert("RGB")
        size = (WIDTH, round(picture.height * WIDTH / picture.width))
        small = picture.resize(size, Image.Resampling.LANCZOS).quantize(
            COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        small.save(DOCS / "images" / image, optimize=True)
