"""What guidance costs one song: milliseconds per code with one, two and three rows, interleaved code by code.

    python benchmarks/guidance.py

Each number of rows runs in a process of its own, on one thread; a round is one code of each, so that whatever else the
machine does falls on all alike. Times are CPU time of the thread, of the whole body of the loop: step, guidance, draw.
A ratio is the median over rounds of a time divided by that of one row in the same round. Priors are cut to 12 layers.
"""

import argparse
import statistics

from rooflines import step_bytes
from rounds import machine, ours, take_turns
from workers.released import SHAPES

WAYS = ("cpp fp32", "cpp bf16", "cpp int8", "eager fp32")
_WARM_UP = 5


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["upsampler", "1b_lyrics"], choices=SHAPES)
    parser.add_argument("--layers", type=int, default=12, help="72 for the full depth")
    parser.add_argument("--position", type=int, default=2000, help="in codes")
    parser.add_argument("--variants", nargs="+", default=["cpp fp32", "cpp bf16"], choices=WAYS)
    parser.add_argument("--rounds", type=int, default=60)
    wish = parser.parse_args()
    print(f"{wish.layers} layers, position {wish.position}, {machine()}\n")
    print("| shape | way | rows | ms per code | against one row | MB read |\n|---|---|---|---|---|---|")
    for shape in wish.shapes:
        for variant in wish.variants:
            common = {"shape": shape, "layers": wish.layers, "position": wish.position, "variant": variant}
            workers = {rows: ours("step_guided.py", common | {"rows": rows}) for rows in (1, 2, 3)}
            rounds = take_turns(workers, wish.rounds, _WARM_UP)
            for rows, worker in workers.items():
                milliseconds = statistics.median(times[rows] for times in rounds)
                ratio = statistics.median(times[rows] / times[1] for times in rounds)
                read = step_bytes(shape, wish.layers, variant.split()[-1], wish.position, rows) / 1e6
                print(f"| {shape} | {variant} | {rows} | {milliseconds:.1f} | {ratio:.3f} | {read:.0f} |", flush=True)
                worker.stop()


if __name__ == "__main__":
    main()
