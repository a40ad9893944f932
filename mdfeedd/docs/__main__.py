"""``python -m mdfeedd.docs``: write the pages that are not as they should be, and say which."""

from __future__ import annotations

import sys

from mdfeedd.docs import REPOSITORY, RESULTS, pages


def main() -> int:
    """0 if all are as they should be now; 1, with a sentence, if they cannot be written."""
    if not RESULTS.is_dir():
        sys.stderr.write(
            f"mdfeedd.docs: {RESULTS}: is not there: pages are written in a checkout\n"
        )
        return 1
    try:
        made = list(pages())
    except (ValueError, OSError) as error:
        sys.stderr.write(f"mdfeedd.docs: {error}\n")
        return 1
    for path, text in made:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(REPOSITORY)}: written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
