"""Invented figures in the formats of report.json and benchmark.json: no program measured any of them."""

import itertools
import math

import numpy as np

MACHINE = {
    "processor": "Invented 9000",
    "cores": 2,
    "memory_bytes": 16 * 2**30,
    "system": "Linux, invented",
    "device": "cpu",
    "device_name": "Invented 9000",
    "versions": {"jax": "0.0.0", "flax": "0.0.0"},
}
HEAD = {"command": "python scripts/invented.py", "date": "2000-01-01", "commit": "0" * 40, "machine": MACHINE}
LENGTHS = (32, 512, 4096)

RIVALS = (  # name, family, test accuracy, real tokens a second
    ("transformer", "attention", 0.842, 9_000),
    ("lstm", "recurrence", 0.815, 11_000),
    ("bilstm_bahdanau", "recurrence with attention", 0.836, 8_000),
    ("minGRU", "parallel recurrence", 0.822, 10_000),
    ("gated convolutions", "convolution", 0.829, 14_000),
)


def comparison(accuracies=None, rates=None, p=None):
    """A comparison of five networks and TF-IDF; accuracies and rates by name replace the invented ones, `p` every p-value."""
    generator = np.random.default_rng(0)
    rivals = [
        rival(generator, name, family, (accuracies or {}).get(name, accuracy), (rates or {}).get(name, rate))
        for name, family, accuracy, rate in RIVALS
    ]
    floor = (accuracies or {}).get("TF-IDF", 0.81)
    run = {"seed": 0, "test": scores(floor), "validation": scores(floor + 0.05), "seconds": {"train": 9.0, "compile": 0.0, "total": 9.0}}
    rivals.append(
        {
            "name": "TF-IDF",
            "family": "bag of words",
            "description": "TF-IDF with logistic regression",
            "parameters": None,
            "learning_rate": None,
            "search": [],
            "runs": [run | {"real_tokens": 0, "real_tokens_per_second": None, "peak_bytes": None, "curve": [], "seconds_to_target": None}],
            "accuracy": {"mean": floor, "low": None, "high": None},
            "macro_f1": {"mean": floor - 0.01, "low": None, "high": None},
            **dict.fromkeys(("real_tokens_per_second", "train_seconds", "compile_seconds", "peak_bytes", "seconds_to_target")),
        }
    )
    pairs = []
    for a, b in itertools.combinations(rivals, 2):
        gap = a["accuracy"]["mean"] - b["accuracy"]["mean"]
        chance = p if p is not None else 0.001 if abs(gap) > 0.01 else 0.3
        pairs.append({"a": a["name"], "b": b["name"], "difference": gap, "low": gap - 0.008, "high": gap + 0.008, "p": chance})
    return {
        "kind": "comparison",
        "name": "Invented comparison",
        **HEAD,
        "data": {
            "name": "Invented News",
            "train": 9000,
            "validation": 1000,
            "test": 7000,
            "classes": 20,
            "maximum_length": 256,
            "mean_tokens": 180.5,
        },
        "budget": {"epochs": 8.0, "seeds": [0, 1, 2], "learning_rates": [0.001, 0.003]},
        "target_accuracy": 0.85,
        "rivals": rivals,
        "pairs": pairs,
    }


def scores(accuracy):
    return {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "loss": 1 - accuracy}


def rival(generator, name, family, accuracy, rate):
    runs = []
    for seed in range(3):
        reached = accuracy + generator.normal(0, 0.003)
        speed = rate * generator.uniform(0.96, 1.04)
        curve = []
        for step in range(1, 17):
            tokens = 200_000 * step
            watched = float(reached + 0.05 - 0.5 * math.exp(-step / 3) + generator.normal(0, 0.004))
            curve.append(
                {"step": 50 * step, "epoch": step / 2, "real_tokens": tokens, "seconds": tokens / speed, "accuracy": watched, "loss": 1.0}
            )
        first = next((point["seconds"] for point in curve if point["accuracy"] >= 0.85), None)
        total = curve[-1]["seconds"]
        runs.append(
            {
                "seed": seed,
                "test": scores(reached),
                "validation": scores(curve[-1]["accuracy"]),
                "seconds": {"train": total, "compile": 4.0, "total": total + 9},
                "real_tokens": curve[-1]["real_tokens"],
                "real_tokens_per_second": speed,
                "peak_bytes": int(900 * 2**20 * generator.uniform(0.9, 1.5)),
                "curve": curve,
                "seconds_to_target": first,
            }
        )
    reached = [run["seconds_to_target"] for run in runs]
    return {
        "name": name,
        "family": family,
        "description": f"an invented network of the kind “{family}”",
        "parameters": {"total": 2_000_000, "without_embeddings": int(800_000 * generator.uniform(0.99, 1.01))},
        "learning_rate": 0.003,
        "search": [{"learning_rate": rate, "validation_accuracy": accuracy + 0.04 + rate} for rate in (0.001, 0.003)],
        "runs": runs,
        "accuracy": {"mean": accuracy, "low": accuracy - 0.006, "high": accuracy + 0.006},
        "macro_f1": {"mean": accuracy - 0.01, "low": accuracy - 0.017, "high": accuracy - 0.003},
        "real_tokens_per_second": spread([run["real_tokens_per_second"] for run in runs]),
        "train_seconds": spread([run["seconds"]["train"] for run in runs]),
        "compile_seconds": spread([run["seconds"]["compile"] for run in runs]),
        "peak_bytes": spread([run["peak_bytes"] for run in runs]),
        "seconds_to_target": None if None in reached else spread(reached),
    }


def spread(values):
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values))}


MODELS = (  # name, family, operations a token, span a token, span that does not grow, quadratic work
    ("transformer", "attention", 6e6, 0.0, 400.0, 6e3),
    ("lstm", "recurrence", 5.6e6, 9.0, 60.0, 0.0),
    ("minGRU", "parallel recurrence", 5.8e6, 0.0, 90.0, 0.0),
)
RATE, LATENCY = 6e10, 2e-6


def benchmark(device="cpu", name="Invented 9000", cores=2, speed=1.0, slower=None, lengths=LENGTHS):
    """A benchmark of three models; `slower` multiplies the step times of the models it names."""
    shapes = sorted({(4096 // length, length) for length in lengths} | {(batch, length) for batch in (1, 16) for length in lengths})
    counted, measured, bounds, crossings = [], [], [], []
    for mode, (batch, length) in itertools.product(("forward", "training"), shapes):
        crossing = {}
        for model, _, linear, chain, constant, quadratic in MODELS:
            passes = 3 if mode == "training" else 1
            work = passes * batch * length * (linear + quadratic * length)
            span = passes * (chain * length + constant + 4 * math.log2(length))
            seen = {"model": model, "mode": mode, "batch": batch, "length": length}
            counted.append(seen | {"work": work, "span": span, "parallelism": work / span})
            for processors in (1, 2, 4, 8, 16, 64, 256, 1024):
                seconds = work / (processors * RATE) + span * LATENCY
                bounds.append(seen | {"processors": processors, "seconds": seconds})
                crossing.setdefault(model, {})[processors] = seconds
            for number in sorted({1, cores}):
                seconds = (work / (number * RATE) + 0.6 * span * LATENCY) / speed * (slower or {}).get(model, 1.0)
                known = {"low": 0.95 * seconds, "high": 1.08 * seconds, "real_tokens_per_second": batch * length / seconds}
                row = seen | {"cores": number, "median": seconds, **known, "peak_bytes": int(4e8 + work / 1e4), "compile_seconds": 2.0}
                if (model, mode, batch, length) == ("transformer", "training", 16, 4096):
                    row |= dict.fromkeys(("median", "low", "high", "real_tokens_per_second", "peak_bytes"))
                    row["failure"] = "out of memory"
                measured.append(row if "failure" in row else row | {"failure": None})
        for model in ("lstm", "minGRU"):
            least = next((p for p, seconds in crossing["transformer"].items() if seconds < crossing[model][p]), None)
            crossings.append(
                {"model": model, "against": "transformer", "mode": mode, "length": length, "batch": batch, "processors": least}
            )
    return {
        "kind": "benchmark",
        "name": "Invented benchmark",
        **HEAD,
        "machine": MACHINE | {"device": device, "device_name": name, "cores": cores},
        "models": [
            {"name": model, "family": family, "parameters_without_embeddings": 800_000 + 1000 * index, "width": 128, "layers": 2}
            for index, (model, family, *_) in enumerate(MODELS)
        ],
        "counted": counted,
        "measured": measured,
        "rates": {"operations_per_second_one_core": RATE, "seconds_per_dependent_operation": LATENCY, "how": "invented"},
        "bounds": bounds,
        "crossings": crossings,
    }
