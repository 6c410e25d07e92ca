"""Songs to codes on a Ray cluster: sound is read and encoded on all nodes, and written as one folder of codes.

    ray job submit -- python examples/scale/ray_encode.py s3://bucket/songs/ codes/ my-vqvae 8

The parquet files have a column `audio` (bytes, or a table of bytes and path), and artist, genre, lyrics. Ray starts a
batch again where a node dies. The same line goes on after the last shard of a run that was stopped.
"""

import sys

import ray

from jukebox_hf.training.encoded_batches import EncodeBatches, coded_folder, write_coded_rows


def main(songs: str, out: str, model: str, gpus: int) -> None:
    """Read, encode, write."""
    writer = coded_folder(out, EncodeBatches(model))
    coded = ray.data.read_parquet(songs).map_batches(
        EncodeBatches,
        fn_constructor_args=[model],
        fn_constructor_kwargs={"done": sorted(writer.written)},
        batch_size=4,
        concurrency=gpus or 2,
        num_gpus=1 if gpus else 0,
    )
    skipped = write_coded_rows(coded.iter_rows(), writer)
    print(f"{out}: {len(writer.written)} songs in codes, {len(skipped)} skipped")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
