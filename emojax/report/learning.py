"""Learning curves: which of a stage's metrics are shown together, and under which name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from emojax.report.charts import curves
from emojax.report.page import Html, details, element, joined, section
from emojax.report.runs import Run, Stage

_PART = r"reward_(?!std$|of_greedy$|\w+_stated$|\w+_right$)(.+)"


@dataclass(frozen=True)
class Chart:
    title: str
    metrics: str  # a pattern of whole names; what stands in its group is the curve's name
    note: str = ""
    log: bool = False
    aside: bool = False  # shown when it is asked for


CHARTS = (
    Chart("Reward", r"((?:eval_(?:greedy|sampled)_)?reward|reward_of_greedy)", "of samples; eval_: of held-out clips"),
    Chart("Reward by part", _PART),
    Chart("Reward by part, held out", f"eval_greedy_{_PART}", "greedy captions"),
    Chart("Reward by part, held out, sampled", f"eval_sampled_{_PART}", aside=True),
    Chart("Facts right", r"reward_(\w+)_right", "share of the samples that state them"),
    Chart("Facts stated", r"reward_(\w+)_stated", "share of the samples"),
    Chart("Facts right, held out", r"eval_greedy_reward_(\w+)_right", "greedy captions"),
    Chart("Facts stated, held out", r"eval_greedy_reward_(\w+)_stated", "greedy captions"),
    Chart("Facts right, held out, sampled", r"eval_sampled_reward_(\w+)_right", aside=True),
    Chart("Facts stated, held out, sampled", r"eval_sampled_reward_(\w+)_stated", aside=True),
    Chart("Loss", r"((?:\w+_)?loss)"),
    Chart("KL from the reference policy", r"(kl)", "nats a token"),
    Chart("Entropy", r"(entropy)", "nats a token"),
    Chart("Length", r"((?:eval_\w+_)?length)", "tokens"),
    Chart("Diversity", r"((?:eval_\w+_)?distinct2)", "share of distinct pairs of tokens"),
    Chart("Groups without a difference, captions cut off", r"(flat_\w+|(?:eval_\w+_)?truncated)", "share"),
    Chart("Spread of the reward", r"(reward_std)", aside=True),
    Chart("Norm of the gradient", r"(grad_norm)", log=True, aside=True),
    Chart("Learning rate", r"(learning_rate)", aside=True),
    Chart("Seconds a step", r"(step_seconds)", log=True, aside=True),
)


def learning(run: Run) -> Html:
    """The curves of a run's stages."""
    return joined(*(section(f"Learning curves: {stage.title}", _grid(_charts(stage))) for stage in run.stages))


def first(stage: Stage) -> Html:
    """The curve that a stage learns by: its reward, else its loss."""
    found = {chart.title: figure for chart, figure in _charts(stage)}
    return found.get("Reward") or found.get("Loss") or Html()


def _charts(stage: Stage) -> Iterable[tuple[Chart, Html]]:
    for chart, named in _assigned(stage.curves):
        lines = [replace(stage.curves[name], name=label) for name, label in named.items()]
        yield chart, curves(chart.title, lines, chart.note, log=chart.log)


def _assigned(metrics: Iterable[str]) -> Iterator[tuple[Chart, dict[str, str]]]:
    """Each chart with its metrics and what they are called there. Every metric is in one chart: the first that it fits,
    or one of its own, aside."""
    left = list(metrics)
    for chart in CHARTS:
        named = {name: found[1] for name in left if (found := re.fullmatch(chart.metrics, name))}
        left = [name for name in left if name not in named]
        yield chart, named
    yield from ((Chart(name, name, aside=True), {name: name}) for name in left)


def _grid(found: Iterable[tuple[Chart, Html]]) -> Html:
    figures = [(chart.aside, figure) for chart, figure in found if figure]
    first, aside = ([figure for aside, figure in figures if aside is wanted] for wanted in (False, True))
    more = details("More curves", element("div", *aside, at={"class": "charts"})) if aside else ""
    return joined(element("div", *first, at={"class": "charts"}) if first else "", more)


def beside(runs: Mapping[str, Run], stage: str) -> Html:
    """The curves of a stage of several runs, overlaid: a chart a metric."""
    found = {name: one.curves for name, run in runs.items() for one in run.stages if one.name == stage}
    figures = []
    for chart, named in _assigned(dict.fromkeys(metric for own in found.values() for metric in own)):
        aside = chart.aside or chart.title not in _OVERLAID
        for metric in named:
            lines = [replace(own[metric], name=name) for name, own in found.items() if metric in own]
            figures.append((replace(chart, aside=aside), curves(metric, lines, log=chart.log)))
    return _grid(figures)


_OVERLAID = ("Reward", "Reward by part", "Loss", "KL from the reference policy", "Entropy", "Length", "Diversity")
