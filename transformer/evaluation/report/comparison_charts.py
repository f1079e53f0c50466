"""The charts of a comparison."""

import altair as alt

from transformer.evaluation.report.charts import Chart, Row, chart, colour, dash, data, filter_by_legend, point_shape
from transformer.evaluation.report.comparison_sentences import ranked
from transformer.evaluation.report.figures import Figures, at, name, number, rows
from transformer.evaluation.report.wording import between, percent, plural

ROW_HEIGHT = 34


def comparison_charts(figures: Figures) -> list[Chart]:
    """Quality, learning curves, speed, memory and time to the target; those whose figures are missing are left out."""
    drawn = [
        _quality(figures),
        _curve(figures, "epoch", "epochs", "Validation accuracy against epochs", "per text read: what each learns from the same data"),
        _curve(figures, "real_tokens", "real tokens", "Validation accuracy against real tokens", "per token read, padding not counted"),
        _curve(
            figures, "seconds", "seconds of training", "Validation accuracy against time", "per second, without compilation and evaluation"
        ),
        _bars(
            figures,
            "real_tokens_per_second",
            1.0,
            "Real tokens a second in training",
            "Padding is not counted; median and range over seeds.",
        ),
        _bars(figures, "peak_bytes", 2.0**20, "Peak memory", "Mebibytes at the peak; median and range over seeds."),
        _time_to_target(figures),
    ]
    return [one for one in drawn if one is not None]


def _names(figures: Figures) -> list[str]:
    return list(dict.fromkeys(name(rival) for rival in rows(figures, "rivals")))


def _quality(figures: Figures) -> Chart | None:
    rivals = ranked(figures)
    if not rivals:
        return None
    names, order = _names(figures), list(dict.fromkeys(name(rival) for rival in rivals))
    means: list[Row] = []
    runs: list[Row] = []
    for rival in rivals:
        low, high = at(rival, "accuracy", "low"), at(rival, "accuracy", "high")
        mean = at(rival, "accuracy", "mean")
        # Without an interval the line has no length; null would leave it without an extent.
        ends: Row = {"low": mean if low is None else low, "high": mean if high is None else high}
        means.append(ends | {"series": name(rival), "mean": mean, "interval": between(low, high, percent), "label": percent(mean)})
        runs += [
            {"series": name(rival), "accuracy": accuracy, "seed": at(run, "seed")}
            for run in rows(rival, "runs")
            if (accuracy := at(run, "test", "accuracy")) is not None
        ]
    y = alt.Y("series:N", title=None, scale=alt.Scale(domain=order), axis=alt.Axis(grid=False, ticks=False, domain=False, labelPadding=8))
    axis, scale = alt.Axis(format="~%", tickCount=6), alt.Scale(zero=False, padding=12)
    hover = [
        alt.Tooltip("series:N", title="rival"),
        alt.Tooltip("mean:Q", title="test accuracy", format=".2%"),
        alt.Tooltip("interval:N", title="95 % interval"),
    ]
    base = alt.Chart(data(means)).encode(y=y, color=colour(names), tooltip=hover)
    intervals = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title="test accuracy", axis=axis, scale=scale), x2="high:Q")
    points = base.mark_point(filled=True, size=130, opacity=1).encode(
        x=alt.X("mean:Q", title="test accuracy", axis=axis, scale=scale), shape=point_shape(names)
    )
    labels = base.mark_text(dy=-13, fontSize=11).encode(x="mean:Q", text="label:N")
    seeds = (
        alt.Chart(data(runs))
        .mark_tick(thickness=1.5, size=10, opacity=0.7)
        .encode(
            x="accuracy:Q",
            y=y,
            color=colour(names),
            tooltip=[
                alt.Tooltip("series:N", title="rival"),
                alt.Tooltip("seed:Q", title="seed"),
                alt.Tooltip("accuracy:Q", title="test accuracy", format=".2%"),
            ],
        )
    )
    layers = [intervals, *([seeds] if runs else []), points, labels]
    caption = "Mean over seeds (point), 95 % interval over seeds (line), and each run (tick). The axis does not start at zero."
    return chart("quality", "Test accuracy", caption, layers, ROW_HEIGHT * len(order) + 20)


def _curve(figures: Figures, x: str, x_title: str, title: str, what: str) -> Chart | None:
    names, points = _names(figures), [row for rival in rows(figures, "rivals") for row in _mean_curve(rival, x)]
    if not points:
        return None
    shown = list(dict.fromkeys(str(row["series"]) for row in points))
    chosen = filter_by_legend("series")
    across = alt.X(
        "x:Q",
        title=x_title,
        axis=alt.Axis(grid=False, tickCount=8, format="~s" if x == "real_tokens" else ",~r"),
        scale=alt.Scale(nice=False),
    )
    up = alt.Y("mean:Q", title="validation accuracy", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False))
    base = alt.Chart(data(points)).encode(x=across, color=colour(names, shown=shown))
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title="validation accuracy"), y2="high:Q")
    line = base.mark_line().encode(y=up, strokeDash=dash(names, shown=shown))
    marks = base.mark_point(filled=True, size=45, opacity=1).encode(
        y=up,
        shape=point_shape(names, shown=shown),
        tooltip=[
            alt.Tooltip("series:N", title="rival"),
            alt.Tooltip("x:Q", title=x_title, format=",.4~r"),
            alt.Tooltip("mean:Q", title="validation accuracy", format=".2%"),
            alt.Tooltip("low:Q", title="lowest seed", format=".2%"),
            alt.Tooltip("high:Q", title="highest seed", format=".2%"),
        ],
    )
    # The target is no series, so the legend's filter stands in the other layers and not above them all.
    layers = [band.transform_filter(chosen).add_params(chosen), line.transform_filter(chosen), marks.transform_filter(chosen)]
    if (target := number(figures.get("target_accuracy"))) is not None:
        goal = alt.Chart(data([{"target": target}])).mark_rule(strokeDash=[2, 3])
        layers.insert(0, goal.encode(y="target:Q", tooltip=[alt.Tooltip("target:Q", title="target", format=".2%")]))
    caption = f"Progress {what}. Mean over seeds, and the band from the lowest seed to the highest."
    return chart(f"accuracy-against-{x.replace('_', '-')}", title, caption, layers, 300)


def _mean_curve(rival: Figures, x: str) -> list[Row]:
    """The mean over the runs at each evaluation, as far as every run has come."""
    curves = []
    for run in rows(rival, "runs"):
        known = [(at(point, x), at(point, "accuracy")) for point in rows(run, "curve")]
        curve = [(where, accuracy) for where, accuracy in known if where is not None and accuracy is not None]
        if curve:
            curves.append(curve)
    points: list[Row] = []
    for same in zip(*curves, strict=False):
        accuracies = [accuracy for _, accuracy in same]
        mean = sum(accuracies) / len(accuracies)
        where = sum(position for position, _ in same) / len(same)
        points.append({"series": name(rival), "x": where, "mean": mean, "low": min(accuracies), "high": max(accuracies)})
    return points


def _bars(figures: Figures, key: str, unit: float, title: str, caption: str) -> Chart | None:
    known: list[Row] = []
    for rival in rows(figures, "rivals"):
        if (median := at(rival, key, "median")) is not None:
            low, high = at(rival, key, "low"), at(rival, key, "high")
            known.append(
                {
                    "series": name(rival),
                    "median": median / unit,
                    "low": (median if low is None else low) / unit,
                    "high": (median if high is None else high) / unit,
                }
            )
    if not known:
        return None
    order = [row["series"] for row in sorted(known, key=lambda row: -float(row["median"] or 0))]
    y = alt.Y(
        "series:N", title=None, scale=alt.Scale(domain=order, paddingInner=0.4), axis=alt.Axis(ticks=False, domain=False, labelPadding=8)
    )
    base = alt.Chart(data(known)).encode(
        y=y,
        tooltip=[
            alt.Tooltip("series:N", title="rival"),
            alt.Tooltip("median:Q", title=title, format=",.4~r"),
            alt.Tooltip("low:Q", title="lowest", format=",.4~r"),
            alt.Tooltip("high:Q", title="highest", format=",.4~r"),
        ],
    )
    across = alt.X("median:Q", title=title.lower(), axis=alt.Axis(format=",~r", tickCount=5))
    bars = base.mark_bar(opacity=0.75).encode(x=across, color=colour(_names(figures)))
    ranges = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title.lower()), x2="high:Q")
    return chart(key.replace("_", "-"), title, caption, [bars, ranges], ROW_HEIGHT * len(order))


def _time_to_target(figures: Figures) -> Chart | None:
    target = number(figures.get("target_accuracy"))
    if target is None:
        return None
    without = [name(rival) for rival in rows(figures, "rivals") if at(rival, "seconds_to_target", "median") is None]
    caption = f"Seconds of training until the validation accuracy is {percent(target)}; median and range over seeds."
    if without:
        caption += f" Without a time ({plural(len(without), 'rival')}): {', '.join(without)}."
    return _bars(figures, "seconds_to_target", 1.0, f"Seconds to {percent(target)}", caption)
