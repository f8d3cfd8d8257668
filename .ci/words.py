"""Checks the words of docstrings and commits against docs/glossary.md and CONTRIBUTING.md; exits with 1 on a finding.

The rules for a docstring:

- The first sentence opens with no question word and has no pronoun that points at another sentence.
- A function's first sentence begins with a verb: `Returns`, `Sends`. A property, a fixture, a class and a module may
  begin with a noun.
- The description of an argument or attribute is a noun phrase: not a single word, and no opening preposition,
  question word or conjunction.

The rule for a commit since `FIRST_COMMIT`: the subject has at most 72 characters.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOTS = "axon benchmarks conversion deploy inference models monitoring scoring service tests training .ci".split()
FIRST_COMMIT = "1aced8d"
LONGEST_SUBJECT = 72

QUESTION_WORDS = frozenset({"how", "that", "what", "when", "where", "whether", "which", "who", "whom", "whose", "why"})
PRONOUNS = frozenset({"it", "itself", "they", "them", "themselves", "he", "she"})
POSSESSIVES = frozenset({"its", "their", "theirs"})
LEAST_ANTECEDENT = 3  # words before a possessive, which the noun that it stands for may be among
FRAGMENT_OPENINGS = QUESTION_WORDS | set(
    """as at because beside by during for from if in into of on per since so than through to under until upon with
    without""".split()
)
# Plural nouns that end as verbs do. `Answers for each row` has no verb; `Waits for a worker` has one.
PREPOSITIONS = frozenset({"about", "at", "for", "from", "in", "of", "on", "per", "that", "which", "with"})
VERBS_BEFORE_A_PREPOSITION = frozenset(
    """acts agrees aims applies asks begins belongs blocks calls checks comes complains connects consists counts
    cuts decides depends differs draws ends exits fails falls finishes fits follows gives goes holds joins lays
    leads learns leaves lets lies listens lives looks loops makes moves opens passes points prepares puts reads
    records refers registers reports resumes returns runs says searches serves sets shows shuts sits sleeps
    speaks stands starts stays steps stops swaps takes tells trains turns waits walks watches works writes
    yields""".split()
)
NOUN_DECORATORS = frozenset({"property", "cached_property", "fixture", "composite", "setter"})
SECTION = re.compile(r"^(Args|Attributes):\n((?:[ ]+.*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (?! )([*`\w][\w*`, .]*): ?(.*)$", re.MULTILINE)

Docstring = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Prints each finding and returns the exit code."""
    root = Path(__file__).parents[1]
    paths = [Path(given) for given in sys.argv[1:]] or [root / name for name in ROOTS]
    findings = list(long_subjects(root)) if not sys.argv[1:] else []
    for path in paths:
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            findings += findings_in(source)
    print("\n".join(findings), end="\n" if findings else "")
    print(f"words: {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


def findings_in(path: Path) -> Iterator[str]:
    """Yields a line for each docstring of a file that breaks a rule."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Docstring) and (text := ast.get_docstring(node)):
            line = node.body[0].lineno
            for problem in problems_of(text, must_begin_with_a_verb=_is_function(node)):
                yield f"{path}:{line}: {problem}"


def problems_of(text: str, *, must_begin_with_a_verb: bool) -> Iterator[str]:
    """Yields what is wrong with a docstring.

    Args:
        text: docstring without its indentation.
        must_begin_with_a_verb: True for a function or a method.
    """
    first = re.split(r"(?<=[.!?])\s|\n\n", text, maxsplit=1)[0]
    prose = re.sub(r"`[^`]*`", "`", first)
    words = re.findall(r"[\w'`-]+", prose.lower())
    if words and words[0] in QUESTION_WORDS:
        yield f"the first sentence opens with {words[0]!r}: {first!r}"
    elif must_begin_with_a_verb and not _begins_with_a_verb(words):
        yield f"the first sentence begins with no verb: {first!r}"
    if found := PRONOUNS.intersection(words) | POSSESSIVES.intersection(words[:LEAST_ANTECEDENT]):
        yield f"the first sentence has the pronoun {min(found)!r}: {first!r}"
    for section in SECTION.finditer(f"{text}\n"):
        for name, description in ENTRY.findall(section[2]):
            opening = re.findall(r"\S+", description.lower())
            if not opening or (len(opening) == 1 and not opening[0].startswith("`")) or opening[0] in FRAGMENT_OPENINGS:
                yield f"{name!r} is described by a fragment: {description!r}"


def long_subjects(root: Path) -> Iterator[str]:
    """Yields a line for each commit whose subject is too long; none where the history is not there."""
    git = ["git", "-C", str(root), "log", "--no-merges", "--format=%h %s", f"{FIRST_COMMIT}..HEAD"]
    history = subprocess.run(git, capture_output=True, text=True, check=False)
    for entry in history.stdout.splitlines():
        commit, _, subject = entry.partition(" ")
        if len(subject) > LONGEST_SUBJECT:
            yield f"{commit}: the subject has {len(subject)} characters: {subject!r}"


def _is_function(node: ast.AST) -> bool:
    """Returns True for a function or a method that is no property and no fixture."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    names = (ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list)
    return NOUN_DECORATORS.isdisjoint(names)


def _begins_with_a_verb(words: list[str]) -> bool:
    """Returns True if the first of the lower-case words can be a verb in the third person."""
    if not words or not words[0].endswith("s") or words[0].endswith(("ss", "ous", "'s")):
        return False
    return len(words) == 1 or words[1] not in PREPOSITIONS or words[0] in VERBS_BEFORE_A_PREPOSITION


if __name__ == "__main__":
    sys.exit(main())
