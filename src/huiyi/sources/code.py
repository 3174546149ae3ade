"""Source code split at functions, classes and methods: Python by its own parser, other languages by what their definitions look like.

The text stays as it is. Comments, decorators and attributes right above a definition belong to it. A language that is not understood
gives larger sections, never an error.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from huiyi.sources.outline import Outline, sections

_NAMES_END_IN = """
.py .pyi .pyw .js .mjs .cjs .jsx .ts .mts .cts .tsx .vue .svelte .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx .hpp .hh .hxx .cu .cs
.fs .vb .go .rs .swift .m .mm .php .rb .pl .pm .lua .r .jl .dart .ex .exs .erl .hs .ml .clj .lisp .el .sh .bash .zsh .fish .ps1 .sql .zig
.nim .sol .proto .css .scss .less .ets
"""
SUFFIXES = tuple(_NAMES_END_IN.split())
Mark = tuple[int, tuple[str, ...]]  # number of a line, from 0, and the names above it

_BREAK = re.compile("\r\n|\n|\r")
# Longer lines are data or minified code; the patterns below are only tried on others, so none can take long.
_LONGEST_DEFINITION = 400
_MODIFIERS = (
    r"(?:(?:export|default|declare|public|private|protected|internal|static|final|abstract|virtual|override|sealed|open|async|unsafe|extern"
    r"(?:\s+\"\w+\")?|inline|constexpr|const|pub(?:\([\w: ]+\))?|partial|readonly|synchronized|native|suspend|data|local|get|set|tailrec"
    r"|external|mutating|@\w+(?:\([^)]*\))?)\s+)*"
)
_NAME = r"(?P<name>[~$\w\u0080-\uffff][\w$\u0080-\uffff.:?!-]*)"
_CONTAINER = re.compile(
    rf"{_MODIFIERS}(?:class|interface|trait|struct|enum|union|module|namespace|object|extension|protocol|impl(?:\s*<[^>]*>)?|record"
    rf"|package(?=.*\{{)|contract|library|service|message|defmodule|mod(?=.*\{{)|@interface|@implementation)\s+"
    rf"(?:[\w:<>, ]+\s+for\s+)?{_NAME}",
    re.IGNORECASE,
)
_FUNCTION = re.compile(
    rf"{_MODIFIERS}(?:(?:function|fn|func|fun|def|defp|defmacro|sub|proc|procedure|subroutine|macro|method|rpc)\b\*?\s*(?:\([^)]*\)\s*)?"
    rf"|type\s+(?=\w+\s*(?:=|struct|interface))"
    rf"|create\s+(?:or\s+replace\s+)?(?:table|view|trigger|procedure|function|index)\s+(?:if\s+not\s+exists\s+)?){_NAME}",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    rf"(?:export\s+)?(?:(?:const|let|var|val)\s+)?{_NAME}\s*(?::[^=]+)?(?:=|<-)\s*(?:async\s+)?(?:function\b|\([^)]*\)\s*(?::[^=]+)?=>|\w+\s*=>)"
)
# A type, a name, arguments, and a body: C and its family; a shell's function has no type.
_SIGNATURE = re.compile(
    r"(?!(?:return|else|new|throw|delete|case|goto|typedef|using|await|yield|do)\b)"
    r"(?:[\w:<>,\[\]@~]+[\s*&]+)*(?P<name>[~\w:$-]+)\s*\([^;{}=]*\)?[^;={}]*(?:\{.*)?$"
)
_NOT_NAME = re.compile(
    "if|for|while|switch|catch|elif|foreach|using|lock|synchronized|match|loop|unless|until|when|with|sizeof|assert|except|select"
)
_LEAD = re.compile(r"(?://|/\*|\*|#(?!include|define|undef|if|else|elif|end|pragma|import)|--|;|%|@|\[\w|<!--)")
_LABEL = re.compile(r"(?:public|private|protected|signals|default|case\b.*)\s*(?:slots\s*)?:$")


def outline(text: str, suffix: str) -> Outline:
    starts = [0, *(found.end() for found in _BREAK.finditer(text))]
    lines = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    marks = _python(text, lines) if suffix in (".py", ".pyi", ".pyw") else None
    if marks is None:
        marks = list(_generic(lines))
    return Outline(text, sections(text, ((starts[line], names) for line, names in marks if line < len(starts))))


def _python(text: str, lines: Sequence[str]) -> list[Mark] | None:
    """None where Python's parser does not take it (another version of the language, or no Python)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    marks: list[Mark] = []

    def visit(body: Sequence[ast.stmt], names: tuple[str, ...], begin: int) -> None:
        last = begin
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
                first = max(last, _lead(lines, first, last))
                last = node.end_lineno or node.lineno
                marks.append((first, (*names, node.name)))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, (*names, node.name), first)
                marks.append((last, names))
            else:
                last = node.end_lineno or node.lineno

    visit(tree.body, (), 0)
    return _ordered(marks)


def _ordered(marks: Sequence[Mark]) -> list[Mark]:
    """Of several marks at one line the last one holds; a line that holds two definitions belongs to the first."""
    kept: dict[int, tuple[str, ...]] = {}
    latest = -1
    for line, names in marks:
        latest = max(latest, line)
        kept[latest] = names
    return list(kept.items())


def _generic(lines: Sequence[str]) -> Iterator[Mark]:
    """Definitions at the outermost level or directly inside a container, by indentation; what is nested in a function stays in it."""
    open_blocks: list[tuple[int, str, bool]] = []  # indentation, name, container
    last = 0
    for number, line in enumerate(lines):
        body = line.strip()
        if not body or body.startswith("#") or _LEAD.match(body) or _LABEL.match(body):
            continue
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        closing = re.match(r"[})\]$]|end\b", body) is not None
        while open_blocks and (indent < open_blocks[-1][0] or (indent == open_blocks[-1][0] and not closing and body != "{")):
            open_blocks.pop()
        if closing or body == "{" or (open_blocks and not open_blocks[-1][2]):
            continue
        found = _definition(body, lines, number)
        if found is None:
            if indent == 0 and not open_blocks:
                yield number, ()
            continue
        name, container = found
        first = _lead(lines, number, last)
        open_blocks.append((indent, name, container))
        yield first, tuple(name for _, name, _ in open_blocks if name)
        last = number + 1


def _definition(body: str, lines: Sequence[str], number: int) -> tuple[str, bool] | None:
    """The name that a line defines, and whether more definitions lie in it."""
    if len(body) > _LONGEST_DEFINITION:
        return None
    if found := _CONTAINER.match(body):
        return None if body.endswith(";") else (found["name"].rstrip(":.-"), True)
    if found := _FUNCTION.match(body) or _ASSIGNED.match(body):
        return found["name"].rstrip(":.-"), False
    if (found := _SIGNATURE.match(body)) and not _NOT_NAME.fullmatch(found["name"]) and _opens(lines, number):
        return found["name"], False
    return None


def _opens(lines: Sequence[str], number: int) -> bool:
    """Whether a body opens before the statement ends: `{` in this line or within the next few."""
    for line in lines[number : number + 8]:
        if "{" in line:
            return ";" not in line[: line.index("{")]
        if ";" in line or not line.strip():
            return False
    return False


def _lead(lines: Sequence[str], first: int, last: int) -> int:
    """The line where the comments and attributes right above line `first` begin; none before line `last`."""
    while first > last and (body := lines[first - 1].strip()) and (_LEAD.match(body) or body.endswith("*/")):
        first -= 1
    return first
