"""Share of the processor's peak that training a network reaches: multiplications and additions against seconds.

    OMP_NUM_THREADS=1 python benchmarks/arithmetic.py                  every generator that is fitted with torch
    OMP_NUM_THREADS=1 python benchmarks/arithmetic.py tabular.vae
    python benchmarks/arithmetic.py --table                            writes the table into benchmarks/README.md

The defaults are fitted on 16,384 rows of Adult for three epochs; the last two are measured, so that reading and
encoding are not.  torch counts the operations of matrix products, in a fit of its own; all else (embeddings,
normalisation, losses, the optimizer) counts as nothing and takes its time.  The peak is the fastest of ten products of
two square matrices of 2,048, once of float32, and once rounded as in training where the processor has tiles for
bfloat16: there it is several times as high, and what is no product weighs more.  Seconds are those of the processor,
so that the share can be taken on a busy machine, which lowers it.
"""

import argparse
from contextlib import nullcontext
from time import process_time

import common
import datasets
import torch
from common import Row, markdown
from torch.utils.flop_counter import FlopCounterMode

RESULTS = common.RESULTS / "arithmetic.jsonl"
ROWS, EPOCHS, SIDE = 16_384, 3, 2_048
OPTIONS: dict[str, Row] = {
    "tabular.autoregressive": {},
    "tabular.diffusion": {},
    "tabular.latent_diffusion": {"autoencoder_epochs": EPOCHS},
    "tabular.vae": {},
}


def peak(*, is_rounded: bool) -> float:
    """Return the most operations in a second of the processor, of float32 or as training rounds."""
    from synth_components.generators._torch.device import quick

    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    best = float("inf")
    with quick(torch.device("cpu")) if is_rounded else nullcontext():
        for _ in range(10):
            start = process_time()
            left @ right
            best = min(best, process_time() - start)
    return 2 * SIDE**3 / best


def measure(generator: str) -> Row:
    """Return the operations, the seconds and the share of the peak of one generator."""
    import synth_components as synth
    from synth_components.protocols import Run

    table = datasets.load("adult").train.iloc[:ROWS]
    options = OPTIONS[generator] | {"epochs": EPOCHS, "patience": EPOCHS}
    ends: list[float] = []

    def report(_done: int, _total: int, /, **metrics: float) -> None:
        if metrics:
            ends.append(process_time())

    counter = FlopCounterMode(display=False)
    with counter:
        synth.fit(table, generator=generator, seed=0, options=options)
    synth.fit(table, generator=generator, seed=0, options=options, run=Run(report=report))
    # Of two trainings, each has a first epoch that is not measured.
    stages = [ends[start : start + EPOCHS] for start in range(0, len(ends), EPOCHS)]
    seconds = sum(stage[-1] - stage[0] for stage in stages)
    operations = counter.get_total_flops() * (EPOCHS - 1) / EPOCHS
    reached, most, exact = operations / seconds, peak(is_rounded=True), peak(is_rounded=False)
    return {
        "generator": generator,
        "cpu_s_epoch": seconds / (EPOCHS - 1),
        "gflop_epoch": operations / (EPOCHS - 1) / 1e9,
        "gflop_s": reached / 1e9,
        "peak_gflop_s": most / 1e9,
        "share": reached / most,
        "float32_gflop_s": exact / 1e9,
        "threads": torch.get_num_threads(),
    }


def table(rows: list[Row]) -> str:
    """Return the newest row of each generator as a Markdown table."""
    newest = {row["generator"]: row for row in rows}
    header = ["generator", "an epoch, s", "an epoch, GFLOP", "GFLOP/s", "peak, GFLOP/s", "share of the peak"]
    header += ["peak of float32", "share of it"]
    body = [
        [
            f"`{name}`",
            f"{row['cpu_s_epoch']:.2f}",
            f"{row['gflop_epoch']:.0f}",
            f"{row['gflop_s']:.1f}",
            f"{row['peak_gflop_s']:.1f}",
            f"{100 * row['share']:.0f} %",
            f"{row['float32_gflop_s']:.1f}",
            f"{100 * row['gflop_s'] / row['float32_gflop_s']:.0f} %",
        ]
        for name, row in sorted(newest.items())
    ]
    return markdown(header, body)


def main() -> None:
    """Measure the chosen generators, or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("generators", nargs="*", metavar="GENERATOR", help=f"of {', '.join(OPTIONS)}")
    parser.add_argument("--table", action="store_true", help="write the table into README.md")
    arguments = parser.parse_args()
    for generator in arguments.generators or ([] if arguments.table else list(OPTIONS)):
        row = measure(generator)
        common.append_row(RESULTS, row)
        common.say(str(row))
    if arguments.table:
        common.render("arithmetic", table(common.read_rows(RESULTS)))


if __name__ == "__main__":
    main()
