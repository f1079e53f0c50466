"""The charts of a study of parallelism: any number of machines in one picture."""

from collections.abc import Sequence

import altair as alt

from transformer.evaluation.report.charts import Chart, Row, chart, colour, dash, data, filter_by_legend, point_shape
from transformer.evaluation.report.figures import Figures, at, machine_name, name, on_processors, rows
from transformer.evaluation.report.measurements import MODES, Setting, all_cores, gains, settings, shape
from transformer.evaluation.report.wording import count, plural

LENGTH = "tokens a text"
STEP, RATE, MEMORY = "milliseconds a step", "real tokens a second", "mebibytes at the peak"


def parallelism_charts(machines: Sequence[Figures]) -> dict[str, list[Chart]]:
    """The charts by section: "time", "rate", "speed-up", "memory", "counted" and "bound"; a section may be empty."""
    measured = [row for figures, machine in zip(machines, machine_names(machines), strict=True) for row in _measured(figures, machine)]
    models, places = (list(dict.fromkeys(str(row[key]) for row in measured)) for key in ("series", "place"))
    step = _by_setting(measured, "milliseconds", "step-time", STEP, models, places)
    return {
        "time": step,
        "rate": _by_setting(measured, "rate", "tokens-per-second", RATE, models, places, only_first=True),
        "speed-up": _speed_ups(machines, models),
        "memory": _by_setting(measured, "memory", "peak-memory", MEMORY, models, places, only_first=True),
        "counted": _counted(machines),
        "bound": [one for index in range(len(machines)) for one in _bounds(machines, index)],
    }


def machine_names(machines: Sequence[Figures]) -> list[str]:
    """What each machine is called, each by a name of its own."""
    names: list[str] = []
    for number, figures in enumerate(machines, start=1):
        called = machine_name(figures) or name(figures) or "machine"
        names.append(f"{called} ({number})" if called in names else called)
    return names


def mode_words(mode: str) -> str:
    """What a mode computes."""
    return "forward and backward" if mode == "training" else "forward alone"


def _place(figures: Figures, machine: str, cores: float | None) -> str:
    return f"{machine}, {plural(cores, 'core')}" if on_processors(figures) and cores is not None else machine


def _measured(figures: Figures, machine: str) -> list[Row]:
    found: list[Row] = []
    for row in rows(figures, "measured"):
        where, median = shape(row), at(row, "median")
        if where is None or median is None:
            continue
        low, high, peak = (at(row, key) for key in ("low", "high", "peak_bytes"))
        found.append(
            {
                "series": name(row, "model"),
                "place": _place(figures, machine, at(row, "cores")),
                "mode": name(row, "mode"),
                "batch": where[0],
                "length": where[1],
                "milliseconds": 1000 * median,
                "low": 1000 * (median if low is None else low),
                "high": 1000 * (median if high is None else high),
                "rate": at(row, "real_tokens_per_second"),
                "memory": None if peak is None else peak / 2**20,
            }
        )
    return found


def _by_setting(
    measured: list[Row], key: str, slug: str, title: str, models: list[str], places: list[str], *, only_first: bool = False
) -> list[Chart]:
    """A chart for each mode and setting, or for each mode and its first setting."""
    drawn = []
    for setting in _settings(measured)[: 1 if only_first else None]:
        for mode in MODES:
            shown = [row for row in measured if row["mode"] == mode and row[key] is not None and setting.holds(_shape(row))]
            if shown:
                caption = "Median of the steps; the pale bars are their range." if key == "milliseconds" else ""
                heading = f"{title.capitalize()}, {mode_words(mode)}, {setting}"
                if key == "milliseconds" and mode == "forward" and setting.batch == 1:
                    heading = f"Latency of one text: {heading[:1].lower()}{heading[1:]}"
                drawn.append(chart(f"{slug}-{mode}-{_slug(setting)}", heading, caption, _lines(shown, key, title, models, places)))
    return drawn


def _settings(measured: Sequence[Row]) -> list[Setting]:
    return settings({_shape(row) for row in measured})


def _shape(row: Row) -> tuple[int, int]:
    return int(row["batch"] or 0), int(row["length"] or 0)


def _slug(setting: Setting) -> str:
    return str(setting).replace(",", "").replace(" ", "-")


def _lines(shown: list[Row], key: str, title: str, models: Sequence[str], places: Sequence[str], scale: str = "log") -> list[alt.Chart]:
    """A line for each model and place against the length; colour and shape tell the model, dashes the place."""
    places = [place for place in places if any(row["place"] == place for row in shown)]
    lengths = sorted({_shape(row)[1] for row in shown})
    present = [model for model in models if any(row["series"] == model for row in shown)]
    up_scale = alt.Scale(type="log", nice=False, padding=8) if scale == "log" else alt.Scale(zero=False, padding=8)
    up = alt.Y(f"{key}:Q", title=title, scale=up_scale, axis=alt.Axis(format="~s" if places == ["counted"] else ",~r", tickCount=5))
    across = alt.X(
        "length:Q",
        title=LENGTH,
        scale=alt.Scale(type="log", base=2, nice=False, padding=8),
        axis=alt.Axis(values=lengths, format=",d", grid=False),
    )
    chosen = [filter_by_legend("series")] + ([filter_by_legend("place")] if len(places) > 1 else [])
    base = alt.Chart(data(shown)).encode(x=across, y=up, color=colour(models, shown=present), detail="place:N")
    for selection in chosen:
        base = base.transform_filter(selection)
    line = base.mark_line()
    if len(places) > 1:
        # The place with the most cores, last, gets the solid line.
        line = line.encode(strokeDash=dash(places[::-1], "place", shown=places[::-1]))
    points = base.mark_point(filled=True, size=55, opacity=1).encode(shape=point_shape(models, shown=present), tooltip=_hover(key, title))
    layers = [line.add_params(*chosen), points]
    if key == "milliseconds":
        layers.append(base.mark_rule(strokeWidth=4, opacity=0.35).encode(y=alt.Y("low:Q", title=title, scale=up_scale), y2="high:Q"))
    return layers


def _hover(key: str, title: str) -> list[alt.Tooltip]:
    tooltips = [
        alt.Tooltip("series:N", title="model"),
        alt.Tooltip("place:N", title="machine"),
        alt.Tooltip("batch:Q", title="texts a batch", format=",d"),
        alt.Tooltip("length:Q", title=LENGTH, format=",d"),
        alt.Tooltip(f"{key}:Q", title=title, format=",.4~r"),
    ]
    if key == "milliseconds":
        tooltips += [alt.Tooltip("low:Q", title="lowest", format=",.4~r"), alt.Tooltip("high:Q", title="highest", format=",.4~r")]
    return tooltips


def _speed_ups(machines: Sequence[Figures], models: list[str]) -> list[Chart]:
    """How many times as fast a step is with all cores, where one core was measured too."""
    found: list[Row] = []
    for figures, machine in zip(machines, machine_names(machines), strict=True):
        place = f"{machine}, {count(all_cores(figures))} cores"
        for model in models:
            for mode in MODES:
                for (batch, length), gain in gains(figures, model, mode).items():
                    found.append({"series": model, "place": place, "mode": mode, "batch": batch, "length": length, "gain": gain})
    places = list(dict.fromkeys(str(row["place"]) for row in found))
    found.sort(key=lambda row: (str(row["series"]), _shape(row)))
    drawn = []
    for setting in _settings(found):
        for mode in MODES:
            shown = [row for row in found if row["mode"] == mode and setting.holds(_shape(row))]
            if shown:
                heading = f"Speed-up from one core to all, {mode_words(mode)}, {setting}"
                caption = "Step time with one core over step time with all: 1 is no gain."
                lines = _lines(shown, "gain", "times as fast", models, places, scale="linear")
                drawn.append(chart(f"speed-up-{mode}-{_slug(setting)}", heading, caption, lines))
    return drawn


def _counted(machines: Sequence[Figures]) -> list[Chart]:
    """Work, span and parallelism of one text (or of the first setting) against length: properties of programs, so of one machine's."""
    figures = next((figures for figures in machines if rows(figures, "counted")), {})
    found: list[Row] = []
    for row in rows(figures, "counted"):
        if where := shape(row):
            seen: Row = {key: at(row, key) for key in ("work", "span", "parallelism")}
            seen |= {"series": name(row, "model"), "place": "counted", "mode": name(row, "mode"), "batch": where[0], "length": where[1]}
            found.append(seen)
    models = list(dict.fromkeys(str(row["series"]) for row in found))
    # Of one text, since nothing but its length then differs.
    setting = next((setting for setting in _settings(found) if setting.batch == 1), _settings(found)[0])
    told: list[tuple[str, str, str]] = [
        ("work", "operations", "All operations of a step."),
        (
            "span",
            "dependent operations",
            "The longest chain of operations that must wait for each other: no machine can do a step in fewer.",
        ),
        ("parallelism", "work over span", "The most processors that could be kept busy."),
    ]
    drawn = []
    for quantity, title, meaning in told:
        for mode in MODES:
            shown = [row for row in found if row["mode"] == mode and (row[quantity] or 0) and setting.holds(_shape(row))]
            if shown:
                heading = f"{quantity.capitalize()}, {mode_words(mode)}, {setting}"
                lines = _lines(shown, quantity, title, models, ["counted"])
                drawn.append(chart(f"{quantity}-{mode}", heading, meaning, lines))
    return drawn


def _bounds(machines: Sequence[Figures], index: int) -> list[Chart]:
    """Brent's bound against processors, for the shortest and the longest text at the smallest and the largest batch of each mode."""
    figures = machines[index]
    found = [(where, row) for row in rows(figures, "bounds") if (where := shape(row)) and at(row, "processors") and at(row, "seconds")]
    drawn = []
    for mode in MODES:
        shapes = {where for where, row in found if name(row, "mode") == mode}
        if not shapes:
            continue
        batches = {batch for batch, _ in shapes}
        chosen = []
        for batch in dict.fromkeys([min(batches), max(batches)]):
            lengths = [length for size, length in shapes if size == batch]
            chosen += [(batch, length) for length in dict.fromkeys([min(lengths), max(lengths)])]
        drawn += [_bound(machines, index, mode, where) for where in chosen]
    return drawn


def _bound(machines: Sequence[Figures], index: int, mode: str, where: tuple[int, int]) -> Chart:
    figures, machine = machines[index], machine_names(machines)[index]

    def selected(candidates: list[Figures], processors: str, seconds: str) -> list[Row]:
        return [
            {"series": name(row, "model"), "processors": at(row, processors), "milliseconds": 1000 * (at(row, seconds) or 0)}
            for row in candidates
            if name(row, "mode") == mode and shape(row) == where and at(row, processors) and at(row, seconds)
        ]

    lines = selected(rows(figures, "bounds"), "processors", "seconds")
    points = selected(rows(figures, "measured"), "cores", "median") if on_processors(figures) else []
    models = list(dict.fromkeys(str(row["series"]) for row in [*lines, *points]))
    chosen = filter_by_legend("series")
    across = alt.X(
        "processors:Q",
        title="processors",
        scale=alt.Scale(type="log", base=2, nice=False, padding=8),
        axis=alt.Axis(format=",~r", grid=False, tickCount=6),
    )
    up = alt.Y("milliseconds:Q", title=STEP, scale=alt.Scale(type="log", nice=False, padding=8), axis=alt.Axis(format=",~r", tickCount=5))

    def encoded(values: list[Row]) -> alt.Chart:
        hover = [
            alt.Tooltip("series:N", title="model"),
            alt.Tooltip("processors:Q", format=",d"),
            alt.Tooltip("milliseconds:Q", title=STEP, format=",.4~r"),
        ]
        return alt.Chart(data(values)).encode(x=across, y=up, color=colour(models, shown=models), tooltip=hover).transform_filter(chosen)

    # A layer without rows would have no extent to draw.
    layers = [encoded(lines).mark_line().encode(strokeDash=dash(models, shown=models)).add_params(chosen)]
    if points:
        layers.append(encoded(points).mark_point(filled=True, size=70, opacity=1).encode(shape=point_shape(models, shown=models)))
    batch, length = where
    heading = f"Brent's bound, {mode_words(mode)}, {plural(batch, 'text')} of {count(length)} tokens"
    caption = f"{machine}. Lines: work / (processors × rate) + span × latency. Points: measured."
    slug = f"bound-{mode}-{batch}x{length}" + (f"-machine-{index + 1}" if len(machines) > 1 else "")
    return chart(slug, heading, caption, layers)
