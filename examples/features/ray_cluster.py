"""Features of a million songs on a Ray cluster: decoding on CPUs, one model per GPU, rows that fail kept with a reason.

    ray job submit -- python examples/features/ray_cluster.py s3://bucket/songs.parquet s3://bucket/features my-5b 8

The parquet files have a column `audio` (bytes, or paths that every node sees). Ray starts a batch again where a node
dies, and holds back readers while the GPUs are busy.
"""

import sys

import ray

from jukebox_hf.features.embedded_batches import EmbedBatches


def main(songs: str, out: str, model: str, gpus: int) -> None:
    """Read, embed, write."""
    rows = ray.data.read_parquet(songs)
    options = {"preset": "jukemir", "dtype": "bfloat16", "batch_size": 4}
    embedded = rows.map_batches(
        EmbedBatches,
        fn_constructor_args=[model],
        fn_constructor_kwargs=options,
        batch_size=16,
        concurrency=gpus or 2,
        num_gpus=1 if gpus else 0,
    )
    embedded.write_parquet(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
