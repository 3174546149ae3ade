"""What is done with vectors: plain functions on arrays, each loaded when it is first used."""

from importlib import import_module
from typing import Any

# A public name -> its module. FAISS, scikit-learn and the like load with the module, not with the package.
WHERE: dict[str, str] = {
    "Classifier": "classifying",
    "Guard": "guard",
    "Topics": "clustering",
    "assign": "clustering",
    "cluster": "clustering",
    "dedup": "duplicates",
    "evaluate_recommendations": "recommending",
    "overlap": "duplicates",
    "recommend": "recommending",
    "summarize": "summaries",
}


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"huiyi.tasks.{WHERE[name]}"), name)
