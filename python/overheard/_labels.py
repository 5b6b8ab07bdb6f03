"""What log lines call a model run, and what they call a surface. Words only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from overheard.batch import ModelRun

_NAMES = {
    "openai": "OpenAI",
    "anthropic": "Claude",
    "chatgpt": "ChatGPT",
    "perplexity": "Perplexity",
    "gemini": "Gemini",
}


def labels(model_runs: Iterable[ModelRun], surfaces: Mapping[str, str]) -> dict[str, str]:
    """The display name of each model run's surface; with its model where the batch has two model runs of one surface.

    Args:
        model_runs: Those of one batch.
        surfaces: `run_id` to surface; a custom provider's is its name.

    Returns:
        `run_id` to label, such as `OpenAI`, or `OpenAI gpt-4.1`.
    """
    runs = list(model_runs)
    told = [surfaces[run.run_id] for run in runs]
    names = {surface: _NAMES.get(surface, surface) for surface in told}
    return {
        run.run_id: f"{names[surface]} {run.model}" if told.count(surface) > 1 else names[surface]
        for run, surface in zip(runs, told, strict=True)
    }


def surface_words(model_runs: Iterable[ModelRun]) -> str:
    """The surfaces of model runs, each once, in their order: `openai, claude`."""
    words = ("claude" if run.surface == "anthropic" else run.surface or run.model for run in model_runs)
    return ", ".join(dict.fromkeys(words))
